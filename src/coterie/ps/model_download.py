"""The download of the trained model and its optimizers' state: permissions and parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.contract import Contract
from coterie.errors import CallRefused
from coterie.ps.caller import Caller
from coterie.ps.core.membership import Membership
from coterie.ps.core.state import ModelState
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import PART_BYTES


def part_count(state: ModelState, *, optimizer_state: bool = False) -> int:
    """Number of messages of one shard's part of the model, including the header.

    Args:
        state: The shard's state.
        optimizer_state: Whether the optimizers' state is sent too.
    """
    table = state.table
    rows = int(table.trained_rows().size)
    parts = 1 + -(-rows // rows_per_part(table.dim))
    if optimizer_state:
        parts += 1 + (-(-rows // rows_per_part(table.state_width)) if table.state_width else 0)
    return parts


def check_not_left(membership: Membership, caller: Caller) -> None:
    """Refuses the model to a process that has left.

    A newer process of the node is not refused: it may lack what the older one had.

    Raises:
        CallRefused: The process has left.
    """
    if membership.left.get(caller.node, -1) >= caller.incarnation:
        raise CallRefused(
            f"node {caller.node} has left, and asks for the trained model",
            expected="the download before it leaves",
            seen=f"a call by incarnation {caller.incarnation}, which has left",
            remedy="start the node again: it takes the model, and leaves",
        )


def check_recipient(contract: Contract, caller: Caller) -> None:
    """Refuses the model to all nodes except those that the contract names.

    Raises:
        CallRefused: The node is not one of them.
    """
    recipients = [node.name for node in contract.model_recipients()]
    if caller.node not in recipients:
        raise CallRefused(
            f"node {caller.node} does not get the trained model",
            expected=f"a call by {' or '.join(recipients)}"[:400],
            seen=caller.node,
            remedy="results.model_parties of the contract says which parties get it; each takes it "
            "by its chief or its first worker",
        )


def check_given_out(contract: Contract) -> None:
    """Refuses the optimizers' state if the contract does not give it out.

    Raises:
        CallRefused: The contract does not give it out.
    """
    if not contract.gives_optimizer_state:
        raise CallRefused(
            "under this contract nobody gets the optimizers' state",
            expected="results.optimizer_state = true, and optimizers that keep state",
            seen="neither, or one of both",
            remedy="run the same version of Coterie on all nodes",
        )


def model_parts(state: ModelState, digest: bytes, run_id: str) -> Iterator[pb.DownloadPart]:
    """One shard's part of the model, piece by piece.

    Args:
        state: The final state, which does not change any more.
        digest: Digest of the whole model; empty except on shard 0.
        run_id: Name of the run.
    """
    table = state.table
    rows = table.trained_rows()
    yield _header(state, rows, state.dense, digest, run_id)
    yield from _parts(rows, table.dim, table.values_of)


def state_parts(state: ModelState, digest: bytes, run_id: str) -> Iterator[pb.DownloadPart]:
    """One shard's part of the optimizers' state, likewise; ``digest`` is the whole state's."""
    table = state.table
    rows = table.trained_rows() if table.state_width else np.zeros(0, np.int32)
    yield _header(state, rows, state.optimizer.state, digest, run_id)
    yield from _parts(rows, table.state_width, table.state_of)


def _header(
    state: ModelState, rows: IdArray, dense: FloatArray, digest: bytes, run_id: str
) -> pb.DownloadPart:
    return pb.DownloadPart(
        header=pb.ModelHeader(
            step=state.updates,
            rows=rows.size,
            dense_parameters=dense.tobytes(),
            model_digest=digest,
            run_id=run_id,
        )
    )


def _parts(
    rows: IdArray, width: int, values_of: Callable[[IdArray], FloatArray]
) -> Iterator[pb.DownloadPart]:
    count = rows_per_part(width)
    for start in range(0, rows.size, count):
        chunk = rows[start : start + count]
        values = values_of(chunk).tobytes()
        yield pb.DownloadPart(rows=pb.ModelRows(row_ids=chunk.tobytes(), values=values))


def rows_per_part(width: int) -> int:
    """Largest number of rows of a width in one part."""
    return PART_BYTES // (4 + 4 * width)
