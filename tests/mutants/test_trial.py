"""A mutation that no test notices is a failure; the project itself is never changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mutants.__main__ import report
from mutants.mutation import Mutation
from mutants.trial import Result, Trial, attempt, passing

SECONDS = 120.0
MODULE = """
def refused(age: int) -> bool:
    return age < 18


def price(age: int) -> int:
    return 10 if age < 65 else 5
"""
TESTS = """
from coterie.ps.gate import price, refused


def test_children_are_refused() -> None:
    assert refused(3)
    assert refused(17)
    assert not refused(18)


def test_grown_ups_pay() -> None:
    assert price(30) == 10
"""
NOTICED = Mutation(
    "a-year-too-late", "ps/gate.py", "age < 18", "age < 17", "...", ("ps/test_gate.py",)
)
UNNOTICED = replace(NOTICED, name="all-pay", old="age < 65", new="age < 650")
HANGING = replace(NOTICED, name="waits", old="return age < 18", new="import time; time.sleep(600)")
BROKEN = replace(NOTICED, name="gone", old="def price", new="def cost")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "src/coterie/__init__.py": "",
        "src/coterie/ps/__init__.py": "",
        "src/coterie/ps/gate.py": MODULE,
        "tests/ps/test_gate.py": TESTS,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def contents(project: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.mark.system
@pytest.mark.parametrize(
    ("mutation", "result", "said"),
    [
        (NOTICED, "killed", "test_children_are_refused"),
        (UNNOTICED, "survived", "2 passed"),
        (BROKEN, "broken", "cannot import name 'price'"),
    ],
    ids=lambda value: value.name if isinstance(value, Mutation) else value,
)
def test_a_mutation_is_killed_by_a_test_that_fails_and_by_nothing_else(
    project: Path, mutation: Mutation, result: Result, said: str
) -> None:
    before = contents(project)
    trial = attempt(mutation, project, SECONDS)
    assert trial.result == result
    assert said in trial.said
    assert trial.as_it_must == (result == "killed")
    assert contents(project) == before


@pytest.mark.system
def test_tests_that_do_not_end_have_noticed_nothing(project: Path) -> None:
    trial = attempt(HANGING, project, 3.0)
    assert trial.result == "hung"
    assert not trial.as_it_must


@pytest.mark.system
def test_what_survives_for_a_reason_is_as_it_must_be_until_it_is_noticed(project: Path) -> None:
    excused = replace(UNNOTICED, survives="Nobody is that old.")
    assert attempt(excused, project, SECONDS).as_it_must
    assert not attempt(replace(NOTICED, survives="No reason."), project, SECONDS).as_it_must


@pytest.mark.system
def test_tests_must_pass_before_anything_is_changed(project: Path) -> None:
    assert passing(["ps/test_gate.py"], project, SECONDS) == ""
    (project / "tests/ps/test_gate.py").write_text("def test_x() -> None:\n    assert 1 == 2\n")
    assert "assert 1 == 2" in passing(["ps/test_gate.py"], project, SECONDS)


def test_a_survivor_without_a_reason_fails_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    killed = Trial(NOTICED, "killed", "")
    excused = Trial(replace(UNNOTICED, survives="Nobody is that old."), "survived", "")
    assert report([killed, excused]) == 0
    assert "2 tried, 1 killed, 1 not" in (said := capsys.readouterr().out)
    assert "survives for a reason: ps/gate/all-pay: Nobody is that old." in said
    assert report([killed, Trial(UNNOTICED, "survived", "")]) == 1
    assert "NOT AS IT MUST BE: ps/gate/all-pay (survived)" in (said := capsys.readouterr().out)
    assert "write a test in tests/ps/test_gate.py" in said
    noticed = Trial(replace(NOTICED, survives="No reason."), "killed", "")
    assert report([noticed]) == 1
    assert "says that nothing can notice it" in capsys.readouterr().out
    assert report([Trial(HANGING, "hung", "not over within 3 s")]) == 1
    assert "not over within 3 s" in capsys.readouterr().out
