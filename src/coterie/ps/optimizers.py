"""The server's optimizers: in place, float32, one element-wise order of operations for ever.

The names and formulas are those of Duchi et al. (2011) and of the reference DLRM's row-wise Adagrad.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from coterie.contract import DenseOptimizer, RowOptimizer

FloatArray = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.int32]


class DenseUpdate(Protocol):
    """Updates the dense parameters with a step's mean gradient."""

    state: FloatArray

    def apply(self, parameters: FloatArray, gradient: FloatArray) -> None:
        """Updates ``parameters`` [P] in place; may overwrite ``gradient`` [P]."""
        ...


class RowUpdate(Protocol):
    """Updates embedding rows; ``state`` has one entry (a scalar or a row) per table row."""

    state: FloatArray

    def apply(self, values: FloatArray, rows: IdArray, gradient: FloatArray) -> None:
        """Updates ``values[rows]`` in place with ``gradient`` [u, dim]; rows are unique."""
        ...


class DenseSgd:
    """p -= lr * g."""

    def __init__(self, learning_rate: float) -> None:
        self.state = np.zeros(0, np.float32)
        self._rate = np.float32(learning_rate)

    def apply(self, parameters: FloatArray, gradient: FloatArray) -> None:
        """See DenseUpdate."""
        gradient *= self._rate
        parameters -= gradient


class DenseAdagrad:
    """s += g^2; p -= lr * g / (sqrt(s) + epsilon)."""

    def __init__(self, size: int, settings: DenseOptimizer) -> None:
        self.state = np.full(size, settings.initial_accumulator, np.float32)
        self._rate = np.float32(settings.learning_rate)
        self._epsilon = np.float32(settings.epsilon)
        self._scratch = np.empty(size, np.float32)

    def apply(self, parameters: FloatArray, gradient: FloatArray) -> None:
        """See DenseUpdate."""
        np.multiply(gradient, gradient, out=self._scratch)
        self.state += self._scratch
        np.sqrt(self.state, out=self._scratch)
        self._scratch += self._epsilon
        gradient *= self._rate
        gradient /= self._scratch
        parameters -= gradient


class RowSgd:
    """r -= lr * g."""

    def __init__(self, learning_rate: float) -> None:
        self.state = np.zeros(0, np.float32)
        self._rate = np.float32(learning_rate)

    def apply(self, values: FloatArray, rows: IdArray, gradient: FloatArray) -> None:
        """See RowUpdate."""
        values[rows] -= self._rate * gradient


class RowAdagrad:
    """Adagrad with a sum of squares per element, or per row (their mean over the row).

    Args:
        rows: Rows of the table.
        dim: Width of a row.
        settings: Rate, initial accumulator and epsilon; ``kind`` decides between the two.
    """

    def __init__(self, rows: int, dim: int, settings: RowOptimizer) -> None:
        width = 1 if settings.kind == "rowwise_adagrad" else dim
        # Zeroed pages cost no memory until they are touched; the initial value is added on reading.
        self.state = np.zeros((rows, width), np.float32)
        self._initial = np.float32(settings.initial_accumulator)
        self._rate = np.float32(settings.learning_rate)
        self._epsilon = np.float32(settings.epsilon)
        self._row_wise = settings.kind == "rowwise_adagrad"

    def apply(self, values: FloatArray, rows: IdArray, gradient: FloatArray) -> None:
        """See RowUpdate."""
        squares = gradient * gradient
        if self._row_wise:
            squares = squares.mean(axis=1, keepdims=True, dtype=np.float32)
        sums = self.state[rows] + squares
        self.state[rows] = sums
        values[rows] -= self._rate * gradient / (np.sqrt(sums + self._initial) + self._epsilon)


def dense_update(settings: DenseOptimizer, size: int) -> DenseUpdate:
    """Makes the dense optimizer that the contract names."""
    if settings.kind == "sgd":
        return DenseSgd(settings.learning_rate)
    return DenseAdagrad(size, settings)


def row_update(settings: RowOptimizer, rows: int, dim: int) -> RowUpdate:
    """Makes the row optimizer that the contract names."""
    if settings.kind == "sgd":
        return RowSgd(settings.learning_rate)
    return RowAdagrad(rows, dim, settings)
