"""NVIDIA FLARE's round of the same model: every client trains one batch on the server's parameters, FedAvg averages them.

By its simulator, as its guide has it: the server and every client are processes of their own, over its own
transport. Rounds carry the dense parameters, and every client keeps an embedding table of its own. Steps are
rounds.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benchmarks.peers.model import (
    WARM_UP_STEPS,
    Meter,
    Options,
    Spent,
    batches,
    parse,
    report,
    say,
)

_LOOK_SECONDS = 0.01  # in place of half a second, at which the server looks whether a round is over


def main() -> None:
    """Trains and prints the figures; says so where FLARE is not installed."""
    options = parse(__doc__, ("dense",), threads=1)
    try:
        import nvflare
    except ImportError as error:
        say({"unavailable": f"NVIDIA FLARE is not installed: {error}"})
        return
    del nvflare
    with tempfile.TemporaryDirectory(prefix="coterie-flare-") as folder:
        spent = _simulate(options, Path(folder))
    report(options, spent, processes=options.workers + 1)


def _simulate(options: Options, folder: Path) -> Spent:
    from nvflare.app_common.workflows.fedavg import FedAvg
    from nvflare.job_config.api import FedJob
    from nvflare.job_config.script_runner import FrameworkType, ScriptRunner

    job = FedJob(name="round")
    server = FedAvg(
        num_clients=options.workers,
        num_rounds=WARM_UP_STEPS + options.steps,
        model={"start": [0.0]},  # clients have the same initial parameters, and send them first
        persistor_id="",
        save_filename="",
        task_check_period=_LOOK_SECONDS,
    )
    job.to_server(server)
    given = (
        f"{folder} {os.getpid()} {options.batch} {options.steps} {options.rows} {options.threads}"
    )
    for i in range(options.workers):
        job.to(
            ScriptRunner(
                script=__file__, script_args=f"{i} {given}", framework=FrameworkType.NUMPY
            ),
            f"site-{i + 1}",
        )
    job.simulator_run(str(folder / "workspace"), threads=options.workers)
    return Spent(**json.loads((folder / "spent.json").read_text()))


def _be_client() -> None:
    import nvflare.client as flare
    import tensorflow as tf

    from benchmarks.peers.tensorflow_model import make_dense, make_tables, train_step

    place, text, *numbers = sys.argv[1:]
    folder = Path(text)
    root, size, steps, rows, threads = map(int, numbers)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tables, dense = make_tables(rows, fused=True), make_dense()
    made = batches(size, rows, int(place))

    @tf.function(jit_compile=True)
    def step(dense_bn, ids_bm, labels_b):
        return train_step(tables, dense, rows, (dense_bn, ids_bm, labels_b))

    meter: Meter | None = None
    flare.init()
    (folder / f"client-{place}.pid").write_text(str(os.getpid()))
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        done = received.current_round
        if place == "0" and done == WARM_UP_STEPS:
            meter = _meter(folder, root)
        for i, variable in enumerate(dense if done else ()):
            variable.assign(received.params[str(i)])
        batch = made[done % len(made)]
        step(batch.dense_bn, batch.ids_bm, batch.labels_b)
        values = {str(i): variable.numpy() for i, variable in enumerate(dense)}
        if meter is not None and done == WARM_UP_STEPS + steps - 1:
            spent = meter.spent()
            (folder / "spent.json").write_text(json.dumps(vars(spent)))
        flare.send(flare.FLModel(params=values))


def _meter(folder: Path, root: int) -> Meter:
    """Of the program with this process id and all below it; all clients have answered before."""
    clients = {int(file.read_text()) for file in folder.glob("client-*.pid")}
    parents = dict(_parents())
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return Meter(sorted(found - clients), sorted(clients))


def _parents() -> Iterator[tuple[int, int]]:
    """Every process and its parent."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            _, _, rest = stat.read_text().rpartition(")")
            yield int(stat.parent.name), int(rest.split()[1])


if __name__ == "__main__":
    _be_client() if len(sys.argv) > 1 and not sys.argv[1].startswith("--") else main()
