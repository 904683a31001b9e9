"""Coterie's own runs: contracts and data of any size, trained by real processes and measured."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from benchmarks.machine import Usage, usage
from coterie.contract import Contract, parse_contract
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from coterie.nodes.launch import ATTESTED_NODE, run_processes
from coterie.runs.events import Event, StepDone

Transport = Literal["ra-tls", "PLAINTEXT"]
COLUMNS = 26
_PLAINTEXT_NODE = (sys.executable, "-m", "coterie.plaintext")
BENCHMARK_NODE = (sys.executable, "-m", "benchmarks.nodes")
_EVALUATED = 1 / 7  # of a data set's rows are not trained on
_MEASURED_FROM, _MEASURED_TO = 0.2, 0.95  # of a run's steps, for all but examples per second


@dataclass(frozen=True)
class Setup:
    """What to run.

    Attributes:
        mode: ``hfl``: every worker has its own data; ``sdt``: a chief deals its data out.
        workers: How many.
        batch: Examples per worker and step.
        shards: Parameter servers.
        rows: Embedding rows in all.
        steps: Updates.
        checkpoint_steps: Steps between checkpoints; 0: only the last.
        seal_checkpoints: Whether they are sealed.
        row_optimizer: Of the embedding rows.
        fixed_gradients: Whether workers have no model but gradients that were made before.
    """

    mode: Literal["hfl", "sdt"] = "hfl"
    workers: int = 4
    batch: int = 128
    shards: int = 1
    rows: int = 1_000_000
    steps: int = 200
    checkpoint_steps: int = 0
    seal_checkpoints: bool = False
    row_optimizer: Literal["sgd", "rowwise_adagrad"] = "sgd"
    fixed_gradients: bool = False


@dataclass(frozen=True)
class Measured:
    """A run's figures.

    Attributes:
        examples_per_second: While training.
        step_ms: Wall time per step, in the same part of the run as CPU and bytes.
        server_cpu_ms: CPU of all parameter servers per step.
        worker_cpu_ms: CPU of all workers per step.
        examples_per_server_cpu_second: What one shard could do if it had a core of its own and nothing
            else were slower; with several shards, of their CPU together.
        bytes_per_example: Over the loopback device, both directions, all headers included.
        model_digest: Of the trained model.
        times: By node: seconds by kind of work, as in the run's result.
    """

    examples_per_second: float
    step_ms: float
    server_cpu_ms: float
    worker_cpu_ms: float
    examples_per_server_cpu_second: float
    bytes_per_example: float
    model_digest: str
    times: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


class Workshop:
    """Makes data sets once and runs contracts on them.

    Args:
        folder: For everything that is made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs = 0
        self._prepared = cache(self._prepare)

    def run(self, setup: Setup, transport: Transport) -> Measured:
        """Trains once, with processes of its own."""
        data = self.prepared(setup)
        return self.train(contract_of(setup), data, transport, _command(setup, transport))

    def train(
        self, contract: Contract, data: Path, transport: Transport, command: tuple[str, ...]
    ) -> Measured:
        """Trains a contract once.

        Args:
            contract: The contract.
            data: One prepared data set for each party that owns data, by its name.
            transport: That of ``command``.
            command: Starts a node.
        """
        self._runs += 1
        watch = _Watch(contract)
        result = run_processes(
            contract,
            data,
            self._folder / f"run-{self._runs}",
            watch,
            transport=transport,
            command=command,
        )
        return Measured(
            result.samples_per_second,
            watch.step_ms(),
            watch.cpu_ms("ps"),
            watch.cpu_ms("worker"),
            watch.examples_per_cpu_second("ps"),
            watch.bytes_per_example(),
            result.model_digest,
            result.times,
        )

    def new_folder(self, name: str) -> Path:
        """An empty folder of its own."""
        folder = self._folder / name
        folder.mkdir()
        return folder

    def prepared(self, setup: Setup) -> Path:
        """The data of a setup: a folder with one data set per party that owns data."""
        return self._prepared(
            replace(
                setup,
                shards=1,
                checkpoint_steps=0,
                seal_checkpoints=False,
                fixed_gradients=False,
            )
        )

    def _prepare(self, setup: Setup) -> Path:
        rows = _rows(setup)
        raw = self._folder / f"raw-{rows}.tsv"
        if not raw.exists():
            synthesize(raw, rows=rows, seed=5)
        out = self._folder / f"data-{setup.mode}-{setup.workers}-{setup.rows}-{rows}"
        if not out.exists():
            prepare(raw, out, contract_of(setup), deal="round-robin")
        return out


