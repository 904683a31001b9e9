"""Four companies that exchange after every batch, or after several: quality, bytes and time of recipes.

``python -m benchmarks.local_steps SAMPLE`` deals a Criteo file to the four companies of
``examples/criteo-hfl.toml``, one row after the other, and trains each recipe over several seeds: all
nodes in one process, over the in-memory transport, with the settings that the example had before they
were chosen (``benchmarks/quality``). Bytes are those of the step messages as they go on
the wire, both ways, without what TLS and gRPC add. For the seconds every recipe is trained once more,
each company behind a line of its own of ``--megabits`` that carries its messages one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.quality.settings import before
from coterie.arrays import FloatArray
from coterie.contract import Contract, Node, TrainingSection, load_contract
from coterie.data.dataset import DataSet, open_dataset
from coterie.data.prepare.preparation import prepare
from coterie.metrics.binary import Metrics
from coterie.metrics.histogram import ScoreHistogram
from coterie.nodes.in_process import InProcessFabric, InProcessHub
from coterie.nodes.local import run_local
from coterie.ps.methods import ReplyStream, RequestStream, Unary
from coterie.ps.ports import ParameterServerPort
from coterie.ps.wire.codecs import Reply, Request
from coterie.ps.wire.frames import ExchangeReply
from coterie.runs.events import Event, StepDone

Recipe = Mapping[str, object]

_AVERAGE = {"kind": "sgd", "learning_rate": 1.0}
_ADAGRAD = {"kind": "adagrad", "learning_rate": 0.01}
_ROWWISE = {"kind": "rowwise_adagrad", "learning_rate": 0.01}
_NESTEROV = {"kind": "nesterov", "learning_rate": 0.7, "momentum": 0.7}
_FACTORED = {"kind": "factored_adagrad", "learning_rate": 0.003}
_ADAM = {"kind": "adam", "learning_rate": 0.0005}
_FEDADAM = {"kind": "adam", "learning_rate": 0.003, "beta_2": 0.99, "epsilon": 1e-3}


def _local(
    steps: int,
    dense: Mapping[str, object] = _FACTORED,
    rows: Mapping[str, object] = _ROWWISE,
    *,
    merge: str = "adagrad",
    server: Mapping[str, object] = _NESTEROV,
    proximal: float = 0.0,
) -> Recipe:
    local = {"dense": dense, "rows": rows, "row_merge": merge, "proximal": proximal}
    return {"local_steps": steps, "local": local, "dense": server, "rows": _AVERAGE}


def _averaged_sgd(steps: int) -> Recipe:
    """Federated averaging as it was before [training.local]."""
    rate = {"kind": "sgd", "learning_rate": 0.1}
    return _local(steps, rate, rate, merge="mean", server=_AVERAGE)


_EVERY_BATCH: Recipe = {"dense": _ADAGRAD, "rows": _ROWWISE}
_BFLOAT16: Recipe = {"exchange": "bfloat16"}
_INT8: Recipe = {"exchange": "int8"}


def _top(share: float) -> Recipe:
    return {"exchange": "top-k", "exchange_share": share}


RECIPES: dict[str, Recipe] = {
    "1: Adagrad, row-wise for rows": _EVERY_BATCH,
    "1: the same, bfloat16": {**_EVERY_BATCH, **_BFLOAT16},
    "1: the same, int8": {**_EVERY_BATCH, **_INT8},
    "1: the same, largest 10 %": {**_EVERY_BATCH, **_top(0.1)},
    "1: the same, largest 1 %": {**_EVERY_BATCH, **_top(0.01)},
    "1: Adagrad": {"dense": _ADAGRAD, "rows": _ADAGRAD},
    "4: SGD, averaged": _averaged_sgd(4),
    "16: SGD, averaged": _averaged_sgd(16),
    "4: the recipe": _local(4),
    "16: the recipe": _local(16),
    "16: the recipe, bfloat16": {**_local(16), **_BFLOAT16},
    "16: the recipe, int8": {**_local(16), **_INT8},
    "16: the recipe, largest 10 %": {**_local(16), **_top(0.1)},
    "16: the recipe, largest 1 %": {**_local(16), **_top(0.01)},
    "64: the recipe": _local(64),
    "16: rows by the mean over all": _local(16, merge="mean"),
    "16: rows by the mean over those that touched": _local(16, merge="touched"),
    "16: no momentum at the server": _local(16, server=_AVERAGE),
    "16: Adam for dense parameters": _local(16, _ADAM),
    "16: Adagrad for dense parameters": _local(16, {**_ADAGRAD, "learning_rate": 0.003}),
    "16: SGD for dense parameters": _local(16, {"kind": "sgd", "learning_rate": 0.1}),
    "16: Adagrad for rows": _local(16, rows=_ADAGRAD),
    "16: FedAdam of dense parameters": _local(
        16, {"kind": "sgd", "learning_rate": 0.1}, server=_FEDADAM
    ),
    "16: FedProx, mu 0.01": _local(16, proximal=0.01),
}


@dataclass
class Line:
    """A company's line: what went through it, and how long it is busy with a message.

    Attributes:
        megabits: Per second, 10^6 bits; 0 for a line that takes no time.
        octets: Bytes of step messages, both ways.
    """

    megabits: float = 0.0
    octets: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def carry(self, message: bytes) -> None:
        """Takes as long as the message does."""
        with self._lock:
            self.octets += len(message)
            if self.megabits:
                time.sleep(len(message) * 8 / (self.megabits * 1e6))


class _FarServer:
    """Serves exchanges at the other end of a line, and passes other calls on as they are."""

    def __init__(self, near: ParameterServerPort, line: Line) -> None:
        self._near, self._line = near.transport, line

    def unary(self, method: Unary[Request, Reply], request: Request) -> Reply:
        """See Transport."""
        if method.path != ParameterServerPort.exchange.path:
            return self._near.unary(method, request)
        self._line.carry(b"".join(method.codec.encode_request(request)))
        while _pending(reply := self._near.unary(method, request)):
            pass
        self._line.carry(b"".join(method.codec.encode_reply(reply)))
        return reply

    def reply_stream(
        self, method: ReplyStream[Request, Reply], request: Request
    ) -> Iterator[Reply]:
        """See Transport."""
        return self._near.reply_stream(method, request)

    def request_stream(
        self, method: RequestStream[Request, Reply], requests: Iterable[Request]
    ) -> Reply:
        """See Transport."""
        return self._near.request_stream(method, requests)

    def close(self) -> None:
        """See Transport."""
        self._near.close()


def _pending(reply: object) -> bool:
    return isinstance(reply, ExchangeReply) and reply.pending


class _FarFabric(InProcessFabric):
    """The in-memory fabric with a line before the server."""

    def __init__(self, hub: InProcessHub, node: Node, line: Line) -> None:
        super().__init__(hub, node)
        self._line = line

    def parameter_server(
        self, shard: int, patience_seconds: float | None = None
    ) -> ParameterServerPort:
        """See Fabric."""
        near = super().parameter_server(shard, patience_seconds)
        return ParameterServerPort(_FarServer(near, self._line))


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
        validation: On everybody's validation rows.
        test: On everybody's test rows.
        bytes_per_example: Of step messages, both ways.
        seconds: From the first step to the last.
        steps: Exchanges.
    """

    validation: Metrics
    test: Metrics
    bytes_per_example: float
    seconds: float
    steps: int


