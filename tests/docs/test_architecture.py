"""The page on architecture shows the layers that are enforced, and has a line for every folder."""

from __future__ import annotations

import re
import tomllib

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = REPOSITORY / "src" / "coterie"


def layers() -> list[list[str]]:
    """Of import-linter's contract, from the top down."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (found,) = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    return [layer.split(" | ") for layer in found]


def test_the_picture_shows_the_layers_that_are_enforced() -> None:
    picture = PAGE.split("```text\n")[1].split("```")[0]
    known = {name for layer in layers() for name in layer}
    drawn = [re.sub(r"[│┌┐└┘─]", " ", line)[:43].split() for line in picture.splitlines()]
    shown = [words for words in drawn if words and set(words) <= known]
    folders = [layer for layer in layers() if (PACKAGE / layer[0]).is_dir() or layer == ["api"]]
    assert shown == folders


def test_every_folder_has_a_line() -> None:
    rows = re.findall(r"^\| `([a-z_/]+)/` \|", PAGE, re.MULTILINE)
    folders = {
        path.parent.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("__init__.py")
        if path.parent != PACKAGE and path.parent.name != "simulated"
    }
    assert sorted(rows) == sorted(folders)


def test_every_file_that_a_line_names_exists() -> None:
    for folder, cells in re.findall(r"^\| `([a-z_/]+)/` \|(.*)\|$", PAGE, re.MULTILINE):
        for name in re.findall(r"`([a-z_/]+\.(?:py|proto))`", cells):
            assert (PACKAGE / folder / name).is_file() or (PACKAGE / name).is_file(), name
