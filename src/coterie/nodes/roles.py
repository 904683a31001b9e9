"""What a node of each role does, from start to end; the same over every fabric."""

from __future__ import annotations

from coterie.contract import contract_digest
from coterie.criteo.dataset import DataSet
from coterie.criteo.shards import Shard
from coterie.errors import DataError
from coterie.nodes.fabric import NodeContext
from coterie.ps.checkpoint import CheckpointStore, NoCheckpoints
from coterie.ps.outcome import RunOutcome
from coterie.ps.service import ParameterService
from coterie.training import chief
from coterie.training.delivery import ShardInbox
from coterie.training.evaluation import evaluate
from coterie.training.session import ServerSession
from coterie.training.step import WorkerStep
from coterie.training.worker import train


def run_parameter_server(context: NodeContext) -> RunOutcome:
    """Serves the run until everybody has trained, reported and heard of it."""
    contract = context.contract
    checkpoints = (
        CheckpointStore(context.out / "checkpoints", contract_digest(contract))
        if context.out is not None
        else NoCheckpoints()
    )
    service = ParameterService(
        contract,
        incarnation=context.incarnation,
        monotonic=context.monotonic,
        on_event=context.on_event,
        checkpoints=checkpoints,
    )
    with context.fabric.serve_parameter_server(service):
        return service.wait_finished()


def run_worker(context: NodeContext) -> None:
    """Trains on the party's own data (HFL) or on what the chief delivers (SDT)."""
    contract = context.contract
    if contract.mode == "hfl":
        data_set = _open(context)
        digest = bytes.fromhex(data_set.manifest.shard("train").sha256)
        worker_step = _step(context)
        session = _session(context, data_set.train, digest)
        train(session, data_set.train, worker_step)
        evaluate(session, data_set, worker_step)
        return
    inbox = ShardInbox(contract.data, max_bytes=contract.enclave.size_gib << 30)
    with context.fabric.serve_shard_receiver(inbox):
        worker_step = _step(context)
        shard, digest = inbox.wait(contract.limits.join_seconds)
        train(_session(context, shard, digest), shard, worker_step)


def run_chief(context: NodeContext) -> None:
    """Gives the initial state, deals the data out, waits for the training, evaluates."""
    data_set = _open(context)
    session = _session(context, None, b"")
    chief.begin(
        context.contract,
        session,
        data_set.train,
        context.fabric.shard_receiver,
        on_event=context.on_event,
    )
    worker_step = _step(context)
    chief.wait_trained(session)
    evaluate(session, data_set, worker_step)


def _open(context: NodeContext) -> DataSet:
    if context.open_data is None:
        raise DataError(
            f"node {context.node.name} owns data but was not told where",
            expected="a directory that coterie prepare wrote",
            seen="none",
            remedy="give it with --data DIR",
        )
    return context.open_data()


def _step(context: NodeContext) -> WorkerStep:
    """Compiles before the node joins, so that nobody waits for it in the first step."""
    contract = context.contract
    worker_step = WorkerStep(
        contract.model, contract.data, contract.training.batch, contract.training.threads
    )
    worker_step.warm_up()
    return worker_step


def _session(context: NodeContext, shard: Shard | None, digest: bytes) -> ServerSession:
    contract = context.contract
    return ServerSession(
        context.fabric.parameter_server,
        dim=contract.model.embedding_dim,
        batch=contract.training.batch,
        train_examples=shard.rows if shard is not None else 0,
        data_set_digest=digest,
    )
