"""Errors survive being flattened to strings, and only the tree's own classes come back."""

from __future__ import annotations

import pytest

from coterie.errors import CoterieError, EvidenceRefused, error_from_dict


def tree(root: type[CoterieError]) -> list[type[CoterieError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in tree(child))]


@pytest.mark.parametrize("kind", tree(CoterieError), ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_comes_back_whole(kind: type[CoterieError]) -> None:
    texts = {"expected": "one", "seen": "two", "remedy": "count again"}
    if issubclass(kind, EvidenceRefused):
        error: CoterieError = kind("tcb_status", "it happened", **texts)
    else:
        error = kind("it happened", **texts)
    back = error_from_dict(error.to_dict())
    assert type(back) is kind
    assert back is not None
    assert str(back) == str(error)
    assert back.to_dict() == error.to_dict()


@pytest.mark.parametrize("name", ["", "Exception", "SystemExit", "KeyError", "coterieerror"])
def test_a_name_outside_of_the_tree_gives_nothing(name: str) -> None:
    assert error_from_dict({"error": name, "what": "x"}) is None


def test_nothing_gives_nothing() -> None:
    assert error_from_dict({}) is None


def test_absent_fields_are_empty() -> None:
    back = error_from_dict({"error": "NodeFailed"})
    assert back is not None
    assert (back.what, back.expected, back.seen, back.remedy) == ("", "", "", "")


def test_evidence_without_a_check_says_so() -> None:
    back = error_from_dict({"error": "EvidenceRefused", "what": "no"})
    assert isinstance(back, EvidenceRefused)
    assert back.failed_check == "unknown"
