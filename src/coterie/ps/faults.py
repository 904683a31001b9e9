"""Errors of the tree as flat strings, and back by an allow-list of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from coterie.errors import CoterieError, EvidenceRefused

_FIELDS = ("what", "expected", "seen", "remedy")


def error_from_dict(value: Mapping[str, str]) -> CoterieError | None:
    """The error whose ``to_dict`` gave these fields, or None where the tree has no such class."""
    what, expected, seen, remedy = (value.get(field, "") for field in _FIELDS)
    for kind in _tree(CoterieError):
        if kind.__name__ == value.get("error"):
            if issubclass(kind, EvidenceRefused):
                check = value.get("failed_check", "unknown")
                return kind(check, what, expected=expected, seen=seen, remedy=remedy)
            return kind(what, expected=expected, seen=seen, remedy=remedy)
    return None


def _tree(root: type[CoterieError]) -> Iterator[type[CoterieError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)
