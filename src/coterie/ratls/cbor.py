"""Deterministic CBOR (RFC 8949, 4.2.1); refuses every encoding except the canonical one.

Signed, hashed or compared values must have exactly one encoding, so decoding re-encodes and
compares. Only integers, byte strings, text, booleans, null, arrays and maps with text keys are
allowed. One byte can encode an object that needs much memory. So items are counted, and other types
refused, before any object is made. Reading the heads costs no more than the allowed number of
items.
"""

from __future__ import annotations

import cbor2

CborScalar = int | bytes | str | bool | None
CborValue = CborScalar | list["CborValue"] | dict[str, "CborValue"]

MAX_DEPTH = 8
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)  # RFC 8949, 3.1
_ALLOWED_SIMPLE = frozenset({20, 21, 22})  # false, true, null


class CborInvalid(ValueError):
    """The bytes are not the canonical encoding of an allowed value."""


def encode(value: object) -> bytes:
    """Encodes a value of the allowed types canonically."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, *, max_bytes: int, max_items: int, canonical: bool = True) -> CborValue:
    """Decodes one value that fills ``data`` exactly.

    Args:
        data: The encoding.
        max_bytes: Longest accepted encoding.
        max_items: Largest number of items: scalars, keys, arrays and maps, including the outermost.
        canonical: Whether maps must be in canonical order (other producers' claims need not be);
            trailing bytes, duplicate keys and indefinite lengths are refused either way.

    Raises:
        CborInvalid: The bytes are not the encoding of an allowed value.
    """
    if len(data) > max_bytes:
        raise CborInvalid(f"{len(data)} bytes, more than {max_bytes}")
    _check_heads(data, max_items)
    try:
        value: object = cbor2.loads(
            data,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except (cbor2.CBORError, ValueError, OverflowError, RecursionError) as error:
        raise CborInvalid(str(error) or type(error).__name__) from error
    checked = _allowed(value)
    again = encode(checked) if canonical else cbor2.dumps(checked)
    if again != data:
        raise CborInvalid("not canonical: encoded again, it gives other bytes")
    return checked


def decode_map(
    data: bytes, *, max_bytes: int, max_items: int, canonical: bool = True
) -> dict[str, CborValue]:
    """Like `decode`, for a value that must be a map.

    Raises:
        CborInvalid: It is not a map, or as for `decode`.
    """
    value = decode(data, max_bytes=max_bytes, max_items=max_items, canonical=canonical)
    if not isinstance(value, dict):
        raise CborInvalid(f"a map was expected, not {type(value).__name__}")
    return value


def _check_heads(data: bytes, max_items: int) -> None:
    """Walks over the items' heads (RFC 8949, 3) without making objects."""
    at, items = 0, 0
    to_come: list[int] = []  # remaining items of each open array and map, outermost first
    while True:
        items += 1
        if items > max_items:
            raise CborInvalid(f"more than {max_items} items")
        major, argument, at = _head(data, at)
        if major in {_BYTES, _TEXT}:
            at += argument
        if at > len(data):
            raise CborInvalid("it is cut short")
        if major in {_ARRAY, _MAP} and argument:
            to_come.append(argument * (2 if major == _MAP else 1))
            if len(to_come) > MAX_DEPTH:
                raise CborInvalid(f"nested deeper than {MAX_DEPTH}")
            continue
        while to_come:
            to_come[-1] -= 1
            if to_come[-1]:
                break
            to_come.pop()
        if not to_come:
            break
    if at != len(data):
        raise CborInvalid(f"{len(data) - at} bytes after it")


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type and argument of the item at a position, and the position of its content."""
    if at >= len(data):
        raise CborInvalid("it is cut short")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == _TAG:
        raise CborInvalid("tags are not allowed")
    if low > 27:
        raise CborInvalid("lengths must be definite")
    if major == _SIMPLE and low not in _ALLOWED_SIMPLE:
        raise CborInvalid("values of this type are not allowed")
    if low < 24:
        return major, low, at
    end = at + (1 << (low - 24))
    return major, int.from_bytes(data[at:end], "big"), end


def _allowed(value: object) -> CborValue:
    if value is None or isinstance(value, bool | bytes | str):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise CborInvalid("an integer is too large")
        return value
    if isinstance(value, list):
        return [_allowed(item) for item in value]
    if isinstance(value, dict):
        checked: dict[str, CborValue] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise CborInvalid("map keys must be text")
            checked[key] = _allowed(item)
        return checked
    raise CborInvalid(f"values of type {type(value).__name__} are not allowed")
