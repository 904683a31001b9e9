"""What a node of each role does, from start to end; the same over every fabric."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from coterie.contract import Node, contract_digest
from coterie.data.dataset import DataSet
from coterie.data.examples import Examples
from coterie.errors import CoterieError, DataError, PeerUnreachable
from coterie.keys.sealed_checkpoints import SealedFileCodec
from coterie.models.histogram import ScoreHistogram
from coterie.models.released import ReleasedScores
from coterie.nodes.fabric import Fabric, NodeContext
from coterie.ps.checkpoints import (
    Checkpoints,
    CheckpointStore,
    DurableCheckpoint,
    NoCheckpoints,
)
from coterie.ps.checkpoints.codec import FileCodec, PlainFileCodec
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.disclosure import EVERYTHING, Disclosure
from coterie.ps.driver import CheckpointsMaker, Driver
from coterie.ps.farewell import farewell_of
from coterie.ps.service import ParameterService
from coterie.runs.events import (
    DoneBefore,
    ModelKept,
    ModelNotKept,
    OptimizerStateKept,
    OwnQuality,
    ServerBack,
    ServerLost,
    Waiting,
    WorkerTimes,
)
from coterie.runs.outcome import RunOutcome
from coterie.training import chief
from coterie.training.client import ServerClient, WaitsFor
from coterie.training.data_transfer import DataInbox
from coterie.training.evaluation import evaluate, validate
from coterie.training.model_download import receive_model, receive_optimizer_state
from coterie.training.own_steps import OwnSteps
from coterie.training.rollback_guard import RollbackGuard
from coterie.training.start_giver import no_start_given
from coterie.training.step import WorkerStep
from coterie.training.worker import Trainer
from coterie.waiting import Patience

CHECKPOINTS = "checkpoints"
_ASK_SECONDS = 2.0
_REACH_SECONDS = 3.0  # for a server that a node which fails has not dialled yet
_FAREWELL_SECONDS = 10.0  # a worker that computes hears of the end at its next call


def run_parameter_server(context: NodeContext) -> RunOutcome | None:
    """Serves the run until everybody has trained, reported and left; shard 0 tells the outcome."""
    contract = context.contract
    driver = Driver(
        contract,
        context.node.name,
        incarnation=context.incarnation,
        monotonic=context.monotonic,
        on_event=context.on_event,
        checkpoints=_checkpoints(context),
        consent=context.consent,
        disclosure=EVERYTHING if context.discloses_everything else None,
        receipt=context.receipt,
        connect=lambda: context.fabric.parameter_server(0),
    )
    service = ParameterService(driver)
    with context.fabric.serve_parameter_server(service):
        try:
            return service.drive(context.on_outcome)
        except Exception:
            service.see_off_failed(_FAREWELL_SECONDS)
            raise


def run_worker(context: NodeContext) -> None:
    """Trains on the party's own data (HFL) or on what the chief delivers (SDT)."""
    with _unless_done(context):
        _work(context)


def _work(context: NodeContext) -> None:
    contract = context.contract
    if contract.mode == "hfl":
        with telling(context.fabric, context.node):
            data_set = _open(context)
            digest = bytes.fromhex(data_set.manifest.entry("train").sha256)
            _check_start(context)
        with _session(context, data_set.train, digest) as session:
            worker_step = _step_while_dialling(context, session)
            times = _train(context, session, data_set.train, worker_step, data_set.validation)
            evaluate(
                session,
                data_set,
                worker_step,
                context.on_scores,
                partial(_tell_own_quality, context),
                exact=context.discloses_everything,
            )
            _take_model(context, session)
            session.leave(times)
        return
    inbox = DataInbox(contract.data, max_bytes=contract.enclave.size_gib << 30)
    with context.fabric.serve_data_receiver(inbox):
        try:
            with telling(context.fabric, context.node):
                _check_start(context)
            with _session(context, None, b"") as session:
                worker_step = _step_while_dialling(context, session)
                delivered = _await_data(context, inbox, session)
            if delivered is None:
                return
            shard, digest = delivered
            with _session(context, shard, digest) as session:
                times = _train(context, session, shard, worker_step)
                _take_model(context, session)
                session.leave(times)
        finally:
            inbox.close()


def run_chief(context: NodeContext) -> None:
    """Gives the initial state, deals the data out, waits for the training, evaluates."""
    with _unless_done(context):
        _lead_training(context)


