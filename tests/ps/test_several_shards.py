"""Several shards in one process: one model, whatever their number, and through the loss of any."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract, contract_digest
from coterie.errors import CallRefused, CoterieError, MessageRefused, NodeMissing, PeerUnreachable
from coterie.ps.caller import Caller
from coterie.ps.checkpoints.records import DurableCheckpoint, NoCheckpoints
from coterie.ps.checkpoints.store import CheckpointStore
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.validations import ValidationPlan
from coterie.ps.driver import Driver
from coterie.ps.in_process import InProcess
from coterie.ps.ports import ParameterServerPort
from coterie.ps.service import ParameterService
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs import events
from coterie.runs.outcome import RunOutcome
from coterie.training.client import Position, ServerClient
from tests.ps.calls import validation_counts
from tests.ps.conftest import Clock, counts_of, small_contract

ROWS = 900
EXAMPLES = (23, 16, 9)
BEST = 4  # validations of the model after so many steps are best
LOCAL: dict[str, object] = {
    "local_steps": 2,
    "dense": {"kind": "nesterov", "learning_rate": 0.5},
    "rows": {"kind": "sgd", "learning_rate": 1.0},
    "batch": 2,
}


def contract_of(shards: int, **options: object) -> Contract:
    """Three tables of 300 rows: several blocks, so that every shard holds some."""
    chosen: dict[str, object] = {"dense": {"kind": "adam"}, "rows": {"kind": "rowwise_adagrad"}}
    small = small_contract(
        workers=3,
        shards=shards,
        epochs=2,
        checkpoint_steps=2,
        **{**chosen, **options},  # type: ignore[arg-type]
    )
    data = small.data.model_copy(update={"column_rows": {}, "rows": 300})
    return small.model_copy(update={"data": data})


class Cluster:
    """Parameter servers on threads; each may be killed and started again."""

    def __init__(self, contract: Contract, folder: Path | None, clock: Clock | None = None) -> None:
        self.contract = contract
        self.names = [node.name for node in contract.by_role("ps")]
        self.clock = clock or Clock()
        self.heard: list[events.Event] = []
        self.may_follow = threading.Event()  # other shards hear what shard 0 decided
        self.may_follow.set()
        self.changed = threading.Condition()
        self._folder = folder
        self._pool = ThreadPoolExecutor(16)
        self._lives = dict.fromkeys(self.names, 0)
        self._services: dict[str, ParameterService] = {}
        self._runs: dict[str, Future[RunOutcome | None]] = {}
        for name in self.names:
            self.start(name)

    def start(self, name: str) -> None:
        """Starts a server's next incarnation."""
        self._lives[name] += 1
        life = self._lives[name]
        driver = Driver(
            self.contract,
            name,
            incarnation=self._lives[name],
            monotonic=self.clock,
            on_event=self._hear,
            checkpoints=lambda *told: self._store(name, *told),
            poll_seconds=0.02,
            connect=lambda: self._lead_of(name, life),
        )
        service = ParameterService(driver)
        with self.changed:
            self._services[name] = service
            self._runs[name] = self._pool.submit(service.drive)
            self.changed.notify_all()

    def kill(self, name: str) -> None:
        """Ends a server; whoever calls cannot reach it."""
        with self.changed:
            service, run = self._services.pop(name), self._runs.pop(name)
            self.changed.notify_all()  # it may wait for another one that was killed
        service.fail(PeerUnreachable(f"{name} was killed"))
        with pytest.raises(PeerUnreachable):
            run.result(timeout=30)

    def wait_concluded(self) -> None:
        """Waits until every server has heard that the outcome is made."""
        for service in self._services.values():
            driver = service.driver
            with driver.changed:
                concluded = partial(getattr, driver.core, "concluded")
                assert driver.changed.wait_for(concluded, timeout=30)

    def port(self, shard: int, node: str, role: str, incarnation: int = 1) -> ParameterServerPort:
        """Dials a shard, waiting until it is there, or until a shard that dials is killed."""
        name = self.names[shard]
        with self.changed:
            assert self.changed.wait_for(
                lambda: name in self._services or (role == "ps" and node not in self._services),
                timeout=30,
            )
            if name not in self._services:
                raise PeerUnreachable(f"{node} was killed")
            caller = Caller(node, role, incarnation)  # type: ignore[arg-type]
            return ParameterServerPort(InProcess(self._services[name], caller))

    def _lead_of(self, name: str, life: int) -> ParameterServerPort:
        port = self.port(0, name, "ps", life)
        commit = port.commit

        def held(request: pb.CommitRequest) -> pb.CommitReply:
            reply = commit(request)
            if not reply.pending:
                assert self.may_follow.wait(timeout=30)
            return reply

        port.commit = held
        return port

    def session(self, worker: int, examples: int | None = None) -> ServerClient:
        """A worker's session with all shards."""
        return ServerClient(
            lambda shard: self.port(shard, f"w{worker}", "worker"),
            self.contract,
            train_examples=EXAMPLES[worker] if examples is None else examples,
            data_set_digest=bytes(32),
        )

    def work(self, worker: int) -> None:
        """A worker's whole part, with gradients that depend on every bit it pulls."""
        try:
            self._work(worker)
        except BaseException as error:  # or the others would wait for it
            for service in list(self._services.values()):
                service.fail(CoterieError(f"worker {worker} failed: {error!r}"))
            raise

    def _work(self, worker: int) -> None:
        session = self.session(worker)
        session.through_restarts(lambda position: train(self.contract, session, position, worker))
        session.through_restarts(
            lambda position: () if position.finished else session.report(counts_of(worker))
        )
        session.leave()
        session.close()

    def finish(self, workers: tuple[int, ...] = (0, 1, 2)) -> RunOutcome:
        """The workers' parts, then the outcome."""
        futures = [self._pool.submit(self.work, worker) for worker in workers]
        for future in futures:
            future.result(timeout=60)
        outcome = self.outcome()
        for name in self.names[1:]:
            self._runs[name].result(timeout=60)
        return outcome

    def outcome(self) -> RunOutcome:
        outcome = self._runs[self.names[0]].result(timeout=60)
        assert outcome is not None
        return outcome

    def wait_step(self, step: int) -> None:
        with self.changed:
            assert self.changed.wait_for(
                lambda: any(isinstance(e, events.StepDone) and e.step >= step for e in self.heard),
                timeout=60,
            )

    def close(self) -> None:
        for service in self._services.values():
            service.fail(CoterieError("the test is over"))
        self._pool.shutdown()

    def _hear(self, event: events.Event) -> None:
        with self.changed:
            self.heard.append(event)
            self.changed.notify_all()

    def _store(
        self,
        name: str,
        on_durable: Callable[[DurableCheckpoint], None],
        on_failure: Callable[[CoterieError], None],
    ) -> CheckpointStore | NoCheckpoints:
        if self._folder is None:
            return NoCheckpoints()
        return CheckpointStore(
            self._folder / name,
            contract_digest(self.contract),
            shard=self.names.index(name),
            shards=len(self.names),
            on_durable=on_durable,
            on_failure=on_failure,
        )


