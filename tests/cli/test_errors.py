"""Errors have one shape: lines for people, one JSON object for programs, never a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "hfl.toml"


def test_an_error_is_four_labelled_lines(run: Run) -> None:
    ran = run("contract", "show", "nothing.toml")
    assert (ran.code, ran.out) == (4, "")
    assert [line.split(":")[0].strip() for line in ran.err.splitlines()] == [
        *("error", "expected", "seen", "remedy"),
    ]


def test_with_json_it_is_one_object_on_standard_output(run: Run) -> None:
    ran = run("contract", "show", "nothing.toml", "--json")
    assert (ran.code, ran.err) == (4, "")
    assert ran.value == {
        "error": "ContractInvalid",
        "what": "the contract nothing.toml cannot be read",
        "expected": "a TOML file, or the contract.json of a run",
        "seen": "No such file or directory",
        "remedy": "check the path; examples are in examples/",
    }


def test_in_a_json_log_it_is_a_line_of_it(run: Run) -> None:
    ran = run("contract", "show", "nothing.toml", "--log-format", "json")
    assert (ran.code, ran.out) == (4, "")
    assert json.loads(ran.err)["error"] == "ContractInvalid"
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("-v", "contract", "show", "nothing.toml"),
        ("contract", "show", "nothing.toml", "--verbose"),
    ],
)
def test_verbose_adds_the_causes(words: tuple[str, ...], run: Run) -> None:
    assert re.search(r"^  cause: +FileNotFoundError: ", run(*words).err, flags=re.MULTILINE)


def test_the_log_options_of_one_command_do_not_reach_the_next(run: Run) -> None:
    assert "cause" in run("-v", "contract", "show", "nothing.toml").err
    assert "cause" not in run("contract", "show", "nothing.toml").err


def test_brackets_in_an_error_are_shown(run: Run, tmp_path: Path) -> None:
    contract = tmp_path / "c.toml"
    text = EXAMPLE.read_text()
    contract.write_text(text.replace("[trust.roles.worker]", "[trust.roles.chief]"))
    assert "[trust.roles.worker] is missing" in run("contract", "show", contract).err


def test_a_mistyped_verb_is_guessed(run: Run) -> None:
    assert "Did you mean 'run'?" in run("runn").err


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (("run", EXAMPLE, "--data", "x"), "missing option '--out'"),
        (("node", EXAMPLE, "ps0", "--metrics-port", "seventy"), "--metrics-port"),
        (("run", "--data", "x", "--out", "y"), "missing argument 'CONTRACT'"),
        (("local", EXAMPLE, "--data", "x", "--epochs", "2"), "--epochs is for a run that goes on"),
        (
            ("local", EXAMPLE, "--data", "x", "--new-optimizer-state"),
            "--new-optimizer-state is for a run that goes on",
        ),
        (
            ("run", "--continue", "r", "--start", "s", "--data", "x", "--out", "y"),
            "--continue and --start are two ways to say one thing",
        ),
        (("synthesize", "x.tsv", "--rows", "3"), "--rows"),
        (("prepare", "a", "b", "--contract", "c", "--deal", "fair"), "--deal"),
        (("attest", "verify", "no-such-file"), "no-such-file"),
        (("--log-format", "xml", "doctor"), "--log-format"),
    ],
)
def test_usage_errors_name_what_is_wrong(words: tuple[str, ...], seen: str, run: Run) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert seen.lower() in ran.err.lower()


@pytest.mark.system
def test_a_reader_that_goes_away_gives_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "coterie", "contract", "show", str(EXAMPLE)],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
