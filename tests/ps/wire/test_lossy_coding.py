"""Gradients with fewer bits: what is lost is bounded, what is sent is checked, and both sides agree."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coterie.arrays import FloatArray, Int8Array
from coterie.contract import Contract
from coterie.errors import MessageRefused
from coterie.ps.wire.lossy_coding import (
    BLOCK,
    Bfloat16Coding,
    Int8Coding,
    TopCoding,
    from_bfloat16,
    from_gaps,
    largest,
    to_bfloat16,
    to_gaps,
    with_zeros,
    without_zeros,
)
from coterie.ps.wire.push_coding import Float32Coding, PushCoding, push_coding

FINITE = st.floats(-(2.0**100), 2.0**100, width=32)


def vectors(size: int | st.SearchStrategy[int]) -> st.SearchStrategy[FloatArray]:
    """Finite gradients: of any size, and all kinds of zeros and subnormal numbers among them."""
    return hnp.arrays(np.float32, size, elements=FINITE)


# --- bfloat16 ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1.0, 1.0),
        (1.00390625, 1.0),  # half of the last digit: to even
        (1.01171875, 1.015625),  # likewise, upwards
        (1.0039063692092896, 1.0078125),  # just above half
        (-1.00390625, -1.0),
        (0.0, 0.0),
        (2.0**-133, 2.0**-133),  # the smallest number above zero
        (2.0**-134, 0.0),
        (3.4e38, math.inf),
    ],
)
def test_values_round_to_the_nearest_half_to_even(value: float, rounded: float) -> None:
    assert from_bfloat16(to_bfloat16(np.array([value], np.float32))).tolist() == [rounded]


@given(vectors(st.integers(0, 40)))
def test_rounding_twice_is_rounding_once_and_keeps_signs(values: FloatArray) -> None:
    once = from_bfloat16(to_bfloat16(values))
    assert from_bfloat16(to_bfloat16(once)).tobytes() == once.tobytes()
    assert np.array_equal(np.signbit(once), np.signbit(values))
    assert np.all(np.abs(once - values) <= np.abs(values) * np.float32(2**-8) + np.float32(2**-133))


# --- int8 --------------------------------------------------------------------------------------


@given(vectors(st.integers(1, 3 * BLOCK)))
def test_a_value_of_a_block_is_off_by_half_a_scale_at_most(values: FloatArray) -> None:
    coding = Int8Coding(values.size, 0, 4, 0)
    octets = coding.encode_dense(values)
    assert len(octets) <= values.size + 4 * -(-values.size // BLOCK)
    decoded = coding.decode_dense(octets)
    for start in range(0, values.size, BLOCK):
        block = slice(start, start + BLOCK)
        scale = np.abs(values[block]).max() / np.float32(127)
        off = np.abs(decoded[block].astype(np.float64) - values[block])
        # Where the scale itself is subnormal it has few digits.
        assert off.max() <= scale * 0.50001 + 127 * 2.0**-149


def test_int8_rounds_half_to_even_and_needs_no_scale_for_zeros() -> None:
    values = np.zeros(BLOCK + 6, np.float32)
    values[:6] = [127, 0.5, 1.5, 2.5, -0.5, -1.5]
    coding = Int8Coding(values.size, 0, 4, 0)
    octets = coding.encode_dense(values)
    assert coding.decode_dense(octets)[:6].tolist() == [127, 0, 2, 2, 0, -2]
    assert struct.unpack("<2f", octets[:8]) == (1.0, 0.0)
    assert octets[8:] == bytes([127, 2, 2, 254, 0b101101]) + bytes(BLOCK // 8)


@given(vectors(st.just(12)))
def test_a_row_is_coded_for_itself(values: FloatArray) -> None:
    """So shards, which hold some of the rows each, decode what one shard would."""
    rows = values.reshape(3, 4)
    coding = Int8Coding(0, 0, 4, 0)
    whole = coding.decode_rows(coding.encode_rows(rows), 3)
    parts = [coding.decode_rows(coding.encode_rows(rows[i : i + 1]), 1) for i in range(3)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@given(hnp.arrays(np.int8, st.integers(0, 80), elements=st.integers(-2, 2)))
def test_zeros_are_left_out_where_that_is_shorter(values: Int8Array) -> None:
    wide = values.astype("<u2")
    zeros, mask_bytes = int(np.count_nonzero(values == 0)), -(-values.size // 8)
    for whole in (values, wide):
        octets, back = without_zeros(whole), np.zeros_like(whole)
        with_zeros(octets, back)
        assert back.tobytes() == whole.tobytes()
        assert len(octets) == whole.nbytes - max(0, zeros * whole.itemsize - mask_bytes)


# --- the largest values ------------------------------------------------------------------------


@given(vectors(st.integers(1, 60)), st.integers(1, 60))
def test_the_largest_are_chosen_by_magnitude_then_by_place(values: FloatArray, most: int) -> None:
    most = min(most, values.size)
    slowly = sorted(range(values.size), key=lambda i: (-abs(values[i]), i))[:most]
    assert largest(values, most).tolist() == sorted(slowly)


@given(st.sets(st.integers(0, 2000)))
def test_places_come_back_from_their_gaps(chosen: set[int]) -> None:
    places = np.array(sorted(chosen), np.intp)
    octets = to_gaps(places).tobytes()
    assert from_gaps(octets, places.size, 2001).tolist() == places.tolist()
    assert len(octets) <= places.size + 2001 // 255


def test_a_gap_of_255_is_two_bytes() -> None:
    assert to_gaps(np.array([0, 255, 511], np.intp)).tolist() == [0, 254, 255, 0]


@given(vectors(st.integers(1, 400)), st.sampled_from([1e-6, 0.01, 0.1, 0.25]))
def test_what_is_sent_is_the_largest_and_the_rest_is_zero(values: FloatArray, share: float) -> None:
    coding = TopCoding(values.size, 0, 4, 0, share=share)
    decoded = coding.decode_dense(coding.encode_dense(values))
    most = max(1, int(values.size * share))
    sent = np.flatnonzero(decoded)
    assert set(sent) <= set(largest(values, most))
    assert decoded[sent].tobytes() == from_bfloat16(to_bfloat16(values[sent])).tobytes()
    assert np.count_nonzero(to_bfloat16(values[largest(values, most)]) & 0x7FFF) == sent.size


def test_units_that_are_dead_cost_nothing() -> None:
    coding = TopCoding(1000, 0, 4, 0, share=0.25)
    assert len(coding.encode_dense(np.zeros(1000, np.float32))) == 4
    one = np.zeros(1000, np.float32)
    one[300] = -2.0
    assert len(coding.encode_dense(one)) == 4 + 2 + 2


# --- all of them -------------------------------------------------------------------------------

CODINGS: dict[str, Callable[[int, int, int, int], PushCoding]] = {
    "float32": lambda dense, sums, dim, width: Float32Coding(dense + sums, dim + width),
    "bfloat16": lambda dense, sums, dim, width: Bfloat16Coding(dense + sums, dim + width),
    "int8": Int8Coding,
    "top-k": lambda *sizes: TopCoding(*sizes, share=0.1),
}


@pytest.mark.parametrize("kind", CODINGS)
@given(data=st.data())
def test_a_second_coding_loses_nothing_more(kind: str, data: st.DataObject) -> None:
    """But for the last digit of a scale of int8."""
    dense, sums = data.draw(st.integers(1, 300)), data.draw(st.integers(0, 5))
    dim, width, count = (data.draw(st.integers(least, 4)) for least in (1, 0, 0))
    coding = CODINGS[kind](dense, sums, dim, width)
    first = coding.decode_dense(coding.encode_dense(data.draw(vectors(dense + sums))))
    assert first.dtype == np.float32
    assert first.shape == (dense + sums,)
    assert np.allclose(
        coding.decode_dense(coding.encode_dense(first)), first, rtol=1e-6, atol=1e-38
    )
    rows = data.draw(vectors(count * (dim + width))).reshape(count, dim + width)
    once = coding.decode_rows(coding.encode_rows(rows), count)
    assert once.shape == rows.shape
    again = coding.decode_rows(coding.encode_rows(once), count)
    assert np.allclose(again, once, rtol=1e-6, atol=1e-38)


@pytest.mark.parametrize("kind", CODINGS)
def test_growth_of_state_stays_what_it_is_but_for_its_last_digits(kind: str) -> None:
    """However large the gradients beside it are: no sum of squares may shrink or stand still."""
    coding = CODINGS[kind](8, 3, 2, 2)
    values = np.array([1e6] * 8 + [1e-6, 0.5, 3.0], np.float32)
    assert coding.decode_dense(coding.encode_dense(values))[8:] == pytest.approx(
        values[8:], rel=4e-3
    )
    rows = np.array([[1e6, -1e6, 1e-6, 7.0]], np.float32)
    assert coding.decode_rows(coding.encode_rows(rows), 1)[0, 2:] == pytest.approx(
        rows[0, 2:], rel=4e-3
    )


@pytest.mark.parametrize("kind", CODINGS)
def test_a_shard_without_dense_parameters_and_a_push_without_rows_have_empty_arrays(
    kind: str,
) -> None:
    coding = CODINGS[kind](0, 0, 4, 1)
    assert coding.decode_dense(b"").size == 0
    assert coding.decode_rows(b"", 0).shape == (0, 5)


NAN, INF = 0x7FC0, 0x7F80
_TOP = TopCoding(1000, 0, 4, 0, share=0.003)


def _top(count: int, values: tuple[int, ...], gaps: tuple[int, ...]) -> bytes:
    return struct.pack("<I", count) + struct.pack(f"<{len(values)}H", *values) + bytes(gaps)


def _int8(scales: tuple[float, ...], values: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(scales)}f", *scales) + struct.pack(f"<{len(values)}b", *values)


@pytest.mark.parametrize(
    ("coding", "octets", "seen"),
    [
        (Bfloat16Coding(2, 1), b"", "0 bytes"),
        (Bfloat16Coding(2, 1), bytes(2), "2 bytes"),
        (Bfloat16Coding(2, 1), bytes(3), "a place below 2 for each value"),  # no place
        (Bfloat16Coding(2, 1), b"\0\0\1", "a place below 2 for each value"),  # a zero that is kept
        (Bfloat16Coding(2, 1), b"\3", "a place below 2 for each value"),  # two places, no value
        (Bfloat16Coding(2, 1), b"\1\0\4", "a place below 2 for each value"),
        (Bfloat16Coding(2, 1), struct.pack("<HB", NAN, 1), "1 of 2 are NaN"),
        (Bfloat16Coding(2, 1), bytes(6), "6 bytes"),
        (Bfloat16Coding(2, 1), struct.pack("<2H", 0, NAN), "1 of 2 are NaN"),
        (Bfloat16Coding(2, 1), struct.pack("<2H", INF, INF | 0x8000), "2 of 2 are NaN"),
        (Int8Coding(2, 0, 1, 0), _int8((1.0,), (1,)), "a place below 2 for each value"),
        (Int8Coding(2, 0, 1, 0), _int8((1.0,), (4,)), "a place below 2 for each value"),
        (Int8Coding(2, 0, 1, 0), _int8((1.0,), (1, 2, 3)), "3 bytes"),
        (Int8Coding(2, 0, 1, 0), bytes(3), "3 bytes"),
        (Int8Coding(2, 1, 1, 0), bytes(5), "5 bytes"),
        (Int8Coding(2, 0, 1, 0), b"", "0 bytes"),
        (Int8Coding(2, 0, 1, 0), _int8((math.nan,), (1, 2)), "NaN or infinite"),
        (Int8Coding(2, 0, 1, 0), _int8((math.inf,), (1, 2)), "NaN or infinite"),
        (Int8Coding(2, 0, 1, 0), _int8((-1.0,), (1, 2)), "a negative one"),
        (Int8Coding(2, 0, 1, 0), _int8((-0.0,), (0, 0)), "a negative one"),
        (Int8Coding(2, 0, 1, 0), _int8((1.0,), (1, -128)), "zeros where the scale is zero"),
        (Int8Coding(2, 0, 1, 0), _int8((0.0,), (1, 0)), "zeros where the scale is zero"),
        (Int8Coding(2, 0, 1, 0), _int8((1e38,), (127, 0)), "1 of 256 are NaN"),
        (Int8Coding(2, 1, 1, 0), _int8((1.0,), (1, 2)) + struct.pack("<H", NAN), "1 of 1 are NaN"),
        (_TOP, b"", "0 bytes"),
        (_TOP, bytes(3), "3 bytes"),
        (_TOP, _top(4, (1, 1, 1, 1), (0, 0, 0, 0)), "16 bytes"),  # three are allowed
        (_TOP, _top(2**32 - 1, (), ()), "4 bytes"),
        (_TOP, _top(2, (1, 1), (0,)), "9 bytes"),
        (_TOP, _top(1, (1,), (255,) * 6), "12 bytes"),  # more gaps than values left out
        (_TOP, _top(2, (1, 1), (0, 0, 0)), "others"),  # three places
        (_TOP, _top(2, (1, 1), (0, 255)), "others"),  # the second has no end
        (_TOP, _top(1, (1,), (0, 255)), "others"),
        (_TOP, _top(1, (1,), (255, 255, 255, 235)), "others"),  # place 1000
        (_TOP, _top(2, (1, 0), (0, 0)), "a zero among them"),
        (_TOP, _top(2, (1, 0x8000), (0, 0)), "a zero among them"),
        (_TOP, _top(2, (1, NAN), (0, 0)), "1 of 2 are NaN"),
    ],
)
def test_what_a_worker_sends_is_refused_with_the_field_and_both_values(
    coding: PushCoding, octets: bytes, seen: str
) -> None:
    with pytest.raises(MessageRefused, match="dense_gradient") as refused:
        coding.decode_dense(octets)
    assert seen in f"{refused.value.expected}; {refused.value.seen}"


def test_the_last_place_is_below_the_number_of_values() -> None:
    decoded = _TOP.decode_dense(_top(1, (0x3F80,), (255, 255, 255, 234)))
    assert np.flatnonzero(decoded).tolist() == [999]


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        (_int8((1.0, 1.0), (1, 2, 3)), "out of bounds"),
        (_int8((1.0, -1.0), (1, 2, 3, 4)), "out of bounds"),
        (_int8((1.0, math.nan), (1, 2, 3, 4)), "not finite"),
        (_int8((1.0, 1.0), (1, 2, 3, -128)), "out of bounds"),
    ],
)
def test_rows_are_checked_likewise(octets: bytes, what: str) -> None:
    with pytest.raises(MessageRefused, match=f"row_gradients.*{what}"):
        Int8Coding(0, 0, 2, 0).decode_rows(octets, 2)


# --- which one a contract has ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "kind", "flush"),
    [
        ({}, Float32Coding, Float32Coding),
        ({"exchange": "bfloat16"}, Bfloat16Coding, Bfloat16Coding),
        ({"exchange": "int8"}, Int8Coding, Int8Coding),
        ({"exchange": "top-k", "exchange_share": 0.1}, TopCoding, Int8Coding),
    ],
    ids=str,
)
def test_the_coding_follows_from_the_contract_and_the_step(
    make_contract: Callable[..., Contract],
    training: dict[str, object],
    kind: type[PushCoding],
    flush: type[PushCoding],
) -> None:
    contract = make_contract(**training)
    assert type(push_coding(contract)) is kind
    assert type(push_coding(contract, flush=True)) is flush
    assert push_coding(contract, dense=False).decode_dense(b"").size == 0
