"""Every way through the native kernels gives NumPy's bits, of whatever numbers and sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from coterie.arrays import FloatArray, IdArray, UInt32Array
from coterie.plane.kernels import Factors, Kernels
from coterie.plane.numpy_kernels import NumpyKernels
from tests.plane.ways import WAYS, native_kernels

NUMPY = NumpyKernels()
# Around the widths of vectors, the kernels' blocks and NumPy's.
SIZES = st.one_of(
    st.integers(0, 70), st.sampled_from([127, 128, 129, 4095, 4096, 4097, 8200, 32768, 32800])
)
DIMS = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 120, 127, 128, 129, 130, 257]))
# Zeros, denormals, the ends of what is normal, infinities, what is not a number, and one.
SPECIAL = np.array(
    [
        *(0, 1 << 31, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000),
        *(0x7FC00000, 0xFFC00001, 0x7F800001, 0x3F800000),
    ],
    np.uint32,
)
FACTORS = st.sampled_from([1 / 512, 1 / 3, 0.0, 1e30, 1e-30])


def numbers(rng: np.random.Generator, size: int, *, special: bool) -> FloatArray:
    """Numbers of all exponents, with zeros; with ``special`` also of every odd kind."""
    found: FloatArray = (rng.normal(size=size) * np.exp2(rng.integers(-30, 30, size=size))).astype(
        np.float32
    )
    found[rng.random(size) < 0.3] = 0
    if special:
        odd = rng.random(size) < 0.2
        found[odd] = rng.choice(SPECIAL, int(odd.sum())).view(np.float32)
    return found


def misaligned(array: FloatArray) -> FloatArray:
    """The same numbers at an odd address, as in a message."""
    octets = np.zeros(array.nbytes + 1, np.uint8)
    octets[1:] = array.view(np.uint8)
    return octets[1:].view(np.float32)


def assert_same_bits(expected: FloatArray, seen: FloatArray) -> None:
    """Equal bits; what is not a number has no sign and no payload."""
    assert expected.shape == seen.shape
    no_number = np.isnan(expected)
    np.testing.assert_array_equal(no_number, np.isnan(seen))
    np.testing.assert_array_equal(
        expected.view(np.uint32)[~no_number], seen.view(np.uint32)[~no_number]
    )


@st.composite
def parts(draw: DrawFn) -> tuple[np.random.Generator, int, Factors, bool]:
    """Random numbers, how many parts are added, and their factors."""
    count = draw(st.integers(1, 5))
    weights = draw(
        st.one_of(
            FACTORS.map(lambda one: [one] * count),
            st.lists(FACTORS, min_size=count, max_size=count),
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    return rng, count, Factors.of(weights), draw(st.booleans())


@pytest.fixture(params=WAYS, scope="module")
def native(request: pytest.FixtureRequest) -> Kernels:
    return native_kernels(request.param)


@given(parts(), SIZES, st.booleans())
def test_sums_of_dense_gradients(
    native: Kernels, drawn: tuple[np.random.Generator, int, Factors, bool], size: int, odd: bool
) -> None:
    rng, count, factors, special = drawn
    pushes = [numbers(rng, size, special=special) for _ in range(count)]
    given_ = [misaligned(push) for push in pushes] if odd else pushes
    assert_same_bits(NUMPY.sum_dense(pushes, factors), native.sum_dense(given_, factors))


@given(parts(), st.integers(0, 80), DIMS)
def test_sums_of_rows(
    native: Kernels, drawn: tuple[np.random.Generator, int, Factors, bool], rows: int, dim: int
) -> None:
    rng, count, factors, special = drawn
    places = [ids_of(rng, rows, 0.6) for _ in range(count)]
    pushes = [numbers(rng, place.size * dim, special=special).reshape(-1, dim) for place in places]
    assert_same_bits(
        NUMPY.sum_rows(pushes, places, rows, factors),
        native.sum_rows(pushes, places, rows, factors),
    )


def ids_of(rng: np.random.Generator, rows: int, share: float) -> IdArray:
    """Some of the rows, ascending."""
    return np.flatnonzero(rng.random(rows) < share).astype(np.int32)


@given(
    st.lists(st.integers(0, 2**31 - 1), max_size=80)
    | st.lists(st.integers(0, 5), max_size=80)
    | st.lists(st.integers(2**22 - 2, 2**22 + 2), max_size=80)
)
def test_distinct_ids(native: Kernels, ids: list[int]) -> None:
    given_ = np.array(ids, np.int32)
    for expected, seen in zip(NUMPY.unique(given_), native.unique(given_), strict=True):
        assert seen.dtype == np.int32
        np.testing.assert_array_equal(expected, seen)


@given(st.integers(0, 1 << 32), st.integers(0, 200), DIMS, st.booleans())
def test_sums_by_row(native: Kernels, seed: int, entries: int, dim: int, special: bool) -> None:
    rng = np.random.default_rng(seed)
    gradient_ed = numbers(rng, entries * dim, special=special).reshape(-1, dim)
    inverse_e = rng.integers(0, 20, size=entries).astype(np.int32)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = NUMPY.sum_by_row(gradient_ed, inverse_e, 20)
    assert_same_bits(expected, native.sum_by_row(gradient_ed, inverse_e, 20))


RATE, EPSILON = np.float32(0.037), np.float32(1e-7)


@given(st.integers(0, 1 << 32), SIZES, st.booleans())
def test_updates_of_dense_parameters(native: Kernels, seed: int, size: int, special: bool) -> None:
    rng = np.random.default_rng(seed)
    start, gradient = (numbers(rng, size, special=special) for _ in range(2))
    state = np.abs(numbers(rng, size, special=special))
    results: list[list[FloatArray]] = []
    for tried in (NUMPY, native):
        plain, adaptive, sums = start.copy(), start.copy(), state.copy()
        with np.errstate(all="ignore"):
            tried.dense_sgd(plain, gradient.copy(), RATE)
            tried.dense_adagrad(adaptive, sums, gradient.copy(), RATE, EPSILON)
        results.append([plain, adaptive, sums])
    for expected, seen in zip(*results, strict=True):
        assert_same_bits(expected, seen)


@given(
    st.integers(0, 1 << 32),
    st.integers(0, 60),
    DIMS,
    st.booleans(),
    st.sampled_from([0.0, 0.1]).map(np.float32),
)
def test_updates_of_rows(
    native: Kernels, seed: int, rows: int, dim: int, special: bool, initial: np.float32
) -> None:
    rng = np.random.default_rng(seed)
    ids = ids_of(rng, rows, 0.7)
    start = numbers(rng, rows * dim, special=special).reshape(-1, dim)
    gradient = numbers(rng, ids.size * dim, special=special).reshape(-1, dim)
    results: list[list[FloatArray]] = []
    for tried in (NUMPY, native):
        plain = start.copy()
        seen = [plain]
        with np.errstate(all="ignore"):
            tried.row_sgd(plain, ids, gradient, RATE)
            for width in {1, dim}:
                table, state = start.copy(), np.zeros((rows, width), np.float32)
                for _ in range(2):
                    tried.row_adagrad(
                        *(table, state, ids, gradient), rate=RATE, initial=initial, epsilon=EPSILON
                    )
                seen += [table, state]
        results.append(seen)
    for one, other in zip(*results, strict=True):
        assert_same_bits(one, other)


def bits_of(numbers_: FloatArray) -> UInt32Array:
    return numbers_.view(np.uint32)


@given(st.integers(0, 1 << 32), SIZES, st.sampled_from([0.0, 0.3, 0.97, 1.0]), st.booleans())
def test_packed_numbers_come_back_bit_by_bit(
    native: Kernels, seed: int, size: int, zeros: float, odd: bool
) -> None:
    rng = np.random.default_rng(seed)
    given_ = numbers(rng, size, special=True)
    given_[rng.random(size) < zeros] = 0
    expected, mask = NUMPY.pack_zeros(given_)
    seen = native.pack_zeros(misaligned(given_) if odd else given_)
    np.testing.assert_array_equal(expected, seen[0])
    np.testing.assert_array_equal(mask, seen[1])
    for tried in (NUMPY, native):
        kept = misaligned(expected.view(np.float32)).view(np.uint32) if odd else expected
        np.testing.assert_array_equal(
            bits_of(given_), bits_of(tried.unpack_zeros(kept, mask, size))
        )


def stepped(rng: np.random.Generator, old: FloatArray) -> FloatArray:
    """Numbers some of whose bits are near the old ones', others far, others just at the border."""
    border = [-32769, -32768, -32767, 32767, 32768, 1, -1, 0]
    steps = rng.integers(-40_000, 40_000, size=old.size)
    steps = np.where(rng.random(old.size) < 0.3, rng.choice(border, old.size), steps)
    steps[rng.random(old.size) < 0.3] = 0
    far = rng.random(old.size) < rng.choice([0.0, 0.1, 1.0])
    new = (bits_of(old) + steps.astype(np.uint32)).astype(np.uint32)
    new[far] = rng.integers(0, 1 << 32, size=int(far.sum()), dtype=np.uint32)
    return new.view(np.float32)


