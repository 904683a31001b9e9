"""Carries errors of the tree over the wire as bounded JSON, and back by an allow-list of names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from coterie.errors import CoterieError, EvidenceRefused, ProtocolError

MAX_FAULT_BYTES = 4096
_FIELDS = ("what", "expected", "seen", "remedy")


def encode_fault(error: CoterieError) -> str:
    """The error as JSON text of at most MAX_FAULT_BYTES bytes."""
    values = {key: value[:700] for key, value in error.to_dict().items()}
    return json.dumps(values)[:MAX_FAULT_BYTES]


def decode_fault(text: str) -> CoterieError | None:
    """The error that a peer sent, or None where the text is none.

    Only classes of the tree are made, and only from strings.
    """
    if len(text) > MAX_FAULT_BYTES:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        return None
    return error_from_dict(value)


def error_from_dict(value: Mapping[str, str]) -> CoterieError | None:
    """The error whose ``to_dict`` gave these fields, or None where they are none."""
    what, expected, seen, remedy = (value.get(field, "") for field in _FIELDS)
    for kind in _tree(CoterieError):
        if kind.__name__ == value.get("error"):
            if issubclass(kind, EvidenceRefused):
                check = value.get("failed_check", "unknown")
                return kind(check, what, expected=expected, seen=seen, remedy=remedy)
            return kind(what, expected=expected, seen=seen, remedy=remedy)
    return ProtocolError(f"the peer failed with an unknown error: {what}") if what else None


def _tree(root: type[CoterieError]) -> Iterator[type[CoterieError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
