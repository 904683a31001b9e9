"""Codes a worker's pushes, and adds to each what the coding took away from the one before."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

from coterie.arrays import FloatArray
from coterie.contract import Contract
from coterie.ps.core.flushes import FlushPlan
from coterie.ps.core.schedule import Lane
from coterie.ps.wire.frames import Octets
from coterie.ps.wire.push_coding import PushCoding, push_coding

Kept = TypeVar("Kept")


class Remainder(Generic[Kept]):
    """What a worker's last push left away, in memory only.

    A push is made again after the server was lost: for the same step or, after a return to a checkpoint,
    for an earlier one. Both give the same bits, since the remainder that went into the last push is kept
    too, and nobody has one at a checkpoint.
    """

    def __init__(self) -> None:
        self._pushed = -1
        self._before: Kept | None = None
        self._after: Kept | None = None

    def at(self, step: int, plan: FlushPlan) -> Kept | None:
        """What is added to the push of a step; None if nothing was left away."""
        if step != self._pushed:
            follows = plan.settled(step) <= self._pushed < step
            self._before = self._after if follows else None
            self._pushed, self._after = step, None
        return self._before

    def keep(self, left: Kept) -> None:
        """Takes what the push of this step leaves away."""
        self._after = left


class PushEncoder:
    """Codes pushes as the contract says, with error feedback if it says so.

    Args:
        contract: Gives the coding.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._feedback = contract.training.error_feedback
        self._dense = contract.exchanged_dense - contract.exchanged_sums
        self._remainder = Remainder[FloatArray]()

    def encode_dense(self, lane: Lane, step: int, dense_p: FloatArray) -> tuple[PushCoding, Octets]:
        """Codes the dense gradient of a push.

        Args:
            lane: The worker's part of the run.
            step: The step that is pushed.
            dense_p: float32 [P], or [P + sums].

        Returns:
            The coding, for the rows too; and the coded dense gradient.

        Raises:
            MessageRefused: The gradient is too large for the coding.
        """
        if not self._feedback:
            coding = push_coding(self._contract)
            return coding, coding.encode_dense(dense_p)
        plan = FlushPlan.of(self._contract, lane.steps_per_epoch)
        coding = push_coding(self._contract, flush=plan.flushes(lane, step))
        remainder, size = self._remainder.at(step, plan), self._dense
        with np.errstate(over="ignore", invalid="ignore"):  # decoding refuses what overflows
            if remainder is not None:
                dense_p = dense_p.copy()
                dense_p[:size] += remainder
            octets = coding.encode_dense(dense_p)
            self._remainder.keep(dense_p[:size] - coding.decode_dense(octets)[:size])
        return coding, octets