def _lead_training(context: NodeContext) -> None:
    contract = context.contract
    with telling(context.fabric, context.node):
        data_set = _open(context)
        _check_start(context)
    deliveries = chief.Deliveries(
        contract,
        data_set.train,
        context.fabric.data_receiver,
        on_event=context.on_event,
    )
    with (
        _session(context, None, b"", while_waiting=deliveries.check) as session,
        deliveries.going_on(),
    ):
        worker_step = _step_while_dialling(context, session)
        exact = context.discloses_everything
        if contract.start is None:
            chief.initialize(contract, session)
        chief.wait_trained(
            contract,
            session,
            partial(validate, session, data_set.validation, worker_step, exact=exact),
        )
        evaluate(session, data_set, worker_step, context.on_scores, exact=exact)
        _take_model(context, session)
        session.leave()


@contextmanager
def telling(fabric: Fabric, node: Node) -> Iterator[None]:
    """Tells the server of an error that ends a worker or chief before it has joined: it is waited for."""
    try:
        yield
    except CoterieError as error:
        if node.role == "ps":
            raise
        with suppress(CoterieError):  # the error itself says more
            port = fabric.parameter_server(0, _REACH_SECONDS)
            try:
                port.tell(farewell_of(error))
            finally:
                port.close()
        raise


def _await_data(
    context: NodeContext, inbox: DataInbox, session: ServerClient
) -> tuple[Examples, bytes] | None:
    """Waits for the chief's delivery; None if the training has ended without it.

    A worker that starts anew after the last step finds no chief, and is needed only to say so.
    """
    patience = context.contract.limits.join_seconds
    began = context.monotonic()
    deadline, saying = began + patience, Patience()
    chiefs = tuple(chief.name for chief in context.contract.by_role("chief"))
    while not inbox.arrived(_ASK_SECONDS) and (now := context.monotonic()) < deadline:
        if saying.due(now, began):
            waited, left = round(now - began, 1), round(deadline - now, 1)
            context.on_event(Waiting(context.node.name, chiefs, waited, left, "its data"))
        if session.training_ended():
            _take_model(context, session)
            session.leave()
            return None
    return inbox.wait(0)


def _train(
    context: NodeContext,
    session: ServerClient,
    shard: Examples,
    worker_step: WorkerStep,
    validation: Examples | None = None,
) -> WorkerTimes:
    contract = context.contract
    validates: Callable[[int], None] | None = None
    if validation is not None:
        exact = context.discloses_everything
        validates = partial(validate, session, validation, worker_step, exact=exact)
    least = contract.limits.evaluation_minimum if contract.mode == "hfl" else None
    own = OwnSteps(context.node.name, least, context.monotonic())

    def on_step(step: int, steps: int, pushed: Gradients) -> None:
        progress = own.add(step, steps, pushed, context.monotonic())
        if progress is not None:
            context.on_event(progress)

    trainer = Trainer(
        session,
        shard,
        worker_step,
        contract,
        worker=contract.by_role("worker").index(context.node),
        validate=validates,
        on_step=on_step,
        monotonic=context.monotonic,
    )
    trainer.train()
    times = trainer.times(context.node.name)
    context.on_event(times)
    return times


def _tell_own_quality(context: NodeContext, split: str, counts: ScoreHistogram) -> None:
    """Tells the party's own host how good the model is on its own test rows, if these are enough."""
    if split != "test":
        return
    least = 1 if context.discloses_everything else context.contract.limits.evaluation_minimum
    rule = Disclosure(least, 1)
    told = bool(rule.allows([counts.examples]))
    metrics = ReleasedScores.of([counts], rule.allows).metrics() if told else None
    context.on_event(
        OwnQuality(
            node=context.node.name,
            party=context.node.party,
            examples=counts.examples,
            auc=metrics.auc if metrics else None,
            log_loss=metrics.log_loss if metrics else None,
            calibration=metrics.calibration if metrics else None,
        )
    )


def _take_model(context: NodeContext, session: ServerClient) -> None:
    """Downloads and keeps the trained model, at a node of a party that gets it."""
    if context.node not in context.contract.model_recipients():
        return
    keeper = context.keep_model
    if keeper is None:
        if not context.discloses_everything:  # in one process the first of them keeps it for all
            context.on_event(ModelNotKept(context.node.name))
        return
    digest = receive_model(session, context.contract, keeper.writing)
    context.on_event(ModelKept(context.node.name, str(keeper.path), digest.hex()))
    if context.contract.gives_optimizer_state and context.keep_state is not None:
        writing = context.keep_state.writing
        kept = receive_optimizer_state(session, context.contract, writing, digest)
        path = str(context.keep_state.path)
        context.on_event(OptimizerStateKept(context.node.name, path, kept.hex()))


