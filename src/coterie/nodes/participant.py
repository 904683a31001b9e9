"""The common parts of the programs of workers and the chief."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.contract import Contract, LimitsSection, Node
from coterie.data.dataset import DataSet
from coterie.data.examples import Examples
from coterie.errors import CoterieError, DataError, PeerUnreachable
from coterie.nodes.fabric import Fabric, ModelKeeper, NodeContext
from coterie.nodes.options import NodeOptions
from coterie.nodes.party_data import open_party_data
from coterie.ps.farewell import farewell_of
from coterie.runs.events import (
    DoneBefore,
    ModelKept,
    ModelNotKept,
    OptimizerStateKept,
    ServerBack,
    ServerLost,
    Waiting,
)
from coterie.trained.optimizer_state import STATE_NAME
from coterie.trained.trained_model import MODEL_NAME, PlainModelFile
from coterie.training.client import ServerClient, WaitsFor
from coterie.training.model_download import receive_model, receive_optimizer_state
from coterie.training.rollback_guard import RollbackGuard
from coterie.training.step import WorkerStep, step_of

if TYPE_CHECKING:  # imported only if the contract has a start
    from coterie.training.start_giver import StartFiles

# Seconds to connect to the server, for a node that fails before it has connected.
_REACH_SECONDS = 3.0


def equipped(context: NodeContext, options: NodeOptions, *, keeps: bool) -> NodeContext:
    """Adds the party's parts to a node's context: data set, start, and file of the model.

    Args:
        context: The node's context.
        options: Name the folders.
        keeps: Whether the trained model is kept.
    """
    contract, node, fabric = context.contract, context.node, context.fabric
    with telling(fabric, node):
        model, state = _keepers(contract, node, fabric, options.out) if keeps else (None, None)
    return replace(
        context,
        open_data=_opener(contract, node, fabric, options),
        keep_model=model,
        keep_state=state,
        start=_start(contract, fabric, options.start),
    )


@contextmanager
def telling(fabric: Fabric, node: Node) -> Iterator[None]:
    """Reports an error before joining to the server, which waits for this worker or chief."""
    try:
        yield
    except CoterieError as error:
        if node.role == "ps":
            raise
        with suppress(CoterieError):  # the error itself is more important
            port = fabric.parameter_server(0, _REACH_SECONDS)
            try:
                port.tell(farewell_of(error))
            finally:
                port.close()
        raise


def take_model(context: NodeContext, session: ServerClient) -> None:
    """Downloads and keeps the trained model, at a node of a receiving party."""
    if context.node not in context.contract.model_recipients():
        return
    keeper = context.keep_model
    if keeper is None:
        # In one process the first of these nodes keeps it for all.
        if not context.discloses_everything:
            context.on_event(ModelNotKept(context.node.name))
        return
    digest = receive_model(session, context.contract, keeper.writing)
    context.on_event(ModelKept(context.node.name, str(keeper.path), digest.hex()))
    if context.contract.gives_optimizer_state and context.keep_state is not None:
        writing = context.keep_state.writing
        kept = receive_optimizer_state(session, context.contract, writing, digest)
        path = str(context.keep_state.path)
        context.on_event(OptimizerStateKept(context.node.name, path, kept.hex()))


def open_data(context: NodeContext) -> DataSet:
    """Opens the party's data set.

    Raises:
        DataError: The node was given no data set, or it is not a data set.
    """
    if context.open_data is None:
        raise DataError(
            f"node {context.node.name} owns data but was not told where",
            expected="a directory that coterie prepare wrote",
            seen="none",
            remedy="give it with --data DIR",
        )
    return context.open_data()


def check_start(context: NodeContext) -> None:
    """Reads the start's files before the node joins; after that, a fault would hold up the run."""
    if context.node != context.contract.start_giver():
        return
    if context.start is None:
        from coterie.training.start_giver import no_start_given

        raise no_start_given(context.node.name)
    context.start.check()


def _memory(context: NodeContext) -> RollbackGuard:
    folder = context.memory
    path = folder / "remembered-checkpoint.json" if folder is not None else None
    return RollbackGuard(path, context.contract)


@contextmanager
def unless_done(context: NodeContext) -> Iterator[None]:
    """Lets a restarted node that has done its part end without an error if no server is left."""
    try:
        yield
    except PeerUnreachable:
        if not _memory(context).done:
            raise
        context.on_event(DoneBefore(context.node.name))


def compiled_step(context: NodeContext, session: ServerClient) -> WorkerStep:
    """Compiles the step before the node joins, so that no other node waits for it.

    The node connects to the server meanwhile, so that a wrong address shows soon after the start.
    """
    if not context.fabric.proves_nothing:  # in one process there are no connections
        session.dial_ahead()
    with telling(context.fabric, context.node):
        worker_step = (context.make_step or step_of)(context.contract)
        worker_step.warm_up()
    return worker_step


def waiting_of(node: str, limits: LimitsSection, waits: WaitsFor) -> Waiting | None:
    """What is reported of a node's wait; None where the server waits for this very node.

    The server's reply is under way then: training has just ended, say, and the chief is to evaluate.

    Args:
        node: Who waits.
        limits: The contract's.
        waits: What the server says.
    """
    if waits.names == (node,):
        return None
    limit = limits.step_seconds if waits.begun else limits.join_seconds
    return Waiting(
        node,
        waits.names or ("the parameter server",),
        round(waits.seconds, 1),
        round(max(0.0, limit - waits.seconds), 1),
        waits.reason,
    )


@contextmanager
def client_of(
    context: NodeContext,
    shard: Examples | None,
    digest: bytes,
    while_waiting: Callable[[], None] = lambda: None,
) -> Iterator[ServerClient]:
    """The node's client of the server; reports the error that ends the node to the server."""

    def on_waiting(waits: WaitsFor) -> None:
        if event := waiting_of(context.node.name, context.contract.limits, waits):
            context.on_event(event)

    session = ServerClient(
        context.fabric.parameter_server,
        context.contract,
        train_examples=shard.rows if shard is not None else 0,
        data_set_digest=digest,
        memory=_memory(context),
        while_waiting=while_waiting,
        monotonic=context.monotonic,
        on_waiting=on_waiting,
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


def _opener(
    contract: Contract, node: Node, fabric: Fabric, options: NodeOptions
) -> Callable[[], DataSet] | None:
    data = options.data
    if data is None:
        return None

    def opened() -> DataSet:
        return open_party_data(
            contract, node, data, fabric.data_key, sealed_only=options.sealed_only
        )

    return opened


def _keepers(
    contract: Contract, node: Node, fabric: Fabric, out: Path | None
) -> tuple[ModelKeeper | None, ModelKeeper | None]:
    """The files of the trained model and its optimizers' state.

    They are sealed unless the party's key server allows otherwise; the host cannot decide that. The
    key is fetched now, because after the training it would be too late to find that there is none.
    """
    if out is None or node not in contract.model_recipients():
        return None, None
    key = fabric.model_key()
    if key is None:
        return PlainModelFile(out / MODEL_NAME), PlainModelFile(out / STATE_NAME)
    from coterie.sealed.data_key import DataKey
    from coterie.sealed.sealed_model import SealedModelFile

    sealing = DataKey(node.party, *key)
    return SealedModelFile.in_folder(out, MODEL_NAME, sealing), SealedModelFile.in_folder(
        out, STATE_NAME, sealing
    )


def _start(contract: Contract, fabric: Fabric, folder: Path | None) -> StartFiles | None:
    if folder is None:
        return None
    from coterie.training.start_giver import StartFiles

    return StartFiles(contract, folder, fabric.data_key)
