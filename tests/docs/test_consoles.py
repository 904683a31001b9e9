"""The commands that the documentation shows work, and print what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from handbook import consoles
from handbook.commands import misuse
from handbook.consoles import commands, matches, run, same_line
from tests.conftest import REPOSITORY

ROOT = REPOSITORY
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
LONG = {"tutorial-sdt"}  # the second tutorial: `make test` follows the first, `make test-all` both
FENCE = re.compile(r"^ *```(?:bash|sh|console)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# What may stand before a command: the prompt, another user, its folder.
BEFORE = re.compile(r"^(?:\$ )?(?:sudo )?(?:env \S+=\S+ )?(?:\.venv/bin/)?")


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.slow] if page.stem in LONG else [])
        for page in consoles.pages()
    ],
)
def test_a_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    consoles.furnish(tmp_path)
    for command in commands(page.read_text(encoding="utf-8")):
        seen = run(command.line, tmp_path)
        assert matches(command.shown, seen), "\n".join(
            [f"$ {command.line}", "--- shown", *command.shown, "--- seen", *seen]
        )


def command_lines(text: str) -> list[str]:
    """Every line of a page's shell blocks that calls coterie; a backslash joins lines."""
    lines: list[str] = []
    for block in FENCE.findall(text):
        joined = re.sub(r"\\\n(?:> )?\s*", " ", re.sub(r"\$\([^)]*\)", "x", block))
        for line in joined.splitlines():
            bare = BEFORE.sub("", line.strip())
            if re.match(r"coterie [a-z-]", bare):
                lines.append(bare)
    return lines


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_coterie_command_of_a_page_exists(page: Path) -> None:
    lines = command_lines(page.read_text(encoding="utf-8"))
    assert [(line, wrong) for line in lines if (wrong := misuse(line))] == []


def test_commands_are_found_at_all() -> None:
    assert sum(len(command_lines(page.read_text(encoding="utf-8"))) for page in PAGES) > 15
    assert len(consoles.pages()) >= 2


PAGE = """
Text.

```console
$ printf 'one\\ntwo\\n'
one
...
$ cat <<END
> three
> END
three
$ false
exit code 1
```

```bash
not --run
```
"""


def test_commands_and_their_outputs_are_told_apart() -> None:
    found = commands(PAGE)
    assert [command.line for command in found] == [
        *("printf 'one\\ntwo\\n'", "cat <<END\nthree\nEND", "false"),
    ]
    assert [command.shown for command in found] == [("one", "..."), ("three",), ("exit code 1",)]
    assert [PAGE[command.start : command.end] for command in found] == [
        *("one\n...\n", "three\n", "exit code 1\n"),
    ]


@pytest.mark.system
def test_commands_run_in_their_folder(tmp_path: Path) -> None:
    for command in commands(PAGE):
        assert matches(command.shown, run(command.line, tmp_path))
    assert run("touch here; ls", tmp_path) == ["here"]
    assert run("exit 3", tmp_path) == ["exit code 3"]


@pytest.mark.system
def test_a_page_is_brought_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("three\n$ false", "four\n$ false"))
    assert consoles.record(page, tmp_path)
    assert page.read_text() == PAGE
    assert not consoles.record(page, tmp_path)


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        ("digest 0123456789abcdef01", "digest fedcba9876543210aa"),
        ("step 5/5, loss 0.5112, 4,012 examples/s", "step 5/5, loss 0.5187, 12 examples/s"),
        ("ps0 listens on 127.0.0.1:7440", "ps0 listens on 127.0.0.1:33119"),
        ("│ training time, s │ 4.9 │", "│ training time, s │   12.9 │"),
        ("┏━━━━┳━━━┓", "┏━━━━━━┳━━┓"),
        ('{"seconds": 1.5, "steps": 3}', '{"seconds": 2.5, "steps": 3}'),
    ],
)
def test_what_changes_from_run_to_run_is_the_same(shown: str, seen: str) -> None:
    assert same_line(shown, seen)


@pytest.mark.parametrize(
    ("shown", "seen"),
    [
        ("3 nodes", "4 nodes"),
        ("test AUC 0.73", "test AUC 0.63"),
        ("step 5/5", "step 5/6"),
        ("acme signed", "bolt signed"),
        ("digest 0123456789abcdef01", "digest none"),
        ("contract_digest  0123456789abcdef01", "contract_digest  fedcba9876543210aa"),
        ('{"seconds": 1.5, "steps": 3}', '{"seconds": 1.5, "steps": 4}'),
        ("│ steps │ 101 │", "│ steps │ 102 │"),
    ],
)
def test_what_matters_is_compared(shown: str, seen: str) -> None:
    assert not same_line(shown, seen)


@pytest.mark.parametrize(
    ("shown", "seen", "same"),
    [
        (["..."], [], True),
        (["a", "...", "c"], ["a", "b", "b", "c"], True),
        (["a", "...", "c"], ["a", "b"], False),
        (["a"], ["a", "b"], False),
        ([], ["a"], False),
    ],
)
def test_dots_stand_for_any_lines(shown: list[str], seen: list[str], *, same: bool) -> None:
    assert matches(shown, seen) is same
