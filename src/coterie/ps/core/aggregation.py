"""Sums the workers' gradients of a step, in worker order, each with its weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coterie.arrays import Float64Array, FloatArray, IdArray
from coterie.parameters.sharding import SLICES, slices_of
from coterie.plane.choice import kernels
from coterie.plane.kernels import Factors


@dataclass(frozen=True)
class Gradients:
    """What one worker pushes for one step; gradients are of the *sum* of its examples' losses.

    With local steps they are its copy's changes, start minus end, times its examples.

    Attributes:
        examples: Number of examples.
        loss_sum: Sum of their losses.
        dense_p: float32 [P]; with sums that a local optimizer keeps [P + sums]: what they grew by,
            times the examples; [0] on shards that hold no dense parameters.
        row_ids_u: Global rows, int32 [u], strictly ascending.
        rows_ud: float32 [u, dim]; with the state of a local optimizer of rows [u, dim + width]: what
            the state grew by, times the examples.
        correct: Examples on the right side of probability one half; for reports only.
    """

    examples: int
    loss_sum: float
    dense_p: FloatArray
    row_ids_u: IdArray
    rows_ud: FloatArray
    correct: int = 0


def is_finite(gradients: Gradients) -> bool:
    """Whether every gradient is finite; sums of finite gradients may overflow."""
    return bool(np.isfinite(gradients.dense_p).all() and np.isfinite(gradients.rows_ud).all())


def sum_gradients(pushes: Sequence[Gradients], weights: Sequence[float]) -> Gradients:
    """The weighted sum of a step's pushes.

    If all weights are equal, pushes are added first and scaled once. Additions are in the order of
    ``pushes``, so the same pushes give the same result, bit for bit.

    Args:
        pushes: In worker order, at least one.
        weights: Factor of each push's sum; 1 / all examples for the plain mean.

    Returns:
        Examples and losses summed, gradients weighted and summed.
    """
    compute, factors = kernels(), Factors.of(weights)
    ids, places = _union([push.row_ids_u for push in pushes])
    dense = compute.sum_dense([push.dense_p for push in pushes], factors)
    rows = compute.sum_rows([push.rows_ud for push in pushes], places, ids.size, factors)
    return Gradients(
        sum(push.examples for push in pushes),
        sum(push.loss_sum for push in pushes),
        dense,
        ids,
        rows,
        sum(push.correct for push in pushes),
    )


def push_weights(
    examples: Sequence[int],
    squares: Sequence[float] | None,
    *,
    update_norm: float | None,
    party_weight: float,
) -> tuple[float, ...]:
    """Factors of a step's pushes: shares by examples, with the cap and the bound on norms applied.

    A push is a sum over its examples, so its factor is its share of the step divided by its number
    of examples. What cap and bound take away is not given to other workers.

    Args:
        examples: Examples of each push.
        squares: Sum of squares of each push's gradients; needed with ``update_norm``.
        update_norm: Bound on the norm of each push's mean gradient.
        party_weight: Cap on a push's share.
    """
    total = sum(examples)
    weights: list[float] = []
    for i, count in enumerate(examples):
        # Without caps all pushes have the same factor, which sum_gradients applies only once.
        weight = 1 / total if count <= party_weight * total else party_weight / count
        if update_norm is not None and squares is not None:
            norm = math.sqrt(squares[i]) / count
            if norm > update_norm:
                weight *= update_norm / norm
        weights.append(weight)
    return tuple(weights)


def dense_norm(gradients: Gradients, size: int) -> float:
    """Sum of squares of the gradient of ``size`` dense parameters, in float64."""
    return float(np.square(gradients.dense_p[:size], dtype=np.float64).sum())


def slice_norms(gradients: Gradients, dim: int) -> Float64Array:
    """Sums of squares of the rows of each slice, added in the order of rows, float64 [slices]."""
    rows_ud = gradients.rows_ud[:, :dim]
    squares = np.einsum("ud,ud->u", rows_ud, rows_ud, dtype=np.float64, optimize=False)
    norms: Float64Array = np.bincount(
        slices_of(gradients.row_ids_u), squares, minlength=SLICES
    ).astype(np.float64, copy=False)
    return norms


def _union(ids: Sequence[IdArray]) -> tuple[IdArray, list[IdArray]]:
    """The distinct ids of several ascending lists, ascending, and each list's places in them."""
    if len(ids) == 1:
        return ids[0], [np.arange(ids[0].size, dtype=np.int32)]
    distinct, places = kernels().unique(np.concatenate(ids))
    return distinct, np.split(places, np.cumsum([part.size for part in ids])[:-1])