def with_recipe(contract: Contract, recipe: Recipe, seed: int) -> Contract:
    """The contract with another recipe and seed."""
    plain = contract.training.model_dump()
    training = TrainingSection.model_validate({**plain, **recipe, "seed": seed})
    return contract.model_copy(update={"training": training})


def train(contract: Contract, sets: Mapping[str, DataSet], megabits: float = 0.0) -> Trained:
    """Trains in this process, each worker behind a line of its own."""
    lines = {node.name: Line(megabits) for node in contract.by_role("worker")}
    scores: dict[str, dict[str, tuple[FloatArray, FloatArray]]] = {"validation": {}, "test": {}}
    done: list[StepDone] = []

    def hear(event: Event) -> None:
        if isinstance(event, StepDone):
            done.append(event)

    run_local(
        contract,
        lambda node: sets[node.party],
        hear,
        fabric_of=lambda hub, node: (
            _FarFabric(hub, node, lines[node.name])
            if node.name in lines
            else InProcessFabric(hub, node)
        ),
        scores_of=lambda node: (
            lambda split, logits, labels: scores[split].update({node.name: (logits, labels)})
        ),
    )
    found = {
        split: ScoreHistogram.count(
            *(np.concatenate(part) for part in zip(*by_node.values(), strict=True))
        ).metrics()
        for split, by_node in scores.items()
    }
    octets = sum(line.octets for line in lines.values())
    examples = sum(event.examples for event in done)
    return Trained(
        found["validation"], found["test"], octets / examples, done[-1].seconds, len(done)
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", type=Path, help="a Criteo file, plain or compressed")
    parser.add_argument("--contract", type=Path, default=Path("examples/criteo-hfl.toml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, help="smaller than the contract's: more exchanges")
    parser.add_argument("--megabits", type=float, default=20.0, help="of a company's line; 0: none")
    parser.add_argument("--only", action="append", help="recipes whose name begins so")
    chosen = parser.parse_args()
    contract = before(load_contract(chosen.contract))
    if chosen.batch:
        contract = with_recipe(contract, {"batch": chosen.batch}, 0)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        prepare(chosen.sample, data / "data", contract, deal="round-robin")
        sets = {
            owner.party: open_dataset(data / "data" / owner.party, contract.data, party=owner.party)
            for owner in contract.data_owners()
        }
        sys.stdout.write(
            "| `local_steps` and recipe | Exchanges | kB per example | Validation AUC | Test AUC | "
            f"Log loss | Calibration | Seconds at {chosen.megabits:g} Mbit/s |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
        )
        for name, recipe in RECIPES.items():
            if chosen.only and not any(name.startswith(one) for one in chosen.only):
                continue
            found = [train(with_recipe(contract, recipe, s), sets) for s in range(chosen.seeds)]
            seconds = "-"
            if chosen.megabits:
                timed = train(with_recipe(contract, recipe, 0), sets, chosen.megabits)
                seconds = f"{timed.seconds:.0f}"
            sys.stdout.write(_line(name, found, seconds))
            sys.stdout.flush()


def _line(name: str, found: list[Trained], seconds: str) -> str:
    def mean(values: list[float | None]) -> float:
        return statistics.fmean(value for value in values if value is not None)

    return (
        f"| {name} | {found[0].steps} | {found[0].bytes_per_example / 1000:.2f} | "
        f"{mean([one.validation.auc for one in found]):.4f} | "
        f"{mean([one.test.auc for one in found]):.4f} | "
        f"{mean([one.test.log_loss for one in found]):.4f} | "
        f"{mean([one.test.calibration for one in found]):.3f} | {seconds} |\n"
    )


if __name__ == "__main__":
    main()
