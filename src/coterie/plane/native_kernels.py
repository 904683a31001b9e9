"""The kernels in C: checks what the C code relies on, and calls it. The calls release the GIL."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import numpy as np
from typing_extensions import override

from coterie.arrays import (
    Float64Array,
    FloatArray,
    IdArray,
    Int64Array,
    UInt32Array,
    UInt64Array,
)
from coterie.plane.kernels import Factors, Kernels
from coterie.plane.numpy_kernels import NumpyKernels

Way = Literal["portable", "avx2", "avx512"]
WAYS: tuple[Way, ...] = get_args(Way)
_TITLES = {"portable": "C", "avx2": "C with AVX2", "avx512": "C with AVX-512"}

_MOST_DIM = 128  # of rows.c

_Array = FloatArray | Float64Array | IdArray | Int64Array | UInt32Array | UInt64Array
_POINTER, _COUNT, _FLAG, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
_ROW_ADAGRAD = (
    _FLAG,
    (_POINTER, _POINTER, _COUNT, _POINTER, _POINTER, _COUNT, _COUNT, *(_FLOAT,) * 3),
)
_SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "sum_dense": (None, (_POINTER, _POINTER, _COUNT, _FLAG, _POINTER, _COUNT)),
    "sum_rows": (
        _FLAG,
        (*(_POINTER,) * 4, _COUNT, _FLAG, _COUNT, _POINTER, _COUNT),
    ),
    "unique": (_COUNT, (_POINTER, _COUNT, _POINTER, _POINTER, _POINTER)),
    "sum_by_row": (_FLAG, (_POINTER, _POINTER, _COUNT, _COUNT, _POINTER, _POINTER, _COUNT)),
    "dense_sgd": (None, (_POINTER, _POINTER, _FLOAT, _COUNT)),
    "dense_adagrad": (None, (_POINTER, _POINTER, _POINTER, _FLOAT, _FLOAT, _COUNT)),
    "row_sgd": (_FLAG, (_POINTER, _COUNT, _POINTER, _POINTER, _COUNT, _COUNT, _FLOAT)),
    "row_adagrad": _ROW_ADAGRAD,
    "rowwise_adagrad": _ROW_ADAGRAD,
}


class _Call(Protocol):
    def __call__(self, *arguments: object) -> int: ...


def ways_of(library: ctypes.CDLL) -> tuple[Way, ...]:
    """The ways through the library that this processor can take, from the plainest."""
    return WAYS[: int(library.coterie_widest()) + 1]


class NativeKernels(Kernels):
    """The kernels of the library.

    Args:
        library: The library.
        way: The way through it; this processor's widest if absent.
    """

    def __init__(self, library: ctypes.CDLL, way: Way | None = None) -> None:
        way = way or ways_of(library)[-1]
        self.name = _TITLES[way]
        calls: dict[str, _Call] = {}
        for name, (result, arguments) in _SIGNATURES.items():
            call = library[f"coterie_{name}_{way}"]
            call.restype, call.argtypes = result, arguments
            calls[name] = call
        self._calls = calls

    @override
    def sum_dense(self, pushes: Sequence[FloatArray], factors: Factors) -> FloatArray:
        parts = [_floats(push) for push in pushes]
        total = np.empty(parts[0].shape, np.float32)
        _require(all(part.shape == total.shape for part in parts))
        _require(len(parts) == len(factors.each))
        pointers, each = _addresses(parts), np.array(factors.each, np.float32)
        self._calls["sum_dense"](
            *(_at(pointers), _at(each), len(parts), factors.equal),
            *(_at(total), total.size),
        )
        return total

    @override
    def sum_rows(
        self,
        pushes: Sequence[FloatArray],
        places: Sequence[IdArray],
        rows: int,
        factors: Factors,
    ) -> FloatArray:
        parts = [_floats(push) for push in pushes]
        at = [_ids(place) for place in places]
        dim = parts[0].shape[1]
        total = np.empty((rows, dim), np.float32)
        _require(len(parts) == len(at) == len(factors.each))
        _require(all(p.shape == (a.size, dim) for p, a in zip(parts, at, strict=True)))
        counts = np.array([place.size for place in at], np.int64)
        pointers, place_pointers = _addresses(parts), _addresses(at)
        each = np.array(factors.each, np.float32)
        _checked(
            self._calls["sum_rows"](
                *(_at(pointers), _at(place_pointers), _at(counts), _at(each), len(parts)),
                *(factors.equal, dim, _at(total), rows),
            )
        )
        return total

    @override
    def unique(self, ids: IdArray) -> tuple[IdArray, IdArray]:
        ids = _ids(ids)
        scratch = np.empty(4 * ids.size, np.uint32)
        distinct, inverse = np.empty(ids.size, np.int32), np.empty(ids.size, np.int32)
        count = self._calls["unique"](_at(ids), ids.size, _at(scratch), _at(distinct), _at(inverse))
        return distinct[: _checked(count)], inverse

    @override
    def sum_by_row(self, gradient_ed: FloatArray, inverse_e: IdArray, rows: int) -> FloatArray:
        gradient_ed, inverse_e = _floats(gradient_ed), _ids(inverse_e)
        entries, dim = gradient_ed.shape
        _require(inverse_e.shape == (entries,))
        sums, total_ud = np.empty(rows * dim, np.float64), np.empty((rows, dim), np.float32)
        _checked(
            self._calls["sum_by_row"](
                *(_at(gradient_ed), _at(inverse_e), entries, dim),
                *(_at(sums), _at(total_ud), rows),
            )
        )
        return total_ud

    @override
    def dense_sgd(self, parameters: FloatArray, gradient: FloatArray, rate: np.float32) -> None:
        gradient = _floats(gradient)
        _require(_in_place(parameters) and gradient.shape == parameters.shape)
        self._calls["dense_sgd"](_at(parameters), _at(gradient), rate, parameters.size)

    @override
    def dense_adagrad(
        self,
        parameters: FloatArray,
        sums: FloatArray,
        gradient: FloatArray,
        rate: np.float32,
        epsilon: np.float32,
    ) -> None:
        gradient = _floats(gradient)
        _require(_in_place(parameters) and _in_place(sums))
        _require(gradient.shape == parameters.shape == sums.shape)
        self._calls["dense_adagrad"](
            _at(parameters), _at(sums), _at(gradient), rate, epsilon, parameters.size
        )

    @override
    def row_sgd(
        self, table: FloatArray, rows: IdArray, gradient: FloatArray, rate: np.float32
    ) -> None:
        rows, gradient = _ids(rows), _floats(gradient)
        _require(_in_place(table) and gradient.shape == (rows.size, table.shape[1]))
        _checked(
            self._calls["row_sgd"](
                *(_at(table), table.shape[0], _at(rows), _at(gradient)),
                *(rows.size, table.shape[1], rate),
            )
        )

    @override
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
        rows, dim = _ids(rows), table.shape[1]
        width = state.shape[1]
        if width != dim > _MOST_DIM:
            numpy = NumpyKernels()
            numpy.row_adagrad(
                *(table, state, rows, gradient), rate=rate, initial=initial, epsilon=epsilon
            )
            return
        gradient = _floats(gradient)
        _require(_in_place(table) and _in_place(state))
        _require(state.shape == (table.shape[0], width) and width in {1, dim})
        _require(gradient.shape == (rows.size, dim))
        _checked(
            self._calls["row_adagrad" if width == dim else "rowwise_adagrad"](
                *(_at(table), _at(state), table.shape[0], _at(rows), _at(gradient)),
                *(rows.size, dim, rate, initial, epsilon),
            )
        )


def _floats(array: FloatArray) -> FloatArray:
    """An array as C reads it; a copy if it is not."""
    return np.require(array, np.float32, ("C", "A"))


def _ids(array: IdArray) -> IdArray:
    """An array as C reads it; a copy if it is not."""
    return np.require(array, np.int32, ("C", "A"))


def _in_place(array: FloatArray) -> bool:
    """Whether C can change an array in place."""
    return array.dtype == np.float32 and array.flags.carray


def _at(array: _Array) -> int:
    return int(array.ctypes.data)


def _addresses(arrays: Sequence[FloatArray] | Sequence[IdArray]) -> UInt64Array:
    """C's array of pointers to arrays, which must outlive it."""
    return np.array([_at(array) for array in arrays], np.uint64)


def _require(fits: bool) -> None:  # noqa: FBT001 (an assertion that is always checked)
    if not fits:
        raise ValueError("the arrays do not fit together")


def _checked(result: int) -> int:
    if result < 0:
        raise IndexError("a row is out of bounds")
    return result
