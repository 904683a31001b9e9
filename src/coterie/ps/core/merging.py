"""Merges the workers' trained copies, and their optimizers' state, into one model.

For each row, a push holds the change of its values (start minus end) and the growth of its state of
the workers' own optimizer, both times the worker's examples. For a row, with w over the workers
that touched it, n their examples, and "all" the examples of the step:

    mean       sum over w of n_w * change_w / all
    touched    sum over w of n_w * change_w / sum over w of n_w
    adagrad    sum over w of change_w * sqrt((s + grown_w) / (s + sum over w of grown_w))

s is the state before, with the initial accumulator. A worker's last change was scaled by s +
grown_w; had the workers trained in turn, it would have been scaled by the sum of all. The state
itself grows by the same rule, by the mean or the sum. Caps and bounds (``push_weights``) scale a
worker's whole push before that. Dense parameters and their optimizer's sums always take the mean
over all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from typing_extensions import override

from coterie.arrays import FloatArray, IdArray
from coterie.contract import LocalSection, RowOptimizer
from coterie.ps.core.aggregation import Gradients, sum_gradients
from coterie.ps.core.optimizers import DenseUpdate, RowUpdate


def merge(
    local: LocalSection | None,
    pushes: Sequence[Gradients],
    weights: Sequence[float],
    dim: int,
    state_of: Callable[[IdArray], FloatArray],
) -> Gradients:
    """Merges a step's pushes into one: ``sum_gradients``, with the contract's rule for rows.

    The result for a row depends only on this row's part of the pushes, so it is the same for any
    number of shards.

    Args:
        local: The workers' own optimizers; None if pushes are gradients.
        pushes: In worker order, at least one.
        weights: As ``push_weights`` gives them.
        dim: Width of a row's values.
        state_of: The state of rows before the step, float32 [n, width].
    """
    rule = "mean" if local is None else local.row_merge
    if local is not None and rule == "adagrad":
        state = _StateBefore(state_of, np.float32(local.rows.initial_accumulator))
        pushes = _in_turns(pushes, weights, dim, state)
    merged = sum_gradients(pushes, weights)
    if rule == "touched":
        _over_those_that_touched(merged, pushes)
    return merged


class DenseChange(DenseUpdate):
    """Applies the server's optimizer to the mean change, and updates the workers' optimizer's sums.

    Args:
        server: The server's optimizer, for which the change is the gradient.
        kept: The sums before training, float32 [sums].
    """

    def __init__(self, server: DenseUpdate, kept: FloatArray) -> None:
        size = server.state.size
        self.state: FloatArray = np.concatenate((server.state, kept))
        server.state, self._kept = self.state[:size], self.state[size:]
        self._server = server

    @property
    def kept(self) -> FloatArray:
        """The sums, float32 [sums]."""
        return self._kept

    @override
    def apply(
        self, parameters: FloatArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        # The gradient has the shape [P + sums].
        size = parameters.size
        self._server.apply(parameters, gradient[:size], step=step, factor=factor)
        self._kept += gradient[size:]
        np.maximum(self._kept, 0, out=self._kept)  # by rounding a mean may come to lie below


class RowChange(RowUpdate):
    """values -= lr * change; the workers' optimizer's state grows as it grew at the workers.

    Args:
        settings: The server's optimizer: plain SGD.
        local: The workers' optimizer.
        rows: Rows of the table.
        dim: Width of a row's values.
    """

    def __init__(self, settings: RowOptimizer, local: RowOptimizer, rows: int, dim: int) -> None:
        self.state = np.zeros((rows, local.state_width(dim)), np.float32)
        self._rate = settings.learning_rate
        self._dim = dim
        # Columns with sums or means of squares; Adam's first moments are before them.
        self._squares = slice(dim if local.kind == "lazy_adam" else 0, None)

    @override
    def apply(
        self, values: FloatArray, rows: IdArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        # The gradient has the shape [u, dim + width].
        del step
        change = gradient[:, : self._dim] * np.float32(self._rate * factor)
        values[rows] = values.take(rows, axis=0) - change
        state = self.state.take(rows, axis=0)
        state += gradient[:, self._dim :]
        squares = state[:, self._squares]
        np.maximum(squares, 0, out=squares)  # by rounding a mean may come to lie below
        self.state[rows] = state


class _StateBefore:
    def __init__(self, state_of: Callable[[IdArray], FloatArray], initial: np.float32) -> None:
        self._state_of = state_of
        self._initial = initial

    def of(self, rows: IdArray) -> FloatArray:
        state: FloatArray = self._state_of(rows) + self._initial
        return state


def _over_those_that_touched(merged: Gradients, pushes: Sequence[Gradients]) -> None:
    touched = np.zeros(merged.row_ids_u.size, np.float64)
    for push in pushes:
        touched[np.searchsorted(merged.row_ids_u, push.row_ids_u)] += push.examples
    factors: FloatArray = (merged.examples / touched).astype(np.float32)
    with np.errstate(over="ignore"):  # is_finite finds what overflows
        merged.rows_ud[:] *= factors[:, None]


def _in_turns(
    pushes: Sequence[Gradients], weights: Sequence[float], dim: int, before: _StateBefore
) -> list[Gradients]:
    """Scales the pushes so that their weighted sum follows the rule ``adagrad``."""
    examples = sum(push.examples for push in pushes)
    ids = np.unique(np.concatenate([push.row_ids_u for push in pushes]))
    places = [np.searchsorted(ids, push.row_ids_u) for push in pushes]
    together = before.of(ids)
    with np.errstate(over="ignore", invalid="ignore"):  # is_finite finds what overflows
        # Times 1 / examples, the weight without caps and bounds, each push is the worker's change.
        scaled = [push.rows_ud * np.float32(examples / push.examples) for push in pushes]
        grown = [
            rows[:, dim:] * np.float32(weight) for rows, weight in zip(scaled, weights, strict=True)
        ]
        for place, own in zip(places, grown, strict=True):
            together[place] += own
        for push, place, rows, own in zip(pushes, places, scaled, grown, strict=True):
            alone, all_of = before.of(push.row_ids_u) + own, together[place]
            # A row with sum of squares 0 has never changed.
            share = np.divide(alone, all_of, out=np.ones_like(alone), where=all_of > 0)
            rows[:, :dim] *= np.sqrt(share)
    return [replace(push, rows_ud=rows) for push, rows in zip(pushes, scaled, strict=True)]
