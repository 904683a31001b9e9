"""A run small enough to follow by hand: 15 rows of width 2, 15 dense parameters, fake gradients."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from coterie.arrays import IdArray
from coterie.contract import Contract, contract_digest
from coterie.contract.rollback import RollbackConsent
from coterie.errors import CoterieError, PeerUnreachable
from coterie.metrics.histogram import ScoreHistogram
from coterie.parameters.digest import model_digest
from coterie.ps.caller import Caller
from coterie.ps.checkpoints.codec import PlainFileCodec
from coterie.ps.checkpoints.records import NoCheckpoints
from coterie.ps.checkpoints.store import CheckpointStore
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.evaluation import SPLITS, SplitCounts
from coterie.ps.core.run import Run as ShardRun
from coterie.ps.core.state import ModelState
from coterie.ps.driver import CheckpointsMaker, Driver
from coterie.ps.in_process import InProcess
from coterie.ps.ports import ParameterServerPort
from coterie.ps.service import ParameterService
from coterie.runs import events
from coterie.runs.outcome import RunOutcome
from coterie.sealed.sealed_checkpoints import SealedFileCodec
from coterie.training.client import Position, ServerClient
from coterie.training.messages import Parameters

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
    shards: int = 1,
    validation: dict[str, object] | None = None,
    **training: object,
) -> Contract:
    """A contract with three tables of 4, 5 and 6 rows; keyword arguments change [training].

    The workers of most tests train only: without ``validation`` there is none.
    """
    nodes = [{"name": f"ps{i}", "role": "ps", "party": "operator"} for i in range(shards)]
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
                "validation": {"each_epoch": False} if validation is None else validation,
            },
            "limits": {"evaluation_minimum": 1, **(limits or {})},
            "trust": {"tee": "simulated", "roles": dict.fromkeys(["ps", "worker", "chief"], trust)},
        }
    )


def row_ids(worker: int, step: int) -> IdArray:
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
    loss_sum = float(random.random()) * examples
    return Gradients(examples, loss_sum, dense, ids, rows, correct=examples // 2)


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


Kind = TypeVar("Kind", bound=events.Event)


class Heard(list[events.Event]):
    """Events in order, which a test can wait for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def append(self, event: events.Event) -> None:
        """Hears one."""
        with self._changed:
            super().append(event)
            self._changed.notify_all()

    def wait(self, kind: type[Kind]) -> Kind:
        """Waits for the first of a kind."""

        def found() -> list[Kind]:
            return [event for event in self if isinstance(event, kind)]

        with self._changed:
            assert self._changed.wait_for(found, timeout=30), f"no {kind.__name__}"
            return found()[0]


def no_checkpoints(*_: object) -> NoCheckpoints:
    """Keeps nothing."""
    return NoCheckpoints()


def store(directory: Path, contract: Contract, *, sealed: bool = False) -> CheckpointsMaker:
    """Keeps checkpoints in a folder."""
    digest = contract_digest(contract)
    casing = SealedFileCodec(bytes(32), digest, (0, 1)) if sealed else PlainFileCodec()
    return lambda durable, failure: CheckpointStore(
        directory, digest, casing=casing, on_durable=durable, on_failure=failure
    )


def digest_of(contract: Contract, state: ModelState) -> bytes:
    """The digest of a model that is on one shard."""
    octets = state.slice_digests()
    slices = [octets[start : start + 32] for start in range(0, len(octets), 32)]
    return model_digest(contract, state.step, state.dense, slices)


def train_worker(worker: int, session: ServerClient, until: int | None = None) -> None:
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


