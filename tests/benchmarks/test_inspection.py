"""Clusters with and without inspection are compared only if they have learned the same."""

from __future__ import annotations

import pytest

from benchmarks.inspection import check_losses


def line(step: int, loss: float) -> str:
    return f"worker 0 step {step} accuracy 0.5000 loss {loss.hex()}\n"


def test_sums_in_another_order_are_the_same_losses() -> None:
    check_losses([line(1, 0.69), line(2, 0.5)], [line(1, 0.69), line(3, 0.5 + 1e-7)])


def test_as_many_steps_are_compared_as_both_have_done() -> None:
    check_losses([line(1, 0.69)], [line(1, 0.69), line(2, 0.5)])


def test_other_losses_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"step 2 differ: 0\.5 and 0\.6"):
        check_losses([line(1, 0.69), line(2, 0.5)], [line(1, 0.69), line(2, 0.6)])
