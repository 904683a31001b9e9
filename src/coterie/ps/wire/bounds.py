"""Bounds on all received values: sizes, ids, shapes and finite values, checked before use."""

from __future__ import annotations

import math

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.contract import MAX_STEP_BYTES, Contract
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.divergence import MAX_LOSS
from coterie.ps.core.evaluation import MAX_COUNTS_BYTES, SPLITS
from coterie.ps.wire.frames import Octets, Push
from coterie.ps.wire.push_coding import finite_floats, push_coding, refused

_MESSAGE_OVERHEAD = 64 << 10
EVALUATION_BATCH = 4096
PART_BYTES = 1 << 20  # of one message of a chief's delivery


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
        self._coding = push_coding(contract, dense=dense)
        self._flush_coding = push_coding(contract, dense=dense, flush=True)
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
            raise refused(name, f"at most {limit} int32 ids", f"{len(octets)} bytes")
        ids = np.frombuffer(octets, "<i4")
        if ids.size and (ids[0] < 0 or ids[-1] >= self._total_rows):
            raise refused(name, f"ids in 0 .. {self._total_rows - 1}", f"{ids[0]} .. {ids[-1]}")
        if not np.all(ids[1:] > ids[:-1]):
            raise refused(name, "strictly ascending ids", "another order or duplicates")
        return ids

    def dense(self, octets: Octets, *, name: str) -> FloatArray:
        """Decodes the flat dense buffer, float32 [P].

        Raises:
            MessageRefused: Wrong length or a value that is not finite.
        """
        return finite_floats(octets, self._dense, name)

    def push(self, push: Push, *, examples: int, flush: bool = False) -> Gradients:
        """Decodes a push.

        Args:
            push: The received push.
            examples: Number of this worker's examples in this step, by the schedule.
            flush: Whether this worker's push of this step is a flush, by the schedule.

        Raises:
            MessageRefused: A field breaks its bound.
        """
        if push.examples != examples:
            raise refused("push.examples", f"{examples} by the schedule", str(push.examples))
        limit = MAX_LOSS * examples
        if not 0 <= push.loss_sum <= limit:  # false for NaN
            # do not report the number: it is of one party's step, perhaps of a single example
            finite = math.isfinite(push.loss_sum)
            seen = "a number out of bounds" if finite else str(push.loss_sum)
            raise refused("push.loss_sum", f"0 to {limit:g}", seen)
        if push.correct > examples:
            raise refused("push.correct", f"0 to {examples}", str(push.correct))
        ids = self.row_ids(push.row_ids, examples=examples, name="push.row_ids")
        coding = self._flush_coding if flush else self._coding
        return Gradients(
            examples=examples,
            loss_sum=push.loss_sum,
            dense_p=coding.decode_dense(push.dense_gradient),
            row_ids_u=ids,
            rows_ud=coding.decode_rows(push.row_gradients, ids.size),
            correct=push.correct,
        )