@dataclass
class Run:
    """One parameter server in memory, and the nodes that talk to it."""

    contract: Contract
    examples: tuple[int, ...] = (8, 8)
    checkpoints: CheckpointsMaker = no_checkpoints
    incarnation: int = 1
    consent: RollbackConsent | None = None
    clock: Clock = field(default_factory=Clock)
    heard: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        self.driver = Driver(
            self.contract,
            "ps0",
            incarnation=self.incarnation,
            monotonic=self.clock,
            on_event=self.heard.append,
            checkpoints=self.checkpoints,
            consent=self.consent,
            poll_seconds=POLL_SECONDS,
        )
        self.core = self.driver.core
        self.service = ParameterService(self.driver)
        self._pool = ThreadPoolExecutor(1)
        self.told: queue.SimpleQueue[RunOutcome] = queue.SimpleQueue()
        self._outcome: Future[RunOutcome | None] = self._pool.submit(
            self.service.drive, self.told.put
        )
        with self.driver.changed:
            self.driver.changed.wait_for(
                lambda: self.core.run is not None or self._outcome.done(), timeout=30
            )
        if self._outcome.done():
            self._pool.shutdown()
            self.outcome()

    @property
    def over(self) -> bool:
        """Whether the server has ended."""
        return self._outcome.done()

    def pass_time(self, seconds: float) -> None:
        """Turns the clock on; whoever waits looks at it."""
        self.clock.now += seconds
        self.driver.look()

    def outcome(self) -> RunOutcome:
        """Waits for the run's end."""
        outcome = self._outcome.result(timeout=60)
        assert outcome is not None
        return outcome

    def stop(self) -> None:
        """Ends the server as a kill would: whoever calls cannot reach it."""
        self.service.fail(PeerUnreachable("the server was killed"))
        self._pool.shutdown()

    @property
    def life(self) -> ShardRun:
        """The state's present life."""
        assert self.core.run is not None
        return self.core.run

    @property
    def state(self) -> ModelState:
        """The model on the server."""
        return self.life.state

    @property
    def digest(self) -> bytes:
        """Of the model as it is now."""
        return digest_of(self.contract, self.state)

    def port(self, node: str, incarnation: int = 1) -> ParameterServerPort:
        """The server as a node sees it."""
        (role,) = [n.role for n in self.contract.nodes if n.name == node]
        return ParameterServerPort(InProcess(self.service, Caller(node, role, incarnation)))

    def session(
        self, worker: int, connect: Callable[[], ParameterServerPort] | None = None
    ) -> ServerClient:
        """A worker's session."""
        dial = connect or (lambda: self.port(f"w{worker}"))
        return ServerClient(
            lambda _: dial(),
            self.contract,
            train_examples=self.examples[worker],
            data_set_digest=bytes(32),
        )

    def join_all(self) -> None:
        """Everybody comes, the chief too."""
        workers = [self.session(i) for i in range(len(self.examples))]
        with ThreadPoolExecutor(len(workers) + 1) as pool:
            joins = [pool.submit(worker.join) for worker in workers]
            if self.contract.mode == "sdt":
                chief = ServerClient(lambda _: self.port("chief"), self.contract, train_examples=0)
                chief.initialize(np.arange(15, dtype=np.float32))
                joins.append(pool.submit(chief.join))
            for join in joins:
                join.result()

    def train(self, worker: int, session: ServerClient, until: int | None = None) -> None:
        """See ``train_worker``."""
        train_worker(worker, session, until)

    def train_all(self, until: int | None = None) -> None:
        """All workers' loops at once."""
        self.together(lambda worker: self.train(worker, self.session(worker), until))

    def finish(self) -> RunOutcome:
        """All workers train, report and hear the totals; the server's outcome."""

        def work(worker: int) -> None:
            session = self.session(worker)
            self.train(worker, session)
            session.report(counts_of(worker))
            session.leave()

        self.together(work)
        return self.outcome()

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
def make_run() -> Iterator[Callable[..., Run]]:
    """Builds a run: ``make_run(contract, examples=(8, 4))``; ends it after the test."""
    runs: list[Run] = []

    def make(*arguments: object, **options: object) -> Run:
        runs.append(Run(*arguments, **options))  # type: ignore[arg-type]
        return runs[-1]

    yield make
    for run in runs:
        run.stop()


@pytest.fixture
def make_gradients() -> Callable[..., Gradients]:
    """Gradients by worker and step."""
    return fake_gradients
