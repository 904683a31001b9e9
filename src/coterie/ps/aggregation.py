"""Sums the workers' gradients of one step, in worker order, weighted by examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Gradients:
    """What one worker pushes for one step; gradients are of the *sum* of its examples' losses.

    Attributes:
        examples: Number of examples.
        loss_sum: Sum of their losses.
        dense_p: float32 [P].
        row_ids_u: Global rows, int32 [u], strictly ascending.
        rows_ud: float32 [u, dim].
    """

    examples: int
    loss_sum: float
    dense_p: FloatArray
    row_ids_u: IdArray
    rows_ud: FloatArray


def is_finite(gradients: Gradients) -> bool:
    """Whether every gradient is a finite number: sums of finite ones may overflow."""
    return bool(np.isfinite(gradients.dense_p).all() and np.isfinite(gradients.rows_ud).all())


def mean_gradients(pushes: Sequence[Gradients]) -> Gradients:
    """The mean gradient over all examples of a step.

    Since every push is a sum over its examples, adding pushes weights workers by examples. The
    order of additions is the order of ``pushes``: with the same pushes the result is the same, bit
    for bit.

    Args:
        pushes: In worker order, at least one.

    Returns:
        Examples and loss summed, gradients divided by the examples.
    """
    examples = sum(push.examples for push in pushes)
    share = np.float32(1 / examples)
    ids = np.unique(np.concatenate([push.row_ids_u for push in pushes]))
    with np.errstate(over="ignore", invalid="ignore"):  # is_finite finds what overflows
        dense = pushes[0].dense_p.copy()
        for push in pushes[1:]:
            dense += push.dense_p
        dense *= share
        rows = np.zeros((ids.size, pushes[0].rows_ud.shape[1]), np.float32)
        for push in pushes:
            rows[np.searchsorted(ids, push.row_ids_u)] += push.rows_ud
        rows *= share
    return Gradients(examples, sum(push.loss_sum for push in pushes), dense, ids, rows)
