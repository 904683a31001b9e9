"""The server's optimizers: in place, in float32, with a fixed order of operations per element.

The names and formulas are those of Polyak (1964), Duchi et al. (2011), Kingma and Ba (2015), and of
the reference DLRM's row-wise Adagrad. Large arrays are processed in blocks that fit a processor's
cache. That changes no result, since every element is computed independently.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from typing_extensions import override

from coterie.arrays import FloatArray, IdArray
from coterie.contract import DenseOptimizer, RowOptimizer
from coterie.plane.choice import kernels

_BLOCK = 1 << 15


class DenseUpdate(Protocol):
    """Updates the dense parameters with a step's mean gradient."""

    state: FloatArray

    def apply(
        self, parameters: FloatArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        """Updates ``parameters`` [P] in place; may overwrite ``gradient`` [P].

        Args:
            parameters: float32 [P].
            gradient: float32 [P].
            step: Updates applied before this one.
            factor: Of the learning rate.
        """
        ...


class RowUpdate(Protocol):
    """Updates embedding rows; ``state`` has one entry of some width per table row."""

    state: FloatArray

    def apply(
        self, values: FloatArray, rows: IdArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        """Updates ``values[rows]`` in place with ``gradient`` [u, dim]; rows are unique."""
        ...


class DenseSgd(DenseUpdate):
    """p -= lr * g."""

    def __init__(self, settings: DenseOptimizer) -> None:
        self.state = np.zeros(0, np.float32)
        self._rate = settings.learning_rate

    @override
    def apply(
        self, parameters: FloatArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        del step
        kernels().dense_sgd(parameters, gradient, np.float32(self._rate * factor))


class DenseMomentum(DenseUpdate):
    """v = momentum * v - lr * g; p += v, or, by Nesterov, p += momentum * v - lr * g."""

    def __init__(self, size: int, settings: DenseOptimizer) -> None:
        self.state = np.zeros(size, np.float32)
        self._rate = settings.learning_rate
        self._momentum = np.float32(settings.momentum)
        self._nesterov = settings.kind == "nesterov"

    @override
    def apply(
        self, parameters: FloatArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        del step
        rate = np.float32(self._rate * factor)
        for part in _blocks(parameters.size):
            g, v = gradient[part], self.state[part]
            g *= rate
            v *= self._momentum
            v -= g
            if self._nesterov:
                parameters[part] -= g
                parameters[part] += np.multiply(v, self._momentum, out=g)
            else:
                parameters[part] += v


class DenseAdagrad(DenseUpdate):
    """s += g^2; p -= lr * g / (sqrt(s) + epsilon)."""

    def __init__(self, size: int, settings: DenseOptimizer) -> None:
        self.state = np.full(size, settings.initial_accumulator, np.float32)
        self._rate = settings.learning_rate
        self._epsilon = np.float32(settings.epsilon)

    @override
    def apply(
        self, parameters: FloatArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        del step
        rate = np.float32(self._rate * factor)
        kernels().dense_adagrad(parameters, self.state, gradient, rate, self._epsilon)


class DenseFactoredAdagrad(DenseUpdate):
    """Adagrad with sums of squares for the rows and columns of each kernel.

    r += mean of g^2 over columns, c += over rows; p -= lr * g / (sqrt(r * c / mean of r) + epsilon).
    Adafactor's moving averages are of the same form (Shazeer and Stern, 2018). Every element of a
    vector has its own sum. All axes of a kernel before the last count as rows.
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], settings: DenseOptimizer) -> None:
        self.state = np.full(settings.sums(shapes), settings.initial_accumulator, np.float32)
        self._shapes = [
            (math.prod(shape[:-1]), shape[-1]) if len(shape) > 1 else (math.prod(shape), 0)
            for shape in shapes
        ]
        self._rate = settings.learning_rate
        self._epsilon = np.float32(settings.epsilon)

    @override
    def apply(
        self, parameters: FloatArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        del step
        rate = np.float32(self._rate * factor)
        at = kept = 0
        for rows, columns in self._shapes:
            size = rows * max(columns, 1)
            part = slice(at, at + size)
            of_rows = self.state[kept : kept + rows]
            of_columns = self.state[kept + rows : kept + rows + columns]
            at, kept = at + size, kept + rows + columns
            g = gradient[part]
            squares = g * g
            if columns:
                squares = squares.reshape(rows, columns)
                of_rows += squares.mean(axis=1, dtype=np.float32)
                of_columns += squares.mean(axis=0, dtype=np.float32)
                mean = of_rows.mean(dtype=np.float32)
                # If it is 0, all gradients were 0, and so is the numerator below.
                shares = of_rows / mean if mean > 0 else of_rows
                np.multiply(shares[:, None], of_columns, out=squares)
            else:
                of_rows += squares
                squares = of_rows
            root = np.sqrt(squares).reshape(-1)
            root += self._epsilon
            g *= rate
            g /= root
            parameters[part] -= g


class DenseAdam(DenseUpdate):
    """m, v: moving averages of g and g^2; p -= lr_t * m / (sqrt(v) + epsilon), as in Keras.

    lr_t = lr * sqrt(1 - beta_2^t) / (1 - beta_1^t), t the number of the update, from 1.
    """

    def __init__(self, size: int, settings: DenseOptimizer) -> None:
        self.state = np.zeros(2 * size, np.float32)
        self._settings = settings
        self._scratch = np.empty(min(size, _BLOCK), np.float32)

    @override
    def apply(
        self, parameters: FloatArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        settings = self._settings
        rate = _adam_rate(settings, step, factor)
        keep_m, take_m = np.float32(settings.beta_1), np.float32(1 - settings.beta_1)
        keep_v, take_v = np.float32(settings.beta_2), np.float32(1 - settings.beta_2)
        epsilon = np.float32(settings.epsilon)
        first, second = np.split(self.state, 2)
        for part in _blocks(parameters.size):
            g, m, v = gradient[part], first[part], second[part]
            scratch = self._scratch[: g.size]
            np.multiply(g, g, out=scratch)
            scratch *= take_v
            v *= keep_v
            v += scratch
            g *= take_m
            m *= keep_m
            m += g
            np.sqrt(v, out=scratch)
            scratch += epsilon
            np.divide(m, scratch, out=scratch)
            scratch *= rate
            parameters[part] -= scratch


class RowSgd(RowUpdate):
    """r -= lr * g."""

    def __init__(self, settings: RowOptimizer) -> None:
        self.state = np.zeros((0, 0), np.float32)
        self._rate = settings.learning_rate

    @override
    def apply(
        self, values: FloatArray, rows: IdArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        del step
        kernels().row_sgd(values, rows, gradient, np.float32(self._rate * factor))


class RowAdagrad(RowUpdate):
    """Adagrad with a sum of squares per element, or per row (their mean over the row).

    Args:
        rows: Rows of the table.
        dim: Width of a row.
        settings: Rate, initial accumulator and epsilon; ``kind`` decides between the two.
    """

    def __init__(self, rows: int, dim: int, settings: RowOptimizer) -> None:
        # Zeroed pages use no memory until they are written, so the initial value is added on
        # reading.
        self.state = np.zeros((rows, settings.state_width(dim)), np.float32)
        self._initial = np.float32(settings.initial_accumulator)
        self._rate = settings.learning_rate
        self._epsilon = np.float32(settings.epsilon)

    @override
    def apply(
        self, values: FloatArray, rows: IdArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        del step
        kernels().row_adagrad(
            *(values, self.state, rows, gradient),
            rate=np.float32(self._rate * factor),
            initial=self._initial,
            epsilon=self._epsilon,
        )


class RowLazyAdam(RowUpdate):
    """Adam whose moments of a row decay only in the steps that touch the row.

    The bias correction uses the number of all updates, as in the lazy Adam of TensorFlow Addons.
    """

    def __init__(self, rows: int, dim: int, settings: RowOptimizer) -> None:
        self.state = np.zeros((rows, 2 * dim), np.float32)
        self._dim = dim
        self._settings = settings

    @override
    def apply(
        self, values: FloatArray, rows: IdArray, gradient: FloatArray, *, step: int, factor: float
    ) -> None:
        settings = self._settings
        moments = self.state.take(rows, axis=0)
        m, v = moments[:, : self._dim], moments[:, self._dim :]
        m *= np.float32(settings.beta_1)
        m += gradient * np.float32(1 - settings.beta_1)
        v *= np.float32(settings.beta_2)
        v += gradient * gradient * np.float32(1 - settings.beta_2)
        self.state[rows] = moments
        root = np.sqrt(v)
        root += np.float32(settings.epsilon)
        change = m / root
        change *= _adam_rate(settings, step, factor)
        values[rows] = values.take(rows, axis=0) - change


def dense_update(
    settings: DenseOptimizer, size: int, shapes: Sequence[tuple[int, ...]] | None = None
) -> DenseUpdate:
    """Makes the dense optimizer that the contract names.

    Args:
        settings: The contract's section.
        size: Number of parameters.
        shapes: Shapes of the parameters, in order; one vector if absent.
    """
    match settings.kind:
        case "sgd":
            return DenseSgd(settings)
        case "momentum" | "nesterov":
            return DenseMomentum(size, settings)
        case "adagrad":
            return DenseAdagrad(size, settings)
        case "factored_adagrad":
            return DenseFactoredAdagrad([(size,)] if shapes is None else shapes, settings)
        case "adam":
            return DenseAdam(size, settings)


def row_update(settings: RowOptimizer, rows: int, dim: int) -> RowUpdate:
    """Makes the row optimizer that the contract names."""
    match settings.kind:
        case "sgd":
            return RowSgd(settings)
        case "adagrad" | "rowwise_adagrad":
            return RowAdagrad(rows, dim, settings)
        case "lazy_adam":
            return RowLazyAdam(rows, dim, settings)


def _adam_rate(settings: DenseOptimizer | RowOptimizer, step: int, factor: float) -> np.float32:
    update = step + 1
    correction = math.sqrt(1 - settings.beta_2**update) / (1 - settings.beta_1**update)
    return np.float32(settings.learning_rate * factor * correction)


def _blocks(size: int) -> Iterator[slice[int, int, None]]:
    for start in range(0, size, _BLOCK):
        yield slice(start, start + _BLOCK)
