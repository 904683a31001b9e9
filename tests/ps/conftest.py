"""A run small enough to follow by hand: 15 rows of width 2, 15 dense parameters, fake gradients."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from coterie.contract import Contract
from coterie.errors import CoterieError
from coterie.models.metrics import ScoreHistogram
from coterie.ps import events
from coterie.ps.aggregation import Gradients
from coterie.ps.checkpoint import Checkpoints, NoCheckpoints
from coterie.ps.evaluation import SPLITS, SplitCounts
from coterie.ps.memory import MemoryParameterServer
from coterie.ps.outcome import RunOutcome
from coterie.ps.ports import Caller, ParameterServerPort
from coterie.ps.service import ParameterService
from coterie.training.session import Parameters, Position, ServerSession

POLL_SECONDS = 0.02


class _Stopped(Exception):
    """A worker has done as many steps as the test wants."""


def small_contract(
    mode: str = "hfl",
    workers: int = 2,
    *,
    limits: dict[str, float] | None = None,
    dense: dict[str, object] | None = None,
    rows: dict[str, object] | None = None,
    **training: int,
) -> Contract:
    """A contract with three tables of 4, 5 and 6 rows; keyword arguments change [training]."""
    nodes = [{"name": "ps0", "role": "ps", "party": "operator"}]
    nodes += [{"name": f"w{i}", "role": "worker", "party": f"p{i}"} for i in range(workers)]
    if mode == "sdt":
        nodes.append({"name": "chief", "role": "chief", "party": "operator"})
    trust = {"measurement": "own", "accepted_tcb_statuses": ["UpToDate"]}
    return Contract.model_validate(
        {
            "format": 1,
            "name": "small",
            "mode": mode,
            "parties": [{"name": "operator"}, *({"name": f"p{i}"} for i in range(workers))],
            "nodes": nodes,
            "data": {
                "numeric": ["I1", "I2"],
                "categorical": ["C1", "C2", "C3"],
                "column_rows": {"C1": 4, "C2": 5, "C3": 6},
            },
            "model": {"embedding_dim": 2, "bottom": [2], "top": [1]},
            "training": {
                "batch": 4,
                "seed": 7,
                **training,
                "dense": dense or {},
                "rows": rows or {},
            },
            "limits": {"evaluation_minimum": 1, **(limits or {})},
            "trust": {"tee": "simulated", "roles": dict.fromkeys(["ps", "worker", "chief"], trust)},
        }
    )


def row_ids(worker: int, step: int) -> npt.NDArray[np.int32]:
    """Rows that a worker touches in a step: one to three of the fifteen."""
    random = np.random.default_rng((worker, step))
    chosen = random.choice(15, size=random.integers(1, 4), replace=False)
    return np.sort(chosen).astype(np.int32)


def fake_gradients(
    worker: int, step: int, examples: int, parameters: Parameters | None = None
) -> Gradients:
    """Gradients that depend on worker, step and, where given, every bit of the parameters."""
    random = np.random.default_rng((worker, step, 1))
    ids = row_ids(worker, step)
    dense = random.normal(size=15).astype(np.float32)
    rows = random.normal(size=(ids.size, 2)).astype(np.float32)
    if parameters is not None:
        dense += np.float32(0.1) * parameters.dense_p
        rows += np.float32(0.1) * parameters.rows_ud
    return Gradients(examples, float(random.random()) * examples, dense, ids, rows)


def counts_of(worker: int, examples: int = 20) -> tuple[SplitCounts, ...]:
    """Evaluation counts of some examples."""
    random = np.random.default_rng(worker)
    return tuple(
        SplitCounts(
            split,
            ScoreHistogram.count(
                random.normal(size=examples), random.integers(0, 2, examples).astype(np.float64)
            ),
        )
        for split in SPLITS
    )


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Run:
    """One parameter server in memory, and the nodes that talk to it."""

    contract: Contract
    examples: tuple[int, ...] = (8, 8)
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    incarnation: int = 1
    clock: Clock = field(default_factory=Clock)
    heard: list[events.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = ParameterService(
            self.contract,
            incarnation=self.incarnation,
            monotonic=self.clock,
            on_event=self.heard.append,
            checkpoints=self.checkpoints,
            poll_seconds=POLL_SECONDS,
        )

    def port(self, node: str, incarnation: int = 1) -> MemoryParameterServer:
        """The server as a node sees it."""
        (role,) = [n.role for n in self.contract.nodes if n.name == node]
        return MemoryParameterServer(self.service, Caller(node, role, incarnation))

    def session(
        self, worker: int, connect: Callable[[], ParameterServerPort] | None = None
    ) -> ServerSession:
        """A worker's session."""
        return ServerSession(
            connect or (lambda: self.port(f"w{worker}")),
            dim=2,
            batch=self.contract.training.batch,
            train_examples=self.examples[worker],
            data_set_digest=bytes(32),
        )

    def join_all(self) -> None:
        """Everybody comes, the chief too."""
        workers = [self.session(i) for i in range(len(self.examples))]
        with ThreadPoolExecutor(len(workers) + 1) as pool:
            joins = [pool.submit(worker.join) for worker in workers]
            if self.contract.mode == "sdt":
                chief = ServerSession(lambda: self.port("chief"), dim=2, batch=4, train_examples=0)
                chief.initialize(np.arange(15, dtype=np.float32))
                joins.append(pool.submit(chief.join))
            for join in joins:
                join.result()

    def train(self, worker: int, session: ServerSession, until: int | None = None) -> None:
        """A worker's loop with fake gradients, up to the run's end or to step ``until``."""

        def take_part(position: Position) -> None:
            lane = position.lane
            step = lane.next_step(position.step)
            stop_at(step)
            parameters = session.pull(step, row_ids(worker, step))
            while step < lane.steps:
                examples = len(lane.span(step))
                gradients = fake_gradients(worker, step, examples, parameters)
                following = lane.next_step(step + 1)
                if following == step + 1:
                    parameters = session.push(step, gradients, row_ids(worker, following))
                    stop_at(following)
                else:
                    session.push(step, gradients, np.zeros(0, np.int32))
                    stop_at(following)
                    parameters = session.pull(following, row_ids(worker, following))
                step = following

        def stop_at(step: int) -> None:
            if until is not None and step >= until:
                raise _Stopped

        with suppress(_Stopped):
            session.through_restarts(take_part)

    def train_all(self, until: int | None = None) -> None:
        """All workers' loops at once."""
        self.together(lambda worker: self.train(worker, self.session(worker), until))

    def finish(self) -> RunOutcome:
        """All workers train, report and hear the totals; the server's outcome."""

        def work(worker: int) -> None:
            session = self.session(worker)
            self.train(worker, session)
            session.report(counts_of(worker))

        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(self.service.wait_finished)
            try:
                self.together(work)
            except BaseException as error:
                self.service.fail(CoterieError(f"a worker failed: {error!r}"))
                raise
            return outcome.result()

    def together(self, work: Callable[[int], None]) -> None:
        """Runs a function for every worker, each on a thread of its own."""

        def guarded(worker: int) -> None:
            try:
                work(worker)
            except BaseException as error:  # or the others would wait for it
                self.service.fail(CoterieError(f"worker {worker} failed: {error!r}"))
                raise

        with ThreadPoolExecutor(len(self.examples)) as pool:
            for future in [pool.submit(guarded, worker) for worker in range(len(self.examples))]:
                future.result()


@pytest.fixture
def make_contract() -> Callable[..., Contract]:
    """Builds a small contract: ``make_contract("sdt", workers=3, batch=2)``."""
    return small_contract


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Builds a run: ``make_run(contract, examples=(8, 4))``."""
    return Run


@pytest.fixture
def make_gradients() -> Callable[..., Gradients]:
    """Gradients by worker and step."""
    return fake_gradients
