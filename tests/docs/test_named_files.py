"""The documentation names only files that exist, and its links lead somewhere."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPOSITORY

ROOT = REPOSITORY
FOLDERS = (ROOT, ROOT / "src" / "coterie")
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


@pytest.mark.parametrize("name", NAMES)
def test_files_in_backticks_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[a-z_0-9/.-]*?(?:\.(?:py|toml|proto|lock)|/))`", text))
    assert sorted(p for p in named if not any((folder / p).exists() for folder in FOLDERS)) == []


@pytest.mark.parametrize("name", NAMES)
def test_relative_links_lead_to_files(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert sorted(link for link in links if not (page.parent / link).exists()) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_a_page_places_in_a_file_is_there(name: str) -> None:
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    placed = re.findall(r"`([A-Za-z_]\w*)` in `([a-z_0-9/]+\.py)`", text)
    sources = {
        path: next((folder / path).read_text(encoding="utf-8") for folder in FOLDERS if (folder / path).exists())
        for _, path in placed
    }  # fmt: skip
    assert [one for one in placed if not re.search(rf"\b{one[0]}\b", sources[one[1]])] == []
