"""Canonical JSON: RFC 8785 but for the numbers that it would write otherwise, and those it refuses."""

from __future__ import annotations

import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from coterie.canonical import canonical, each_name_once

SAFE = 2**53 - 1  # RFC 8785 refuses what is larger
KEYS = st.text(st.characters(max_codepoint=0xD7FF), max_size=8)
"""Keys of contracts and receipts are names in ASCII. RFC 8785 sorts by UTF-16, which differs beyond U+FFFF only."""
SCALARS = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.text(max_size=20)


def documents(scalars: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.recursive(
        scalars, lambda item: st.lists(item, max_size=4) | st.dictionaries(KEYS, item, max_size=4)
    )


@given(documents(SCALARS))
def test_without_floats_and_larger_integers_it_is_rfc_8785(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(documents(SCALARS))
def test_in_ascii_it_says_the_same(value: object) -> None:
    octets = canonical(value, ascii_only=True)
    assert octets.isascii()
    assert json.loads(octets) == json.loads(canonical(value))


@given(documents(SCALARS | st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_it_is_read_back_exactly_and_has_one_spelling(value: object) -> None:
    octets = canonical(value)
    assert canonical(json.loads(octets)) == octets
    assert json.loads(octets) == value


@pytest.mark.parametrize(
    ("number", "here", "by_the_rfc"),
    [
        (1.0, b"1.0", b"1"),
        (0.0, b"0.0", b"0"),
        (-0.0, b"-0.0", b"0"),
        (0.1, b"0.1", b"0.1"),
        (1e-08, b"1e-08", b"1e-8"),
        (1e-06, b"1e-06", b"0.000001"),
        (1e16, b"1e+16", b"10000000000000000"),
    ],
)
def test_where_floats_are_written_otherwise(number: float, here: bytes, by_the_rfc: bytes) -> None:
    assert canonical(number) == here
    assert rfc8785.dumps(number) == by_the_rfc


def test_an_integer_that_rfc_8785_refuses() -> None:
    seed = 2**63 - 1  # of a contract
    assert canonical(seed) == b"9223372036854775807"
    with pytest.raises(rfc8785.IntegerDomainError):
        rfc8785.dumps(seed)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON compliant|surrogates"):
        canonical(value)


def test_a_name_that_occurs_twice_is_refused_at_any_depth() -> None:
    assert json.loads('{"a": {"b": 1}}', object_pairs_hook=each_name_once) == {"a": {"b": 1}}
    for text in ('{"a": 1, "a": 1}', '[{"a": {"b": 1, "b": 2}}]', '{"a": 1, "\\u0061": 2}'):
        with pytest.raises(ValueError, match="a name occurs twice"):
            json.loads(text, object_pairs_hook=each_name_once)
