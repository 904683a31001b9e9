"""Bounds on all received values: sizes, ids, shapes and finite values, checked before use."""

from __future__ import annotations

import math

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.contract import MAX_STEP_BYTES, Contract
from coterie.errors import MessageRefused
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.divergence import MAX_LOSS
from coterie.ps.core.evaluation import MAX_COUNTS_BYTES, SPLITS
from coterie.ps.wire.frames import Octets, Push

_MESSAGE_OVERHEAD = 64 << 10
EVALUATION_BATCH = 4096
PART_BYTES = 1 << 20  # of one message of a chief's delivery
_REMEDY = "run the same version of Coterie under the same contract on both sides"


def max_message_bytes(contract: Contract) -> int:
    """The largest message that this contract's sizes allow, plus room for small fields."""
    examples = max(contract.most_step_examples, EVALUATION_BATCH + 1)
    exchange = min(contract.step_bytes(examples), MAX_STEP_BYTES)
    report = len(SPLITS) * MAX_COUNTS_BYTES
    return max(exchange, report, PART_BYTES) + _MESSAGE_OVERHEAD


class MessageBounds:
    """Decodes arrays under a contract and refuses impossible ones.

    Args:
        contract: Gives the bounds.
        dense: Whether dense parameters are expected, on shard 0 only.
    """

    def __init__(self, contract: Contract, *, dense: bool = True) -> None:
        parameters = contract.model.dense_parameters(contract.data) if dense else ()
        self._dense = sum(parameter.size for parameter in parameters)
        self._pushed_dense = contract.exchanged_dense if dense else 0
        self._width = contract.exchanged_width
        self._total_rows = contract.data.total_rows
        self._columns = len(contract.data.categorical)

    def row_ids(self, octets: Octets, *, examples: int, name: str) -> IdArray:
        """Decodes strictly ascending global rows.

        Args:
            octets: int32, little-endian.
            examples: Largest number of examples whose rows are expected.
            name: Name of the field, for errors.

        Raises:
            MessageRefused: They have a wrong length, are too many, out of range, or not ascending.
        """
        limit = min(examples * self._columns, self._total_rows)
        if len(octets) % 4 or len(octets) > 4 * limit:
            raise _refused(name, f"at most {limit} int32 ids", f"{len(octets)} bytes")
        ids = np.frombuffer(octets, "<i4")
        if ids.size and (ids[0] < 0 or ids[-1] >= self._total_rows):
            raise _refused(name, f"ids in 0 .. {self._total_rows - 1}", f"{ids[0]} .. {ids[-1]}")
        if not np.all(ids[1:] > ids[:-1]):
            raise _refused(name, "strictly ascending ids", "another order or duplicates")
        return ids

    def dense(self, octets: Octets, *, name: str) -> FloatArray:
        """Decodes the flat dense buffer, float32 [P].

        Raises:
            MessageRefused: Wrong length or a value that is not finite.
        """
        return _floats(octets, self._dense, name)

    def rows(self, octets: Octets, count: int, *, name: str) -> FloatArray:
        """Decodes embedding rows and the state beside them, float32 [count, dim + width].

        Raises:
            MessageRefused: Wrong length or a value that is not finite.
        """
        return _floats(octets, count * self._width, name).reshape(count, self._width)

    def push(self, push: Push, *, examples: int) -> Gradients:
        """Decodes a push.

        Args:
            push: The received push.
            examples: Number of this worker's examples in this step, by the schedule.

        Raises:
            MessageRefused: A field breaks its bound.
        """
        if push.examples != examples:
            raise _refused("push.examples", f"{examples} by the schedule", str(push.examples))
        limit = MAX_LOSS * examples
        if not 0 <= push.loss_sum <= limit:  # false for NaN
            # do not report the number: it is of one party's step, perhaps of a single example
            finite = math.isfinite(push.loss_sum)
            seen = "a number out of bounds" if finite else str(push.loss_sum)
            raise _refused("push.loss_sum", f"0 to {limit:g}", seen)
        if push.correct > examples:
            raise _refused("push.correct", f"0 to {examples}", str(push.correct))
        ids = self.row_ids(push.row_ids, examples=examples, name="push.row_ids")
        return Gradients(
            examples=examples,
            loss_sum=push.loss_sum,
            dense_p=_floats(push.dense_gradient, self._pushed_dense, "push.dense_gradient"),
            row_ids_u=ids,
            rows_ud=self.rows(push.row_gradients, ids.size, name="push.row_gradients"),
            correct=push.correct,
        )


def _floats(octets: Octets, count: int, name: str) -> FloatArray:
    if len(octets) != 4 * count:
        raise _refused(name, f"{count} float32 values ({4 * count} bytes)", f"{len(octets)} bytes")
    values = np.frombuffer(octets, "<f4")
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise MessageRefused(
            f"{name} holds values that are not finite",
            expected="finite float32 values",
            seen=f"{bad} of {count} are NaN or infinite",
            remedy="training diverged or the sender is faulty: lower the learning rate in the "
            "contract, or look at the sender's data",
        )
    return values


def _refused(name: str, expected: str, seen: str) -> MessageRefused:
    return MessageRefused(f"{name} is out of bounds", expected, seen, remedy=_REMEDY)
