"""The two messages of ``Exchange`` on the wire: a protobuf head, then arrays as in memory.

    4 bytes    length of the head, little-endian
    head       ExchangeRequestHead or ExchangeReplyHead
    arrays     one after the other; the head has their sizes

Zero bytes up to a multiple of 16 precede each array, so that all are aligned.

An array is copied neither on sending nor on arrival, where arrays are views. Protobuf's Python
messages would copy every bytes field twice at either end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from coterie.arrays import FloatArray, IdArray, UInt16Array
from coterie.errors import MessageRefused
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.strict import read_message

Octets = bytes | memoryview
_Head = TypeVar("_Head", pb.ExchangeRequestHead, pb.ExchangeReplyHead)

_ALIGNMENT = 16
_LENGTH_BYTES = 4
_MAX_HEAD_BYTES = 1024


_refused = partial(MessageRefused, "the message is not a frame of this protocol")


@dataclass(frozen=True, eq=False)
class Push:
    """A worker's gradients of one step; see ``ps.proto`` for the arrays."""

    examples: int
    loss_sum: float
    dense_gradient: Octets
    row_ids: Octets
    row_gradients: Octets
    correct: int = 0


@dataclass(frozen=True, eq=False)
class ExchangeRequest:
    """Pushes step ``step`` (or nothing) and asks for rows.

    ``held_step`` is the step whose dense parameters the sender holds, of this incarnation.
    """

    ps_incarnation: int
    step: int
    push: Push | None
    next_row_ids: Octets
    held_step: int | None = None

    def encode(self) -> list[Octets]:
        """The message as a frame, in pieces; the arrays are not copied."""
        push = self.push
        arrays: list[Octets] = [b"", b"", b"", self.next_row_ids]
        if push is not None:
            arrays[:3] = [push.dense_gradient, push.row_ids, push.row_gradients]
        head = pb.ExchangeRequestHead(
            ps_incarnation=self.ps_incarnation,
            step=self.step,
            pushes=push is not None,
            examples=push.examples if push else 0,
            loss_sum=push.loss_sum if push else 0.0,
            correct=push.correct if push else 0,
            sizes=[len(array) for array in arrays],
            held_step=self.held_step,
        )
        return _frame(head.SerializeToString(), arrays)

    @staticmethod
    def decode(octets: Octets) -> ExchangeRequest:
        """Reads a frame.

        Raises:
            MessageRefused: The bytes are not such a frame.
        """
        head, (dense, ids, rows, next_ids) = _opened(pb.ExchangeRequestHead, octets, 4)
        push = None
        if head.pushes:
            push = Push(head.examples, head.loss_sum, dense, ids, rows, head.correct)
        held_step = head.held_step if head.HasField("held_step") else None
        return ExchangeRequest(head.ps_incarnation, head.step, push, next_ids, held_step)


@dataclass(frozen=True, eq=False)
class ExchangeReply:
    """The requested state after a step; or ``pending``: call again.

    With ``differences``, the dense parameters are packed, from those that the request says are held.
    """

    step: int
    pending: bool = False
    dense_parameters: Octets = b""
    rows: Octets = b""
    durable: pb.Checkpoint | None = None
    served_seconds: float = 0.0
    waited_seconds: float = 0.0
    receipt: pb.ReceiptHead | None = None
    differences: bool = False

    def encode(self) -> list[Octets]:
        """The message as a frame, in pieces; the arrays are not copied."""
        arrays = (self.dense_parameters, self.rows)
        head = pb.ExchangeReplyHead(
            pending=self.pending,
            step=self.step,
            durable=self.durable,
            served_seconds=self.served_seconds,
            waited_seconds=self.waited_seconds,
            sizes=[len(array) for array in arrays],
            receipt=self.receipt,
            differences=self.differences,
        )
        return _frame(head.SerializeToString(), arrays)

    @staticmethod
    def decode(octets: Octets) -> ExchangeReply:
        """Reads a frame.

        Raises:
            MessageRefused: The bytes are not such a frame.
        """
        head, (dense, rows) = _opened(pb.ExchangeReplyHead, octets, 2)
        return ExchangeReply(
            head.step,
            head.pending,
            dense,
            rows,
            head.durable if head.HasField("durable") else None,
            head.served_seconds,
            head.waited_seconds,
            head.receipt if head.HasField("receipt") else None,
            head.differences,
        )


def octets_of(array: FloatArray | IdArray | UInt16Array) -> Octets:
    """An array's memory as bytes, without a copy if it is contiguous."""
    return np.ascontiguousarray(array).data.cast("B") if array.size else b""


def _frame(head: bytes, arrays: Sequence[Octets]) -> list[Octets]:
    pieces: list[Octets] = [len(head).to_bytes(_LENGTH_BYTES, "little"), head]
    end = _LENGTH_BYTES + len(head)
    for array in arrays:
        padding = -end % _ALIGNMENT
        pieces += (bytes(padding), array)
        end += padding + len(array)
    return pieces


def _opened(kind: type[_Head], octets: Octets, count: int) -> tuple[_Head, tuple[memoryview, ...]]:
    length = int.from_bytes(octets[:_LENGTH_BYTES], "little")
    if length > min(_MAX_HEAD_BYTES, len(octets) - _LENGTH_BYTES):
        raise _refused(f"a head of at most {_MAX_HEAD_BYTES} bytes", f"{length} bytes")
    end = _LENGTH_BYTES + length
    try:
        head = read_message(kind, bytes(octets[_LENGTH_BYTES:end]))
    except DecodeError as error:
        raise _refused("a readable head", "something else") from error
    sizes = list(head.sizes)
    view = memoryview(octets)
    arrays: list[memoryview] = []
    fits = len(sizes) == count
    for size in sizes[:count]:
        start = end + -end % _ALIGNMENT
        fits = fits and not any(octets[end:start])
        end = start + size
        arrays.append(view[start:end])
    if not fits or end != len(octets):
        raise _refused(f"{count} arrays that fill the frame", f"{sizes[:8]} of {len(octets)} bytes")
    return head, tuple(arrays)