def _checkpoints(context: NodeContext) -> CheckpointsMaker:
    contract = context.contract
    servers = [server.name for server in contract.by_role("ps")]
    out = context.out

    def make(
        on_durable: Callable[[DurableCheckpoint], None], on_failure: Callable[[CoterieError], None]
    ) -> Checkpoints:
        if out is None:
            return NoCheckpoints()
        place = (servers.index(context.node.name), len(servers))
        return CheckpointStore(
            out / CHECKPOINTS,
            contract_digest(contract),
            shard=place[0],
            shards=place[1],
            casing=_casing(context, place),
            on_durable=on_durable,
            on_failure=on_failure,
        )

    return make


def _casing(context: NodeContext, place: tuple[int, int]) -> FileCodec:
    contract = context.contract
    if not contract.trust.checkpoints_sealed or context.fabric.proves_nothing:
        return PlainFileCodec()
    return SealedFileCodec(context.fabric.checkpoint_key(), contract_digest(contract), place)


def _open(context: NodeContext) -> DataSet:
    if context.open_data is None:
        raise DataError(
            f"node {context.node.name} owns data but was not told where",
            expected="a directory that coterie prepare wrote",
            seen="none",
            remedy="give it with --data DIR",
        )
    return context.open_data()


def _check_start(context: NodeContext) -> None:
    """Reads what this node gives before anybody waits for it: afterwards it would be too late."""
    if context.node != context.contract.start_giver():
        return
    if context.start is None:
        raise no_start_given(context.node.name)
    context.start.check()


def _memory(context: NodeContext) -> RollbackGuard:
    folder = context.memory
    path = folder / "remembered-checkpoint.json" if folder is not None else None
    return RollbackGuard(path, context.contract)


@contextmanager
def _unless_done(context: NodeContext) -> Iterator[None]:
    """Lets a node that has done its part, and was started again, end well where no server is left."""
    try:
        yield
    except PeerUnreachable:
        if not _memory(context).done:
            raise
        context.on_event(DoneBefore(context.node.name))


def _step_while_dialling(context: NodeContext, session: ServerClient) -> WorkerStep:
    """Compiles before the node joins, so that nobody waits for it in the first step.

    The server is dialled meanwhile: who has just started this node with a wrong address is still there.
    """
    if not context.fabric.proves_nothing:  # in one process there is nobody to dial
        session.dial_ahead()
    contract = context.contract
    with telling(context.fabric, context.node):
        worker_step = WorkerStep(
            contract.model, contract.data, contract.training.batch, contract.training.threads
        )
        worker_step.warm_up()
    return worker_step


def _waiting(context: NodeContext, waits: WaitsFor) -> Waiting:
    limits = context.contract.limits
    limit = limits.step_seconds if waits.begun else limits.join_seconds
    return Waiting(
        context.node.name,
        waits.names or ("the parameter server",),
        round(waits.seconds, 1),
        round(max(0.0, limit - waits.seconds), 1),
        waits.reason,
    )


@contextmanager
def _session(
    context: NodeContext,
    shard: Examples | None,
    digest: bytes,
    while_waiting: Callable[[], None] = lambda: None,
) -> Iterator[ServerClient]:
    session = ServerClient(
        context.fabric.parameter_server,
        context.contract,
        train_examples=shard.rows if shard is not None else 0,
        data_set_digest=digest,
        memory=_memory(context),
        while_waiting=while_waiting,
        monotonic=context.monotonic,
        on_waiting=lambda waits: context.on_event(_waiting(context, waits)),
        start=context.start.parts if context.start is not None else None,
        on_lost=lambda error, left: context.on_event(
            ServerLost(context.node.name, f"{error.what}: {error.seen}"[:600], round(left, 1))
        ),
        on_back=lambda step: context.on_event(ServerBack(context.node.name, step)),
    )
    try:
        yield session
    except CoterieError as error:
        session.tell(error)
        raise
    except Exception as error:
        session.tell(CoterieError("an internal reason", seen=type(error).__name__))
        raise
    finally:
        session.close()
