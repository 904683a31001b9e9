"""SDT's chief: owns all data, gives the model's initial state, deals the shards, evaluates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from coterie.contract import Contract
from coterie.criteo.shards import Shard
from coterie.errors import ProtocolError
from coterie.ps.events import EventSink, ShardDelivered
from coterie.ps.initial import initial_dense
from coterie.ps.ports import ShardReceiverPort
from coterie.training.delivery import shard_parts
from coterie.training.session import Position, ServerSession


def begin(
    contract: Contract,
    session: ServerSession,
    shard: Shard,
    connect: Callable[[str], ShardReceiverPort],
    *,
    on_event: EventSink,
) -> None:
    """Gives the parameter server the initial state and every worker its shard.

    Args:
        contract: Names the workers.
        session: With the parameter server.
        shard: All training data.
        connect: Dials and attests a worker by name.
        on_event: Hears of every delivery.
    """
    parameters = contract.model.dense_parameters(contract.data)
    session.initialize(initial_dense(contract.training.seed, parameters))
    workers = [worker.name for worker in contract.by_role("worker")]
    with ThreadPoolExecutor(len(workers)) as pool:
        deliveries = [
            pool.submit(_deliver, shard, i, workers, connect) for i in range(len(workers))
        ]
        for worker, delivery in zip(workers, deliveries, strict=True):
            on_event(ShardDelivered(node=worker, examples=delivery.result()))


def _deliver(
    shard: Shard, index: int, workers: Sequence[str], connect: Callable[[str], ShardReceiverPort]
) -> int:
    reply = connect(workers[index]).deliver(shard_parts(shard, index, len(workers)))
    expected = len(range(index, shard.rows, len(workers)))
    if reply.examples != expected:
        raise ProtocolError(
            f"worker {workers[index]} acknowledges another shard than it was sent",
            expected=f"{expected} examples",
            seen=f"{reply.examples}",
            remedy="run the same version of Coterie on all nodes",
        )
    return reply.examples


def wait_trained(session: ServerSession) -> None:
    """Joins the run and waits for its last step, through restarts of the parameter server."""

    def wait(position: Position) -> None:
        session.pull(position.lane.steps, np.zeros(0, np.int32))

    session.through_restarts(wait)
