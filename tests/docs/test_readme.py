"""A stranger's first commands: the README shows what the demonstration prints, and how to use data of one's own."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from handbook.consoles import matches, run
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def block(start: str) -> list[str]:
    """The lines of the block whose first line starts so, without its fences."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (found,) = (str(one) for one in blocks if one.startswith(start))
    return found.splitlines()


def shop(path: Path) -> None:
    """A table as the README describes it: a header, a label of 0 and 1, numbers and ids."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["country", "clicked", "age", "visits", "basket", "shop", "device", "hour"])
        for i in range(3000):
            country, device = ("fr", "de", "nl")[i % 3], ("tv", "phone", "")[i // 2 % 3]
            numbers = (20 + i % 50, i % 7, f"{i / 8:.2f}")
            clicked = int(i % 7 > 3 or i % 11 == 0)
            writer.writerow([country, clicked, *numbers, f"s{i % 9}", device, i % 24])


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_demonstration_prints_what_is_shown(tmp_path: Path) -> None:
    command, *shown = block("$ make demo")
    seen = run(command.replace("$ make", "coterie"), tmp_path)
    assert matches(shown, seen), "\n".join(seen)
    assert (tmp_path / "demo" / "report.html").is_file()


@pytest.mark.system
@pytest.mark.timeout(900)
def test_the_commands_for_data_of_ones_own_train_and_predict(tmp_path: Path) -> None:
    shop(tmp_path / "shop.csv")
    lines = block(". .venv/bin/activate")
    activate, *commands = [line for line in lines if not line.startswith("#")]
    assert activate == ". .venv/bin/activate"
    assert len(commands) == 5
    for command in commands:
        seen = run(command, tmp_path)
        assert not any(line.startswith("exit code") for line in seen), "\n".join([command, *seen])
    assert (tmp_path / "run1" / "report.html").is_file()
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 3001
