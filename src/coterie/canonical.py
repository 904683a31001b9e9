"""Canonical JSON, over which digests of contracts, data sections, receipts and collateral are made.

Keys are sorted, there are no spaces, and strings are escaped no more than JSON demands. That is RFC 8785
(JSON Canonicalization Scheme), with two differences in numbers. A float is written as Python writes it:
``1.0`` and ``1e-08``, where RFC 8785 has ``1`` and ``1e-8``. An integer may exceed 2**53 - 1, which RFC 8785
refuses. Decision 43 says why.

Statements of others are not canonical. Of them, too, there must be one reading (``each_name_once``).
"""

from __future__ import annotations

import json


def canonical(value: object, *, ascii_only: bool = False) -> bytes:
    """Encodes a value as canonical JSON.

    Args:
        value: Dictionaries with string keys, lists, tuples, strings, numbers, booleans, None.
        ascii_only: Whether characters outside of ASCII are escaped, as in receipts; otherwise
            UTF-8.

    Raises:
        ValueError: It contains a number that is not finite, or a lone surrogate.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=ascii_only, allow_nan=False
    ).encode()


def each_name_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON in which no name occurs twice, for ``json.loads``.

    Readers disagree on which of two equal names counts (RFC 8259, 4).

    Args:
        pairs: Names and values.

    Raises:
        ValueError: A name occurs twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found
