"""Which kernels this process computes with: the native ones where they are here and fit, else NumPy's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np

from coterie.arrays import FloatArray
from coterie.errors import EnvironmentUnfit
from coterie.plane.building import KERNEL_LIBRARY
from coterie.plane.kernels import Factors, Kernels
from coterie.plane.native_kernels import NativeKernels
from coterie.plane.numpy_kernels import NumpyKernels


@dataclass(frozen=True)
class Choice:
    """The kernels of a process.

    Attributes:
        kernels: What computes.
        missing: Why that is NumPy; None if it is not.
    """

    kernels: Kernels
    missing: EnvironmentUnfit | None


class _InUse:
    """Kernels that a test has chosen."""

    kernels: Kernels | None = None


@cache
def choice() -> Choice:
    """Chooses, once in a process."""
    try:
        native = NativeKernels(KERNEL_LIBRARY.load())
        check(native)
    except EnvironmentUnfit as error:
        return Choice(NumpyKernels(), error)
    return Choice(native, None)


def kernels() -> Kernels:
    """The kernels to compute with."""
    return _InUse.kernels or choice().kernels


@contextmanager
def computing_with(chosen: Kernels) -> Iterator[None]:
    """Lets this process compute with other kernels for a while; for tests."""
    before, _InUse.kernels = _InUse.kernels, chosen
    try:
        yield
    finally:
        _InUse.kernels = before


def check(native: Kernels) -> None:
    """Compares kernels with NumPy's on a few numbers, since a compiler may have a mind of its own.

    Raises:
        EnvironmentUnfit: They differ.
    """
    if _sample(native) != _sample(NumpyKernels()):
        raise EnvironmentUnfit(
            f"{KERNEL_LIBRARY.title} do not compute what NumPy computes",
            expected="the same bits",
            seen=f"others, by {native.name}",
            remedy="report this with the compiler's and NumPy's versions",
        )


def _sample(tried: Kernels) -> list[bytes]:
    """What kernels make of numbers of all sizes."""
    ids = (np.arange(90, dtype=np.int32) * 37) % 41
    distinct, inverse = tried.unique(ids)
    gradient_ed = _numbers(ids.size * 19).reshape(-1, 19)
    summed = tried.sum_by_row(gradient_ed, inverse, distinct.size)
    factors = Factors.of([1 / 3, 1 / 7])
    seen = [distinct, inverse, summed]
    seen.append(tried.sum_dense([gradient_ed, gradient_ed[::-1]], factors))
    parts = [gradient_ed[inverse == 0], summed]
    places = [np.zeros(1, np.int32), np.arange(distinct.size, dtype=np.int32)]
    seen.append(tried.sum_rows([parts[0][:1], summed], places, distinct.size, factors))
    rate, epsilon = np.float32(0.01), np.float32(1e-7)
    for width in (1, 19):
        table, state = summed.copy(), np.zeros((distinct.size, width), np.float32)
        tried.row_adagrad(
            table, state, inverse[:7], gradient_ed[:7], rate=rate, initial=rate, epsilon=epsilon
        )
        tried.row_sgd(table, inverse[:7], gradient_ed[:7], rate)
        seen += [table, state]
    dense, sums = summed.reshape(-1).copy(), np.zeros(summed.size, np.float32)
    tried.dense_adagrad(dense, sums, _numbers(dense.size), rate, epsilon)
    tried.dense_sgd(dense, _numbers(dense.size), rate)
    zeros = np.where(np.arange(dense.size) % 3, dense, np.float32(0))
    kept, mask = tried.pack_zeros(zeros)
    made = tried.pack_differences(sums, zeros)
    seen += [tried.unpack_zeros(kept, mask, zeros.size), tried.unpack_differences(sums, made)]
    packed = [kept.tobytes(), mask.tobytes(), made.wide.tobytes(), made.narrow.tobytes()]
    return [*packed, made.mask.tobytes(), *(array.tobytes() for array in (*seen, dense, sums))]


def _numbers(size: int) -> FloatArray:
    """Numbers of either sign, and of many exponents."""
    steps = np.arange(1, size + 1, dtype=np.float64)
    numbers: FloatArray = (np.sin(steps) * np.exp2(steps % 40 - 20)).astype(np.float32)
    return numbers