def row_ids(worker: int, step: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    random = np.random.default_rng((worker, step))
    return np.sort(random.choice(ROWS, size=random.integers(1, 4), replace=False)).astype(np.int32)


def train(contract: Contract, session: ServerClient, position: Position, worker: int) -> None:
    """A worker's loop; what it does in a step follows from the updates that the model holds."""
    first = contract.updates_before
    lane = position.lane
    plan = ValidationPlan.of(contract, lane.steps_per_epoch)

    def validate(after: int, upto: int) -> None:
        for due in plan.between(after, upto):
            session.dense(due)
            session.report((validation_counts(20 + worker, 0.3 + 0.1 * abs(due - BEST)),), due)

    step = lane.next_step(position.step)
    validate(max(position.validated, position.step - 1), step)
    parameters = session.pull(step, row_ids(worker, first + step))
    while step < lane.steps:
        random = np.random.default_rng((worker, first + step, 1))
        state = parameters.state_us
        dense = random.normal(size=15).astype(np.float32) + np.float32(0.1) * parameters.dense_p
        gradients = Gradients(
            len(lane.span(step)),
            0.5,
            np.concatenate((dense, parameters.sums_s / 2 + 1)),
            row_ids(worker, first + step),
            # with local optimizers, what their state grew by: never less than nothing
            np.hstack((np.float32(0.3) - np.float32(0.1) * parameters.rows_ud, state / 2 + 1)),
        )
        following = lane.next_step(step + 1)
        if following == step + 1 < lane.steps:
            parameters = session.push(step, gradients, row_ids(worker, first + following))
            validate(step, following)
        else:
            session.push(step, gradients, np.zeros(0, np.int32))
            validate(step, following)
            parameters = session.pull(following, row_ids(worker, first + following))
        step = following


@contextmanager
def cluster_of(contract: Contract, folder: Path | None = None) -> Iterator[Cluster]:
    cluster = Cluster(contract, folder)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def undisturbed() -> RunOutcome:
    with cluster_of(contract_of(1)) as cluster:
        return cluster.finish()


@pytest.mark.parametrize("shards", [2, 4])
def test_the_number_of_shards_does_not_show(shards: int, undisturbed: RunOutcome) -> None:
    with cluster_of(contract_of(shards)) as cluster:
        outcome = cluster.finish()
    assert outcome.model_digest == undisturbed.model_digest
    assert (outcome.steps, outcome.train_loss) == (undisturbed.steps, undisturbed.train_loss)
    assert outcome.steps == 8


@pytest.mark.parametrize("options", [{"update_norm": 0.5}, {"party_weight": 0.4}], ids=str)
def test_bounds_on_updates_give_the_same_bits_on_any_number_of_shards(
    options: dict[str, object], undisturbed: RunOutcome
) -> None:
    digests = set()
    for shards in (1, 3):
        with cluster_of(contract_of(shards, **options)) as cluster:
            digests.add(cluster.finish().model_digest)
    assert len(digests) == 1
    assert undisturbed.model_digest not in digests


@pytest.mark.parametrize(
    "options",
    [
        {"exchange": "bfloat16"},
        {"exchange": "int8"},
        {"exchange": "top-k", "exchange_share": 0.1},
    ],
    ids=str,
)
def test_gradients_with_fewer_bits_give_the_same_bits_on_any_number_of_shards_and_through_their_loss(
    options: dict[str, object], undisturbed: RunOutcome, tmp_path: Path
) -> None:
    digests = set()
    for shards in (1, 2, 4):
        with cluster_of(contract_of(shards, **options)) as cluster:
            digests.add(cluster.finish().model_digest)
    with cluster_of(contract_of(3, **options), tmp_path) as cluster, ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(cluster.finish)
        for step, name in enumerate(("ps1", "ps0"), start=4):
            cluster.wait_step(step)
            cluster.kill(name)
            cluster.start(name)
        digests.add(outcome.result(timeout=120).model_digest)
    assert len(digests) == 1
    assert undisturbed.model_digest not in digests


@pytest.mark.parametrize("merge", ["mean", "touched", "adagrad"])
def test_local_optimizers_give_the_same_bits_on_any_number_of_shards_and_through_their_loss(
    merge: str, tmp_path: Path
) -> None:
    local = {
        "dense": {"kind": "factored_adagrad"},
        "rows": {"kind": "adagrad"},
        "row_merge": merge,
    }
    options = {**LOCAL, "local": local, "party_weight": 0.4, "update_norm": 20.0}
    digests = set()
    for shards in (1, 2):
        with cluster_of(contract_of(shards, **options)) as cluster:
            digests.add(cluster.finish().model_digest)
    with (
        cluster_of(contract_of(2, **options), tmp_path) as cluster,
        ThreadPoolExecutor(1) as pool,
    ):
        outcome = pool.submit(cluster.finish)
        for step, name in enumerate(("ps1", "ps0"), start=3):
            cluster.wait_step(step)
            cluster.kill(name)
            cluster.start(name)
        digests.add(outcome.result(timeout=120).model_digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    "kills", [["ps1"], ["ps0"], ["ps2", "ps0", "ps1"], ["ps1", "ps1"]], ids=str
)
def test_the_loss_of_a_shard_takes_all_back_to_a_common_checkpoint(
    kills: list[str], undisturbed: RunOutcome, tmp_path: Path
) -> None:
    with cluster_of(contract_of(3), tmp_path) as cluster, ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(cluster.finish)
        for step, name in enumerate(kills, start=3):
            cluster.wait_step(step)
            cluster.kill(name)
            cluster.start(name)
        assert outcome.result(timeout=120).model_digest == undisturbed.model_digest


@pytest.mark.parametrize("section", [{"keep": "best"}, {"keep": "best", "patience": 2}], ids=str)
@pytest.mark.parametrize("kills", [None, [], ["ps1"], ["ps2", "ps0", "ps1", "ps0"]], ids=str)
def test_the_best_model_comes_out_of_any_number_of_shards_whatever_is_lost(
    kills: list[str] | None, section: dict[str, object], tmp_path: Path
) -> None:
    validation = {"each_epoch": False, "every_steps": 1, **section}
    with cluster_of(contract_of(1, validation=validation)) as cluster:
        expected = cluster.finish()
    assert (expected.steps, expected.model_step) == (8 if "patience" not in section else 6, BEST)
    contract = contract_of(3, validation=validation)
    folder = None if kills is None else tmp_path
    with cluster_of(contract, folder) as cluster, ThreadPoolExecutor(1) as pool:
        running = pool.submit(cluster.finish)
        for step, name in enumerate(kills or (), start=3):
            cluster.wait_step(step)
            cluster.kill(name)
            cluster.start(name)
        outcome = running.result(timeout=120)
    assert outcome.model_digest == expected.model_digest
    assert outcome.validations == expected.validations
    assert (outcome.steps, outcome.model_step) == (expected.steps, expected.model_step)


def test_a_worker_that_stays_away_is_left_out_and_comes_back(tmp_path: Path) -> None:
    contract = contract_of(2, limits={"quorum": 2, "grace_seconds": 5.0})
    with cluster_of(contract, tmp_path) as cluster, ThreadPoolExecutor(4) as pool:
        joining = [pool.submit(cluster.session(worker).join) for worker in range(3)]
        for future in joining:
            future.result(timeout=30)
        present = [pool.submit(cluster.work, worker) for worker in (0, 1)]
        late = Told(cluster)
        cluster.clock.now += 6
        late.nudge()
        with cluster.changed:
            assert cluster.changed.wait_for(
                lambda: any(isinstance(e, events.LeftOut) for e in cluster.heard), timeout=30
            )
        (left,) = [event for event in cluster.heard if isinstance(event, events.LeftOut)]
        assert (left.node, left.step) == ("w2", 0)
        present.append(pool.submit(cluster.work, 2))
        late.keep_going(present)
        outcome = cluster.outcome()
    (absence, *_) = outcome.absences
    assert (absence.worker, absence.start) == ("w2", 0)
    assert outcome.steps == 8


class Told:
    """Wakes everybody who waits for the clock: it moves when the test says so."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def nudge(self) -> None:
        for service in list(self._cluster._services.values()):
            service.driver.look()

    def keep_going(self, futures: list[Future[None]]) -> None:
        """Lets time pass until all are done: steps that wait for the late one go on without it."""
        while not all(future.done() for future in futures):
            self._cluster.clock.now += 1
            self.nudge()
            with self._cluster.changed:
                self._cluster.changed.wait(0.05)
        for future in futures:
            future.result()


def test_a_node_that_joins_waits_for_a_shard_that_lags_behind_shard_0(tmp_path: Path) -> None:
    """As after a stalled connection: shard 1 has not heard yet what shard 0 has decided."""
    with cluster_of(contract_of(2), tmp_path) as cluster, ThreadPoolExecutor(4) as pool:
        cluster.may_follow.clear()
        parts = [pool.submit(cluster.work, worker) for worker in range(3)]
        cluster.wait_step(1)
        lags = threading.Event()

        def connect(shard: int) -> ParameterServerPort:
            port = cluster.port(shard, "w0", "worker")
            join = port.join

            def watched(request: pb.JoinRequest) -> pb.JoinReply:
                reply = join(request)
                if reply.pending:
                    lags.set()
                return reply

            port.join = watched
            return port

        again = ServerClient(
            connect, cluster.contract, train_examples=EXAMPLES[0], data_set_digest=bytes(32)
        )
        joined = pool.submit(again.through_restarts, lambda position: position)
        joined.add_done_callback(lambda _: lags.set())
        lags.wait(timeout=30)
        refused = joined.done()
        cluster.may_follow.set()
        assert not refused
        assert joined.result(timeout=30).step >= 1
        for part in parts:
            part.result(timeout=60)
        again.leave()  # or the server would wait for it
        again.close()
        cluster.outcome()


def test_calls_between_shards_are_shard_0s_alone(tmp_path: Path) -> None:
    with cluster_of(contract_of(2), tmp_path) as cluster:
        wrong = cluster.port(1, "ps0", "ps")
        for call in (
            lambda: wrong.enlist(pb.EnlistRequest()),
            lambda: wrong.commit(pb.CommitRequest()),
            lambda: wrong.conclude(pb.ConcludeRequest()),
            lambda: cluster.port(1, "w0", "worker").report(pb.ReportRequest()),
        ):
            with pytest.raises(MessageRefused, match="came to another shard than the first"):
                call()
        with pytest.raises(CallRefused, match=r"w0 may not call .*/Enlist"):
            cluster.port(0, "w0", "worker").enlist(pb.EnlistRequest())
        service, worker = cluster._services["ps0"], Caller("w0", "worker", 1)
        with pytest.raises(MessageRefused, match="called as a shard of the parameter server"):
            service.enlist(worker, pb.EnlistRequest())


def test_a_chief_that_waits_initializes_a_server_that_began_anew(tmp_path: Path) -> None:
    """A shard is lost before anybody has trained; the workers have not come yet."""
    with cluster_of(contract_of(2, mode="sdt"), tmp_path) as cluster, ExitStack() as stack:
        chief = ServerClient(
            lambda shard: cluster.port(shard, "chief", "chief"), cluster.contract, train_examples=0
        )
        stack.enter_context(closing(chief))
        chief.initialize(np.arange(15, dtype=np.float32))
        joining = cluster._pool.submit(chief.through_restarts, lambda position: position)
        driver = cluster._services["ps0"].driver
        for life in (1, 2):
            with driver.changed:
                assert driver.changed.wait_for(
                    lambda life=life: (
                        driver.core.run is not None
                        and driver.core.run.incarnation == life
                        and driver.core.run.initialized
                    ),  # type: ignore[misc]
                    timeout=30,
                )
            if life == 1:
                cluster.kill("ps1")
                cluster.start("ps1")
        sessions = [
            stack.enter_context(closing(cluster.session(worker, examples=8))) for worker in range(3)
        ]
        workers = [cluster._pool.submit(session.join) for session in sessions]
        assert joining.result(timeout=30).step == 0
        for worker in workers:
            worker.result(timeout=30)


def test_a_shard_that_never_comes_is_named() -> None:
    contract = contract_of(2, limits={"join_seconds": 0.05})
    driver = Driver(
        contract,
        "ps0",
        incarnation=1,
        monotonic=Clock(),
        on_event=lambda _: None,
        checkpoints=lambda *_: NoCheckpoints(),
    )
    with pytest.raises(NodeMissing, match="the run waits in vain for ps1 to come"):
        ParameterService(driver).drive()
