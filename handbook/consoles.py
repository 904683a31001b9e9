"""Runs what the documentation shows: every block of language ``console``, in order, page by page.

In such a block a line that starts with ``$`` is a command and ``>`` goes on with it; what follows is its
output, standard error included. A line of three dots stands for any lines. A command that fails has
its exit code as a last line, ``exit code N``. All commands of a page run in one folder, which holds
nothing but ``examples``, and ``coterie`` and ``python`` are those of this environment.

What changes from run to run is not compared: ports, moments, times, speeds, and digests but those of a contract
that is shown, which are the same for everybody who follows the page. Measured numbers with a
decimal point may differ a little, since other processors add in another order and a small model
amplifies that.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGES = Path(__file__).resolve().parent.parent / "docs"
TOLERANCE = 0.05
COMMAND_SECONDS = 600

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?![\w])")
_FIXED = re.compile(r"(contract|data)_digest ")
# What differs between runs, and what it becomes.
_VOLATILE = (
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "MOMENT"),
    (re.compile(r"\b[0-9a-f]{16,}\b"), "DIGEST"),
    (re.compile(r"(127\.0\.0\.1|localhost):\d+"), r"\1:PORT"),
    (re.compile(r"\d[\d,.]* examples/s"), "SPEED examples/s"),
    (re.compile(r"\d[\d,.]* s\b"), "TIME s"),
    (
        re.compile(r"((?:time, s|seconds[^│]*|examples/s|examples per second)\s*│).*"),
        r"\1 MEASURED",
    ),
    (re.compile(r'"(seconds|samples_per_second|times|overheads?)": [^,}]*'), r'"\1": MEASURED'),
    (re.compile(r"\boverhead [\d.]+x"), "overhead MEASUREDx"),
    (re.compile(r"[─━═]+"), "-"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True)
class Command:
    """A command of a page, and what it shows.

    Attributes:
        line: For the shell.
        shown: Lines of output that the page shows.
        start: Where the shown output starts in the page's text.
        end: Where it ends.
    """

    line: str
    shown: tuple[str, ...]
    start: int
    end: int


def commands(text: str) -> list[Command]:
    """All commands of a page, in order."""
    found: list[Command] = []
    for block in _BLOCK.finditer(text):
        at = block.start(1)
        words: list[str] = []
        shown: list[str] = []
        start = at
        for line in block.group(1).splitlines(keepends=True):
            bare = line.rstrip("\n")
            if bare.startswith("$ "):
                if words:
                    found.append(Command("\n".join(words), tuple(shown), start, at))
                words, shown, start = [bare[2:]], [], at + len(line)
            elif bare.startswith("> ") and words and not shown:
                words.append(bare[2:])
                start = at + len(line)
            elif words:
                shown.append(bare)
            at += len(line)
        if words:
            found.append(Command("\n".join(words), tuple(shown), start, at))
    return found


def furnish(folder: Path) -> None:
    """Puts the project's examples where a page's commands find them."""
    (folder / "examples").symlink_to(PAGES.parent / "examples")


def run(line: str, folder: Path) -> list[str]:
    """Runs one command in a folder; its output's lines."""
    home = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", line],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        env={
            **os.environ,
            "PATH": f"{home}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "100",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "TF_NUM_INTRAOP_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        },
    )
    lines = [one.rstrip() for one in done.stdout.splitlines()]
    return [*lines, f"exit code {done.returncode}"] if done.returncode else lines


def matches(shown: Sequence[str], seen: Sequence[str]) -> bool:
    """Whether output is what the page shows."""
    if not shown:
        return not seen
    if shown[0].strip() == "...":
        return any(matches(shown[1:], seen[i:]) for i in range(len(seen) + 1))
    return bool(seen) and same_line(shown[0], seen[0]) and matches(shown[1:], seen[1:])


def same_line(shown: str, seen: str) -> bool:
    """Whether two lines say the same, apart from what changes between runs."""
    if shown == seen:
        return True
    one, other = _settled(shown), _settled(seen)
    if _NUMBER.sub("N", one) != _NUMBER.sub("N", other):
        return False
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return all(_same_number(*pair) for pair in pairs)


def _settled(line: str) -> str:
    if _FIXED.match(line):
        return " ".join(line.split())
    for pattern, replacement in _VOLATILE:
        line = pattern.sub(replacement, line)
    return line.strip()


def _same_number(shown: str, seen: str) -> bool:
    if "." in shown and "." in seen:
        return abs(float(shown.replace(",", "")) - float(seen.replace(",", ""))) <= TOLERANCE
    return shown == seen


def pages() -> list[Path]:
    """The pages that show commands with their output."""
    found = [*sorted(PAGES.rglob("*.md")), PAGES.parent / "README.md"]
    return [page for page in found if commands(page.read_text(encoding="utf-8"))]


def record(page: Path, folder: Path) -> bool:
    """Runs a page and puts in what its commands print now, where that differs.

    Returns:
        Whether the page was changed. Dots that stood for lines have to be put in anew.
    """
    text = page.read_text(encoding="utf-8")
    kept, at = "", 0
    for command in commands(text):
        seen = run(command.line, folder)
        if matches(command.shown, seen):
            continue
        kept += text[at : command.start] + "".join(f"{line}\n" for line in seen)
        at = command.end
    page.write_text(kept + text[at:], encoding="utf-8")
    return bool(kept)
