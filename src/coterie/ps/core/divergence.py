"""A training that diverges is named as that: where it is seen first, and to everybody."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from coterie.errors import TrainingDiverged
from coterie.ps.core.aggregation import Gradients

MAX_LOSS = 1e6  # of one example; a training that gets there has diverged


def check_converging(step: int, gradients: Gradients) -> None:
    """Checks what a worker has computed, before it is pushed.

    What is said of the loss holds for any examples: it goes to other nodes and to logs.

    Raises:
        TrainingDiverged: The loss, or a gradient, is not finite or out of all bounds.
    """
    loss = gradients.loss_sum
    if math.isnan(loss):
        raise diverged(step, "a loss that is not a number")
    if not 0 <= loss <= MAX_LOSS * gradients.examples:
        raise diverged(step, f"a mean loss of more than {MAX_LOSS:g}")
    if not (np.isfinite(gradients.dense_p).all() and np.isfinite(gradients.rows_ud).all()):
        raise diverged(step, "gradients that are not finite")


def diverged(step: int, seen: str, losses: Iterable[float] = ()) -> TrainingDiverged:
    """The error.

    Args:
        step: The step in which it shows.
        seen: What shows it.
        losses: Mean losses of the steps before, over all workers, oldest first.
    """
    before = ", ".join(f"{loss:.3g}" for loss in losses)
    return TrainingDiverged(
        f"training diverged at step {step}",
        expected="finite losses and gradients that stay bounded",
        seen=seen + (f"; mean losses of the steps before: {before}" if before else ""),
        remedy="agree on a contract with lower learning rates ([training.dense], [training.rows], "
        "[training.local]), a rate that begins small ([training.schedule]) or bounded updates (training.update_norm); look for "
        "values far out of range in the data",
    )
