"""Errors survive being flattened to strings, and only the tree's own classes come back."""

from __future__ import annotations

import os
from errno import EACCES
from pathlib import Path

import pytest

from coterie.errors import (
    ContractInvalid,
    ContractMismatch,
    CoterieError,
    DataSetMismatch,
    EvidenceRefused,
    MessageRefused,
    OutputInUse,
    ReceiptRefused,
    SealBroken,
    StepRefused,
    error_from_dict,
)

DENIED = PermissionError(EACCES, os.strerror(EACCES))


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


def test_a_class_gives_its_standing_remedy() -> None:
    assert StepRefused("no").remedy == "join again: the reply names the open step"
    assert "the same version of Coterie" in MessageRefused("no").remedy


def test_a_remedy_of_its_own_goes_before_the_standing_one() -> None:
    assert StepRefused("no", remedy="wait").remedy == "wait"


def test_a_further_error_keeps_what_the_first_one_said() -> None:
    first = SealBroken("the seal is broken", expected="one", seen="two", remedy="count again")
    second = ReceiptRefused.because_of(first, "the receipt is refused", place="line 3")
    assert (second.expected, second.seen, second.remedy) == ("one", "two", "count again")
    assert str(second).startswith("line 3: the receipt is refused; expected: one")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            OutputInUse.exists(Path("out")),
            "out exists; expected: a path where nothing is; seen: a file or folder; remedy: name another path; nothing is overwritten",
        ),
        (
            OutputInUse.unwritable("the contract out", DENIED),
            "the contract out cannot be written; expected: a path where nothing is, in a writable folder with room; seen: Permission denied; remedy: name another path; nothing is overwritten",
        ),
        (
            SealBroken.unreadable("the cover", DENIED, "a cover"),
            "the cover cannot be read; expected: a cover; seen: Permission denied; remedy: check the path",
        ),
        (
            ContractInvalid.too_large("the contract", 10, "shorten it"),
            "the contract is too large; expected: at most 10 bytes; seen: more; remedy: shorten it",
        ),
        (
            ContractInvalid.unknown("no node 'x'", "x", ["a", "b"], "name a node"),
            "no node 'x'; expected: one of a, b; seen: x; remedy: name a node",
        ),
        (
            ContractMismatch.differs(
                "ps0 runs under another contract", "contract", b"\x01", b"\x02"
            ),
            "ps0 runs under another contract; expected: contract 01; seen: contract 02; remedy: give both the same signed contract: `coterie contract diff` tells what differs",
        ),
        (
            DataSetMismatch.other_section("acme", b"\x01", b"\x02"),
            "acme was prepared under another contract's data section; expected: data digest 01; seen: data digest 02; remedy: prepare the data set again: coterie prepare RAW OUT --contract C, or use the contract that it was prepared with",
        ),
    ],
    ids=lambda value: value.what if isinstance(value, CoterieError) else "",
)
def test_recurring_shapes_say_all_four_things(error: CoterieError, text: str) -> None:
    assert str(error) == text


def test_names_in_a_list_are_bounded() -> None:
    error = ContractInvalid.unknown("no such node", "x" * 1000, ["n" * 100] * 100)
    assert len(error.expected) + len(error.seen) <= 600


def test_a_refusal_of_evidence_is_not_made_without_its_check() -> None:
    with pytest.raises(TypeError):
        EvidenceRefused.unknown("another TEE", "x", ["sgx"])
