"""What the kernels compute: of the same arrays the same bits, whoever computes them.

``numpy_kernels.py`` and ``native_kernels.py`` implement it; ``choice.py`` chooses. Kernels are pure
functions: they keep nothing, and hold no policy. Where a result is not a number, its sign and its
payload are not defined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from coterie.arrays import ByteArray, FloatArray, IdArray, Int16Array, UInt32Array


@dataclass(frozen=True)
class Factors:
    """Factors of the parts of a sum.

    Attributes:
        each: One for each part, in their order.
        equal: Whether all are equal; then the parts are added first and the sum is scaled once.
    """

    each: tuple[np.float32, ...]
    equal: bool

    @staticmethod
    def of(weights: Sequence[float]) -> Factors:
        """The factors of these weights."""
        return Factors(
            tuple(np.float32(weight) for weight in weights),
            all(weight == weights[0] for weight in weights),
        )


@dataclass(frozen=True, eq=False)
class Differences:
    """Differences of numbers' bits, as 32-bit integers that wrap around.

    Attributes:
        wide: Those that do not fit 16 bits, or are -2^15, uint32 [w], in order.
        narrow: All that are not 0, int16 [n], in order; -2^15 where the next of ``wide`` is meant.
        mask: A bit for each number, uint8: whether its difference is not 0. From the lowest bit of
            the first byte; bits behind the last number are 0.
    """

    wide: UInt32Array
    narrow: Int16Array
    mask: ByteArray


class NotCanonical(ValueError):
    """Packed numbers that packing does not make."""


class Kernels(Protocol):
    """The kernels.

    Attributes:
        name: What computes, for people: ``NumPy``, or the instruction set.
        packs: Whether packing takes less time than the bytes that it saves, on a fast line.
    """

    name: str
    packs: bool

    def sum_dense(self, pushes: Sequence[FloatArray], factors: Factors) -> FloatArray:
        """Adds arrays of one shape in their order, each times its factor."""
        ...

    def sum_rows(
        self,
        pushes: Sequence[FloatArray],
        places: Sequence[IdArray],
        rows: int,
        factors: Factors,
    ) -> FloatArray:
        """Adds rows at their places, in the pushes' order, from zeros.

        Args:
            pushes: float32 [n, dim] each, at least one.
            places: int32 [n] each; within a push distinct.
            rows: Rows of the result.
            factors: One for each push.

        Returns:
            float32 [rows, dim].

        Raises:
            IndexError: A place is not below ``rows``.
        """
        ...

    def unique(self, ids: IdArray) -> tuple[IdArray, IdArray]:
        """Finds the distinct ids.

        Args:
            ids: int32 [n], from 0.

        Returns:
            The distinct ids, int32 [u], ascending, and the place of each id among them, int32 [n].
        """
        ...

    def sum_by_row(self, gradient_ed: FloatArray, inverse_e: IdArray, rows: int) -> FloatArray:
        """Adds up the entries of each row: in their order, in float64, from zeros.

        Args:
            gradient_ed: float32 [e, dim].
            inverse_e: The row of each entry, int32 [e].
            rows: Number of rows.

        Returns:
            float32 [rows, dim].

        Raises:
            IndexError: An entry's row is not below ``rows``.
        """
        ...

    def dense_sgd(self, parameters: FloatArray, gradient: FloatArray, rate: np.float32) -> None:
        """Updates in place: parameters -= rate * gradient; may overwrite the gradient."""
        ...

    def dense_adagrad(
        self,
        parameters: FloatArray,
        sums: FloatArray,
        gradient: FloatArray,
        rate: np.float32,
        epsilon: np.float32,
    ) -> None:
        """Adagrad, in place; may overwrite the gradient.

        sums += gradient^2, then parameters -= rate * gradient / (sqrt(sums) + epsilon).
        """
        ...

    def row_sgd(
        self, table: FloatArray, rows: IdArray, gradient: FloatArray, rate: np.float32
    ) -> None:
        """Updates in place: table[rows] -= rate * gradient.

        Args:
            table: float32 [r, dim].
            rows: int32 [u], distinct.
            gradient: float32 [u, dim].
            rate: The learning rate.

        Raises:
            IndexError: The table does not have one of the rows.
        """
        ...

    def row_adagrad(
        self,
        table: FloatArray,
        state: FloatArray,
        rows: IdArray,
        gradient: FloatArray,
        *,
        rate: np.float32,
        initial: np.float32,
        epsilon: np.float32,
    ) -> None:
        """Adagrad with a sum of squares per element, or per row (their mean over the row), in place.

        Args:
            table: float32 [r, dim].
            state: The sums without their initial value, float32 [r, dim] or [r, 1].
            rows: int32 [u], distinct.
            gradient: float32 [u, dim].
            rate: The learning rate.
            initial: Added to a sum before its root is taken, from 0.
            epsilon: Added to the root.

        Raises:
            IndexError: The table does not have one of the rows.
        """
        ...

    def pack_zeros(self, numbers: FloatArray) -> tuple[UInt32Array, ByteArray]:
        """Leaves out the numbers whose bits are all 0. Minus zero is not one of them.

        Returns:
            The bits of the others, uint32 [k], in order, and a mask of their places, as in
            ``Differences``.
        """
        ...

    def unpack_zeros(self, kept: UInt32Array, mask: ByteArray, size: int) -> FloatArray:
        """Undoes ``pack_zeros``.

        Raises:
            NotCanonical: It does not make this of ``size`` numbers.
        """
        ...

    def pack_differences(self, old: FloatArray, new: FloatArray) -> Differences:
        """Subtracts the bits of old numbers from those of as many new ones."""
        ...

    def unpack_differences(self, old: FloatArray, differences: Differences) -> FloatArray:
        """Undoes ``pack_differences``: gives the new numbers.

        Raises:
            NotCanonical: It does not make this of so many numbers.
        """
        ...