@contextmanager
def workshop() -> Iterator[Workshop]:
    """A workshop in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="coterie-benchmarks-") as folder:
        yield Workshop(Path(folder))


def contract_of(setup: Setup) -> Contract:
    """The contract of a setup: simulated TEE, SGD, the paper's DLRM."""
    names = [f"w{i}" for i in range(setup.workers)]
    owners = names if setup.mode == "hfl" else ["owner"]
    nodes = [(f"ps{i}", "ps", owners[0]) for i in range(setup.shards)]
    nodes += [(name, "worker", name if setup.mode == "hfl" else "owner") for name in names]
    if setup.mode == "sdt":
        nodes.append(("chief", "chief", "owner"))
    examples = _rows(setup) * (1 - _EVALUATED) / setup.workers
    steps_per_epoch = max(1, int(examples) // setup.batch)
    lines = ["format = 1", 'name = "benchmark"', f'mode = "{setup.mode}"']
    lines += [f'[[parties]]\nname = "{owner}"' for owner in owners]
    lines += [f'[[nodes]]\nname = "{n}"\nrole = "{r}"\nparty = "{p}"' for n, r, p in nodes]
    lines += [
        f"[data]\nrows = {-(-setup.rows // COLUMNS)}",
        f"[training]\nbatch = {setup.batch}\nseed = 7",
        f"epochs = {max(1, -(-setup.steps // steps_per_epoch))}",
    ]
    if setup.checkpoint_steps:
        lines.append(f"checkpoint_steps = {setup.checkpoint_steps}")
    lines += [
        '[training.dense]\nkind = "sgd"\nlearning_rate = 0.01',
        f'[training.rows]\nkind = "{setup.row_optimizer}"\nlearning_rate = 0.01',
        f'[trust]\ntee = "simulated"\nseal_checkpoints = {str(setup.seal_checkpoints).lower()}',
    ]
    for role in sorted({role for _, role, _ in nodes}):
        lines.append(f'[trust.roles.{role}]\nmeasurement = "own"')
        lines.append('accepted_tcb_statuses = ["UpToDate"]')
    return parse_contract("\n".join(lines).encode(), "benchmark")


def _command(setup: Setup, transport: Transport) -> tuple[str, ...]:
    """What starts a node; Coterie's own programs wherever they can run the setup."""
    if setup.fixed_gradients:
        return (*BENCHMARK_NODE, "--transport", transport, "--fixed-gradients")
    return ATTESTED_NODE if transport == "ra-tls" else _PLAINTEXT_NODE


def _rows(setup: Setup) -> int:
    """Raw rows: what the steps need, at most half a million; more steps are more epochs."""
    wanted = int(setup.workers * setup.batch * max(setup.steps, 1) / (1 - _EVALUATED)) + 1000
    return min(wanted, 500_000)


@dataclass(frozen=True)
class _Mark:
    """A moment of a run: after so many steps, what was used."""

    step: int
    at: float
    usage: Usage


class _Watch:
    """Hears a run's events, and reads what was used at two of its steps."""

    def __init__(self, contract: Contract) -> None:
        self._roles = {node.name: node.role for node in contract.nodes}
        self._began: _Mark | None = None
        self._ended: _Mark | None = None
        self._examples = 0

    def __call__(self, event: Event) -> None:
        if not isinstance(event, StepDone):
            return
        if self._began is None:
            if event.step >= _MEASURED_FROM * event.steps:
                self._began = _Mark(event.step, time.monotonic(), usage())
        elif self._ended is None:
            self._examples += event.examples
            if event.step >= _MEASURED_TO * event.steps:
                self._ended = _Mark(event.step, time.monotonic(), usage())

    def step_ms(self) -> float:
        """Wall time per step, milliseconds."""
        first, last = self._marks()
        return 1000 * (last.at - first.at) / (last.step - first.step)

    def cpu_ms(self, role: str) -> float:
        """CPU per step of all nodes of a role, milliseconds."""
        first, last = self._marks()
        return 1000 * self._cpu_seconds(role) / (last.step - first.step)

    def examples_per_cpu_second(self, role: str) -> float:
        """Examples per second of CPU of all nodes of a role."""
        return self._examples / self._cpu_seconds(role)

    def bytes_per_example(self) -> float:
        """Bytes over the loopback device per example."""
        first, last = self._marks()
        octets = last.usage.loopback_bytes - first.usage.loopback_bytes
        return octets / max(1, self._examples)

    def _cpu_seconds(self, role: str) -> float:
        first, last = self._marks()
        before, after = first.usage.cpu, last.usage.cpu
        names = [n for n in after if self._roles.get(n) == role and n in before]
        return sum(after[n] - before[n] for n in names)

    def _marks(self) -> tuple[_Mark, _Mark]:
        if self._began is None or self._ended is None:
            raise AssertionError("a run too short to be measured")
        return self._began, self._ended
