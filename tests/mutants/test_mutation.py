"""The table of mutations fits the code, and a table that does not is said so."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from mutants.mutation import Mutation, mutated, problems
from mutants.table import TABLE
from tests.conftest import REPOSITORY

GOOD = Mutation(
    name="no-check",
    file="ps/gate.py",
    old="if age < 18:",
    new="if age < 0:",
    breaks="children get in",
    tests=("ps/test_gate.py",),
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    module = tmp_path / "src" / "coterie" / "ps" / "gate.py"
    module.parent.mkdir(parents=True)
    module.write_text("def refused(age: int) -> bool:\n    if age < 18:\n        return True\n")
    for name in ("ps/test_gate.py", "ps/wire/test_gate.py", "keys/test_gate.py"):
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


def test_the_table_fits_the_code_as_it_is() -> None:
    assert problems(TABLE, REPOSITORY) == []


def test_the_table_covers_what_must_not_rest_on_chance() -> None:
    folders = Counter(mutation.file.partition("/")[0] for mutation in TABLE)
    assert folders.keys() >= {"ps", "ratls", "attestation", "keys", "metrics"}
    assert len(TABLE) >= 80


def test_a_mutation_changes_one_text() -> None:
    assert problems([GOOD], Path()) == ["ps/gate/no-check: there is no src/coterie/ps/gate.py"]
    assert mutated(GOOD, "a\nif age < 18:\nb") == "a\nif age < 0:\nb"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            replace(GOOD, old="if age < 21:"),
            "the text to replace occurs 0 times in ps/gate.py, expected once",
        ),
        (
            replace(GOOD, old="age"),
            "the text to replace occurs 2 times in ps/gate.py, expected once",
        ),
        (replace(GOOD, new=GOOD.old), "nothing is changed"),
        (
            replace(GOOD, new="if age <:"),
            "the mutated module is no Python: invalid syntax, line 2",
        ),
        (replace(GOOD, tests=()), "no tests are named"),
        (replace(GOOD, tests=("ps/test_fence.py",)), "there is no tests/ps/test_fence.py"),
        (
            replace(GOOD, tests=("keys/test_gate.py",)),
            "tests/keys/test_gate.py is not beside the place of ps/gate.py",
        ),
        (
            replace(GOOD, tests=("ps/wire/test_gate.py",)),
            "tests/ps/wire/test_gate.py is not beside the place of ps/gate.py",
        ),
    ],
    ids=["gone", "several", "no change", "no Python", "no tests", "absent", "distant", "deeper"],
)
def test_an_entry_that_does_not_fit_is_refused(project: Path, wrong: Mutation, said: str) -> None:
    assert problems([GOOD], project) == []
    assert problems([wrong], project) == [f"ps/gate/no-check: {said}"]


def test_what_lies_in_no_folder_is_noticed_beside_it(project: Path) -> None:
    (project / "src" / "coterie" / "gate.py").write_text(
        "def refused(age: int) -> bool:\n    if age < 18:\n        return True\n"
    )
    (project / "tests" / "test_gate.py").write_text("")
    assert problems([replace(GOOD, file="gate.py", tests=("test_gate.py",))], project) == []
    assert problems([replace(GOOD, file="gate.py")], project) == [
        "gate/no-check: tests/ps/test_gate.py is not beside the place of gate.py"
    ]


def test_two_of_one_name_are_refused(project: Path) -> None:
    assert problems([GOOD, GOOD], project) == ["ps/gate/no-check: 2 mutations of this name"]