@given(st.integers(0, 1 << 32), SIZES)
def test_differences_give_the_new_numbers_bit_by_bit(native: Kernels, seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    old = numbers(rng, size, special=True)
    new, kept = stepped(rng, old), old.copy()
    expected, seen = NUMPY.pack_differences(old, new), native.pack_differences(old, new)
    np.testing.assert_array_equal(expected.wide, seen.wide)
    np.testing.assert_array_equal(expected.narrow, seen.narrow)
    np.testing.assert_array_equal(expected.mask, seen.mask)
    for tried in (NUMPY, native):
        np.testing.assert_array_equal(
            bits_of(new), bits_of(tried.unpack_differences(old, expected))
        )
    np.testing.assert_array_equal(bits_of(kept), bits_of(old))


ROWS = np.arange(3, dtype=np.int32)
TABLE = np.zeros((3, 4), np.float32)


@pytest.mark.parametrize("row", [-1, 3, 2**31 - 1, -(2**31)])
def test_no_row_but_the_table_s_is_touched(native: Kernels, row: int) -> None:
    rows, factors = np.array([0, row], np.int32), Factors.of([1.0])
    two = TABLE[:2]
    with pytest.raises(IndexError):
        native.sum_rows([two], [rows], 3, factors)
    with pytest.raises(IndexError):
        native.sum_by_row(two, rows, 3)
    with pytest.raises(IndexError):
        native.row_sgd(TABLE.copy(), rows, two, RATE)
    for width in (1, 4):
        state = np.zeros((3, width), np.float32)
        with pytest.raises(IndexError):
            native.row_adagrad(
                *(TABLE.copy(), state, rows, two), rate=RATE, initial=RATE, epsilon=RATE
            )


def test_no_id_is_negative(native: Kernels) -> None:
    with pytest.raises(IndexError):
        native.unique(np.array([3, -1], np.int32))


def test_arrays_that_do_not_fit_together_are_refused(native: Kernels) -> None:
    factors, flat = Factors.of([1.0, 1.0]), np.zeros(12, np.float32)
    with pytest.raises(ValueError, match="do not fit"):
        native.sum_dense([flat, flat[:-1]], factors)
    with pytest.raises(ValueError, match="do not fit"):
        native.sum_dense([flat], factors)
    with pytest.raises(ValueError, match="do not fit"):
        native.sum_rows([TABLE, TABLE[:2]], [ROWS, ROWS], 3, factors)
    with pytest.raises(ValueError, match="do not fit"):
        native.sum_rows([TABLE, TABLE[:, :2]], [ROWS, ROWS], 3, factors)
    with pytest.raises(ValueError, match="do not fit"):
        native.sum_by_row(TABLE, ROWS[:2], 3)
    with pytest.raises(ValueError, match="do not fit"):
        native.dense_sgd(flat, flat[:-1], RATE)
    with pytest.raises(ValueError, match="do not fit"):
        native.dense_adagrad(flat, flat[:-1].copy(), flat, RATE, EPSILON)
    with pytest.raises(ValueError, match="do not fit"):
        native.row_sgd(TABLE, ROWS, TABLE[:2], RATE)
    state = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match="do not fit"):
        native.row_adagrad(*(TABLE, state, ROWS, TABLE), rate=RATE, initial=RATE, epsilon=RATE)


def test_what_is_changed_in_place_is_never_a_copy(native: Kernels) -> None:
    """A copy would be changed instead, and nobody would notice."""
    every_other = np.zeros(24, np.float32)[::2]
    fixed = np.zeros(12, np.float32)
    fixed.setflags(write=False)
    for parameters in (every_other, fixed):
        with pytest.raises(ValueError, match="do not fit"):
            native.dense_sgd(parameters, np.zeros(12, np.float32), RATE)
    with pytest.raises(ValueError, match="do not fit"):
        native.row_sgd(np.zeros((3, 8), np.float32)[:, ::2], ROWS, TABLE, RATE)
