"""Recognizes a training that diverges, at the first place where it shows."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from coterie.errors import TrainingDiverged
from coterie.ps.core.aggregation import Gradients

MAX_LOSS = 1e6  # loss of one example; a training that reaches it has diverged


def check_converging(step: int, gradients: Gradients) -> None:
    """Checks a worker's gradients before they are pushed.

    The error does not depend on the worker's data, since it goes to other nodes and to logs.

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
    """The error of a training that diverges.

    Args:
        step: The step in which it shows.
        seen: The observed sign.
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
