"""CBOR of strangers: what a few octets may stand for is bounded before anything is made of them."""

from __future__ import annotations

import tracemalloc

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.ratls import cbor

values: st.SearchStrategy[object] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.binary(max_size=300),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)


def items(value: object) -> int:
    match value:
        case list():
            return 1 + sum(items(one) for one in value)
        case dict():
            return 1 + sum(1 + items(one) for one in value.values())
    return 1


@given(values)
def test_as_many_items_as_there_are_pass_and_one_less_does_not(value: object) -> None:
    data, count = cbor.encode(value), items(value)
    assert cbor.decode(data, max_bytes=1 << 20, max_items=count) == value
    with pytest.raises(cbor.CborInvalid, match=f"more than {count - 1} items"):
        cbor.decode(data, max_bytes=1 << 20, max_items=count - 1)


@given(st.binary(max_size=200))
def test_any_bytes_give_an_allowed_value_or_a_refusal(data: bytes) -> None:
    try:
        value = cbor.decode(data, max_bytes=200, max_items=200)
    except cbor.CborInvalid:
        return
    assert cbor.encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"\xa1\x64kind\x9a\x00\x1f\xff\xf0" + b"\x80" * 0x1FFFF0,
        b"\xa1\x64kind\x9a\x00\x0f\xff\xf0" + b"\xa0" * 0x0FFFF0,
        b"\x9b\x00\xff\xff\xff\xff\xff\xff\xff",  # says that it is long, and is not
        b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x81" * 0x10000,
    ],
    ids=["two million arrays", "a million maps", "a long array", "a long map", "deep"],
)
def test_a_flood_of_items_costs_nothing(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(cbor.CborInvalid, match=r"items|deeper|short"):
            cbor.decode(data, max_bytes=1 << 21, max_items=16)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 16


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut short"),
        (b"\x19\x01", "cut short"),
        (b"\x42\x00", "cut short"),
        (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "cut short"),
        (b"\x82\x00", "cut short"),
        (b"\x00\x00", "1 bytes after it"),
        (b"\x9f\xff", "definite"),
        (b"\x1c", "definite"),
        (b"\xc0\x00", "tags"),
        (b"\xd9\xd9\xf7\x00", "tags"),
        (b"\xf9\x00\x00", "not allowed"),
        (b"\xf7", "not allowed"),
        (b"\xf8\x14", "not allowed"),
        (b"\x18\x00", "not canonical"),
        (b"\x81" * 9 + b"\x00", "deeper"),
        (b"\xa1\x00\x00", "text"),
        (b"\xa2\x61a\x00\x61a\x00", "."),
        (b"\x61\xff", "."),
    ],
)
def test_other_encodings_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(cbor.CborInvalid, match=why):
        cbor.decode(data, max_bytes=100, max_items=20)


def test_a_null_float_or_tag_inside_is_found_too() -> None:
    with pytest.raises(cbor.CborInvalid, match="not allowed"):
        cbor.decode(cbor2.dumps([1.5]), max_bytes=100, max_items=20)
