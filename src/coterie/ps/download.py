"""The trained model on its way out: who may have it, and in what parts it is sent."""

from __future__ import annotations

from collections.abc import Iterator

from coterie.contract import Contract
from coterie.errors import CallRefused
from coterie.ps.membership import Membership
from coterie.ps.messages import PART_BYTES
from coterie.ps.ports import Caller
from coterie.ps.state import ModelState
from coterie.ps.wire import ps_pb2 as pb


def part_count(state: ModelState) -> int:
    """How many parts one shard's part of the model is sent in, the header among them."""
    rows = int(state.table.trained_rows().size)
    return 1 + -(-rows // rows_per_part(state.table.dim))


def check_not_left(membership: Membership, caller: Caller) -> None:
    """Refuses the model to a process that has said that it needs nothing any more.

    A newer process of the node may have lost what the older one had.

    Raises:
        CallRefused: This one has.
    """
    if membership.left.get(caller.node, -1) >= caller.incarnation:
        raise CallRefused(
            f"node {caller.node} has left, and asks for the trained model",
            expected="the download before it leaves",
            seen=f"a call by incarnation {caller.incarnation}, which has left",
            remedy="start the node again: it takes the model, and leaves",
        )


def check_recipient(contract: Contract, caller: Caller) -> None:
    """Refuses the model to every node but those that the contract gives it to.

    Raises:
        CallRefused: This is none.
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


def model_parts(state: ModelState, digest: bytes, run_id: str) -> Iterator[pb.DownloadPart]:
    """One shard's part of the model, piece by piece.

    Args:
        state: Trained to the end; it does not change any more.
        digest: Of the whole model; empty but on shard 0.
        run_id: Of the run that it came out of.
    """
    table = state.table
    rows = table.trained_rows()
    yield pb.DownloadPart(
        header=pb.ModelHeader(
            step=state.step,
            rows=rows.size,
            dense_parameters=state.dense.tobytes(),
            model_digest=digest,
            run_id=run_id,
        )
    )
    count = rows_per_part(table.dim)
    for start in range(0, rows.size, count):
        chunk = rows[start : start + count]
        values = table.values_of(chunk).tobytes()
        yield pb.DownloadPart(rows=pb.ModelRows(row_ids=chunk.tobytes(), values=values))


def rows_per_part(dim: int) -> int:
    """Rows of a width that one part holds at most."""
    return PART_BYTES // (4 + 4 * dim)
