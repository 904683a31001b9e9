"""docs/deployment.md shows only commands and options that exist."""

from __future__ import annotations

import re
import shlex

import pytest
from typer.core import TyperCommand, TyperGroup

from tests.deploy.rendering import CHART, ROOT
from tests.deploy.telling import command_line

PAGE = ROOT / "docs" / "deployment.md"


def shown() -> list[list[str]]:
    """Every command line of the console script in the page's blocks and sentences."""
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^ *```bash\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(coterie [^`]+)`", text)
    pattern = re.compile(r"(?:^|[ (])coterie ([a-z]+[^)#]*)")
    return [shlex.split(command) for line in lines for command in pattern.findall(line)]


def test_the_page_shows_commands() -> None:
    assert {words[0] for words in shown()} >= {"node", "contract", "prepare", "attest"}


@pytest.mark.parametrize("words", shown(), ids=" ".join)
def test_a_command_knows_its_options(words: list[str]) -> None:
    command: object = command_line()
    while isinstance(command, TyperGroup):
        command = command.commands[words[0]]
        words = words[1:]
    assert isinstance(command, TyperCommand)
    known = {option for one in command.params for option in one.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


def test_the_files_that_it_names_are_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    composed = set(re.findall(r"paper-[a-z]+\.[a-z]+\.yaml", text))
    assert composed == {path.name for path in (ROOT / "deploy" / "docker").glob("*.yaml")}
    for name in re.findall(r"deploy/helm/coterie/(values/[a-z-]+\.yaml)", text):
        assert (CHART / name).exists()
    for target in re.findall(r"^make ([a-z]+)", text, re.MULTILINE):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
