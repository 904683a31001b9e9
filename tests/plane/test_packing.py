"""Packed numbers: shorter or not used, one form of one content, and nothing else is unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coterie.arrays import FloatArray
from coterie.errors import MessageRefused
from coterie.plane.choice import computing_with
from coterie.plane.kernels import Kernels
from coterie.plane.native_kernels import WAYS, Way
from coterie.plane.numpy_kernels import NumpyKernels
from coterie.plane.packing import (
    pack_differences,
    pack_zeros,
    unpack_differences,
    unpack_zeros,
)
from tests.plane.ways import PackingNumpy, native_kernels


@pytest.fixture(params=[*WAYS, "NumPy"], scope="module", autouse=True)
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    way: Way | str = request.param
    chosen = PackingNumpy() if way == "NumPy" else native_kernels(request.param)
    with computing_with(chosen):
        yield chosen


def floats(*values: float) -> FloatArray:
    return np.array(values, np.float32)


NUMBERS = st.lists(
    st.one_of(st.just(0), st.integers(0, (1 << 32) - 1), st.integers(0x3F800000, 0x3F800100)),
    max_size=70,
).map(lambda bits: np.array(bits, np.uint32).view(np.float32))


def bits(numbers: FloatArray) -> list[int]:
    return [int(one) for one in numbers.view(np.uint32)]


@given(NUMBERS)
@example(floats(-0.0, 0.0, -0.0, 0.0, 0.0, 0.0))
@example(np.zeros(0, np.float32))
def test_without_zeros_the_bits_come_back(numbers: FloatArray) -> None:
    packed = pack_zeros(numbers)
    if packed is None:
        nonzero = int(np.count_nonzero(numbers.view(np.uint32)))
        assert 4 * nonzero + -(-numbers.size // 8) >= numbers.nbytes
        return
    assert len(packed) < numbers.nbytes
    assert bits(unpack_zeros(packed, numbers.size, "numbers")) == bits(numbers)


@given(NUMBERS, st.data())
def test_by_differences_the_bits_come_back(old: FloatArray, data: st.DataObject) -> None:
    steps = st.one_of(st.just(0), st.integers(0, (1 << 32) - 1), st.integers(0, 70_000))
    moved = data.draw(st.lists(steps, min_size=old.size, max_size=old.size))
    new = (old.view(np.uint32) + np.array(moved, np.uint32)).astype(np.uint32).view(np.float32)
    packed = pack_differences(old, new)
    if packed is not None:
        assert len(packed) < new.nbytes
        assert bits(unpack_differences(packed, old, "numbers")) == bits(new)


def test_what_is_written_down() -> None:
    """The two forms byte by byte."""
    assert pack_zeros(floats(0, 1, 0, -0.0, 0)) == bytes.fromhex("0000803f 00000080 0a")
    old = np.array([7, 7, 7, 7, 7, 7, 7, 7, 7], np.uint32).view(np.float32)
    below = (1 << 32) + 7 - 32768
    new = np.array([7, 8, 6, 7, 7 + 32767, 7 + 32768, 7, 7, below], np.uint32).view(np.float32)
    expected = bytes.fromhex("00800000 0080ffff 0100 ffff ff7f 0080 0080 3601")
    assert pack_differences(old, new) == expected


def test_numpy_sends_plain_numbers_unless_told() -> None:
    """It would take longer to pack them than to send them; what others pack it unpacks."""
    with computing_with(NumpyKernels()):
        assert pack_zeros(np.zeros(100, np.float32)) is None
        assert pack_differences(np.zeros(100, np.float32), np.zeros(100, np.float32)) is None


ONE = "0000803f"


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("", "no mask"),
        (ONE + "01", "a mask for eight numbers at most"),
        (ONE + "0010", "a bit behind the last number"),
        (ONE + "0300", "fewer numbers than bits"),
        (ONE + ONE + "0100", "more numbers than bits"),
        ("00000000" + "0100", "a zero that was kept"),
        ("0000803f00" + "0100", "a piece of a number"),
        (ONE * 12 + "ff0f", "twelve numbers: plain is shorter"),
    ],
)
def test_nothing_else_is_numbers_without_zeros(octets: str, why: str) -> None:
    with pytest.raises(MessageRefused, match="field is out of bounds"):
        unpack_zeros(bytes.fromhex(octets), 12, "field")


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("", "no mask"),
        ("01", "a mask for eight numbers at most"),
        ("0100" + "0010", "a bit behind the last number"),
        ("0100" + "0300", "fewer differences than bits"),
        ("0100" + "0100" + "0100", "more differences than bits"),
        ("0000" + "0100", "a difference of nothing"),
        ("01" + "0100", "half a difference"),
        ("0080" + "0100", "an escape without its difference"),
        ("00800000" + "0100" + "0100", "a difference without its escape"),
        ("ff7f0000" + "0080" + "0100", "a wide difference that is narrow"),
        ("0180ffff" + "0080" + "0100", "a negative wide difference that is narrow"),
        ("00000000" + "0080" + "0100", "a wide difference of nothing"),
        ("000080" + "0080" + "0100", "a piece of a wide difference"),
        ("00800000" * 12 + "0080" * 12 + "ff0f", "twelve wide differences: plain is shorter"),
    ],
)
def test_nothing_else_is_differences(octets: str, why: str) -> None:
    with pytest.raises(MessageRefused, match="field is out of bounds"):
        unpack_differences(bytes.fromhex(octets), np.zeros(12, np.float32), "field")


@given(st.binary(max_size=60), st.integers(0, 20))
def test_whatever_is_unpacked_is_what_packing_makes(octets: bytes, size: int) -> None:
    with suppress(MessageRefused):
        numbers = unpack_zeros(octets, size, "field")
        assert pack_zeros(numbers) == octets
    old = np.arange(size, dtype=np.float32)
    with suppress(MessageRefused):
        assert pack_differences(old, unpack_differences(octets, old, "field")) == octets
