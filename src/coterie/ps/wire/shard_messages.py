"""Converts messages between shards; received reports are bounded before use."""

from __future__ import annotations

import numpy as np

from coterie.errors import MessageRefused
from coterie.parameters.sharding import SLICES
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.core.coordinator import Decision, StagedReport
from coterie.ps.wire import ps_pb2 as pb

DIGEST_BYTES = 32


def checkpoint_to_wire(checkpoint: DurableCheckpoint) -> pb.Checkpoint:
    """A checkpoint as a message."""
    return pb.Checkpoint(step=checkpoint.step, digest=checkpoint.digest)


def checkpoint_from_wire(message: pb.Checkpoint) -> DurableCheckpoint:
    """A checkpoint from a message.

    Raises:
        MessageRefused: Its digest has another size.
    """
    if len(message.digest) != DIGEST_BYTES:
        raise out_of_bounds("checkpoint.digest", f"{DIGEST_BYTES} bytes", f"{len(message.digest)}")
    return DurableCheckpoint(message.step, message.digest)


def norms_to_wire(staged: StagedReport) -> bytes:
    """The sums of squares of a report, in the form of ``slice_norms``."""
    norms = [staged.squares[w] for w in staged.workers if w in staged.squares]
    return np.concatenate(norms).astype("<f8").tobytes() if norms else b""


def staged_from_wire(request: pb.CommitRequest, *, workers: int, with_norms: bool) -> StagedReport:
    """Another shard's report from a message.

    Args:
        request: The message.
        workers: Number of the contract's workers.
        with_norms: Whether the contract bounds updates.

    Raises:
        MessageRefused: It is not a report under this contract.
    """
    staged = tuple(request.staged)
    if list(staged) != sorted(set(staged)) or any(worker >= workers for worker in staged):
        raise out_of_bounds("staged", f"ascending workers below {workers}", str(staged[:8]))
    if not with_norms:
        return StagedReport(staged, {})
    width = 8 * (1 + SLICES)
    if len(request.slice_norms) != width * len(staged):
        raise out_of_bounds("slice_norms", f"{width} bytes a worker", f"{len(request.slice_norms)}")
    squares = np.frombuffer(request.slice_norms, "<f8").reshape(len(staged), 1 + SLICES)
    if not (np.isfinite(squares).all() and (squares >= 0).all()):
        raise out_of_bounds("slice_norms", "finite sums of squares", "others")
    return StagedReport(staged, dict(zip(staged, squares, strict=True)))


def decision_to_wire(
    decision: Decision, *, checkpoint: bool, announced: pb.Checkpoint | None, kept_step: int
) -> pb.CommitReply:
    """The decision for the other shards as a message.

    Args:
        decision: Shard 0's decision.
        checkpoint: Whether they must write a checkpoint of the state after it.
        announced: Newest checkpoint that all hold.
        kept_step: Step of the best model so far; 0 if there is none.
    """
    return pb.CommitReply(
        weights=np.array(decision.weights, "<f8").tobytes(),
        absent=sorted(decision.absent),
        checkpoint=checkpoint,
        announced=announced,
        kept_step=kept_step,
    )


def decision_from_wire(step: int, reply: pb.CommitReply) -> Decision:
    """Shard 0's decision on a step from a message."""
    weights = tuple(np.frombuffer(reply.weights, "<f8").tolist())
    contributors = tuple(worker for worker, weight in enumerate(weights) if weight)
    return Decision(step, weights, contributors, frozenset(reply.absent))


def out_of_bounds(name: str, expected: str, seen: str) -> MessageRefused:
    """The error of a field that no node of this version sends."""
    return MessageRefused(f"{name} is out of bounds", expected, seen)
