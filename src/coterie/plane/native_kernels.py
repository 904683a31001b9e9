"""The kernels in C: checks what the C code relies on, and calls it. The calls release the GIL."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol, Self, get_args

import numpy as np
from typing_extensions import override

from coterie.arrays import (
    ByteArray,
    Float64Array,
    FloatArray,
    IdArray,
    Int16Array,
    Int64Array,
    UInt32Array,
    UInt64Array,
)
from coterie.plane.kernels import Differences, Factors, Kernels, NotCanonical
from coterie.plane.numpy_kernels import NumpyKernels

Way = Literal["portable", "avx2", "avx512"]
WAYS: tuple[Way, ...] = get_args(Way)
_TITLES = {"portable": "C", "avx2": "C with AVX2", "avx512": "C with AVX-512"}

_MOST_DIM = 128  # of rows.c

_Array = (
    FloatArray
    | Float64Array
    | IdArray
    | Int16Array
    | Int64Array
    | ByteArray
    | UInt32Array
    | UInt64Array
)
_AS_C: tuple[Literal["C"], Literal["A"]] = ("C", "A")
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
    "pack_zeros": (_COUNT, (_POINTER, _COUNT, _POINTER, _POINTER)),
    "unpack_zeros": (_FLAG, (_POINTER, _COUNT, _POINTER, _POINTER, _COUNT)),
    "pack_differences": (None, (_POINTER, _POINTER, _COUNT, _POINTER)),
    "unpack_differences": (_FLAG, (_POINTER, _POINTER, _POINTER, _COUNT)),
    "row_adagrad": _ROW_ADAGRAD,
    "rowwise_adagrad": _ROW_ADAGRAD,
}


class _Differences(ctypes.Structure):
    """``struct differences`` of differences.c."""

    _fields_: ClassVar = [
        ("wide", _POINTER),
        ("narrow", _POINTER),
        ("mask", _POINTER),
        ("wide_count", _COUNT),
        ("narrow_count", _COUNT),
    ]
    wide_count: int
    narrow_count: int

    @classmethod
    def of(cls, arrays: Differences) -> Self:
        """Points to arrays, which must outlive it."""
        return cls(
            *(_at(arrays.wide), _at(arrays.narrow), _at(arrays.mask)),
            *(arrays.wide.size, arrays.narrow.size),
        )


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
        self.packs = True
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

    @override
    def pack_zeros(self, numbers: FloatArray) -> tuple[UInt32Array, ByteArray]:
        numbers = _floats(numbers)
        kept, mask = np.empty(numbers.size, np.uint32), _mask(numbers.size)
        count = self._calls["pack_zeros"](_at(numbers), numbers.size, _at(kept), _at(mask))
        return kept[:count], mask

    @override
    def unpack_zeros(self, kept: UInt32Array, mask: ByteArray, size: int) -> FloatArray:
        kept, mask = np.require(kept, np.uint32, _AS_C), np.require(mask, np.uint8, _AS_C)
        if mask.size != -(-size // 8):
            raise NotCanonical
        numbers = np.empty(size, np.float32)
        if self._calls["unpack_zeros"](_at(kept), kept.size, _at(mask), _at(numbers), size):
            raise NotCanonical
        return numbers

    @override
    def pack_differences(self, old: FloatArray, new: FloatArray) -> Differences:
        old, new = _floats(old), _floats(new)
        size = new.size
        _require(old.size == size)
        room = Differences(np.empty(size, np.uint32), np.empty(size, np.int16), _mask(size))
        made = _Differences.of(room)
        self._calls["pack_differences"](_at(old), _at(new), size, ctypes.byref(made))
        return Differences(
            room.wide[: made.wide_count], room.narrow[: made.narrow_count], room.mask
        )

    @override
    def unpack_differences(self, old: FloatArray, differences: Differences) -> FloatArray:
        old = _floats(old)
        given = Differences(
            np.require(differences.wide, np.uint32, _AS_C),
            np.require(differences.narrow, np.int16, _AS_C),
            np.require(differences.mask, np.uint8, _AS_C),
        )
        if given.mask.size != -(-old.size // 8):
            raise NotCanonical
        new, pointers = np.empty(old.size, np.float32), ctypes.byref(_Differences.of(given))
        if self._calls["unpack_differences"](_at(old), pointers, _at(new), old.size):
            raise NotCanonical
        return new


def _mask(size: int) -> ByteArray:
    """Room for a bit of each number."""
    return np.empty(-(-size // 8), np.uint8)


def _floats(array: FloatArray) -> FloatArray:
    """An array as C reads it; a copy if it is not."""
    return np.require(array, np.float32, _AS_C)


def _ids(array: IdArray) -> IdArray:
    """An array as C reads it; a copy if it is not."""
    return np.require(array, np.int32, _AS_C)


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
