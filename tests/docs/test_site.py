"""The documentation builds as a site, strictly, and the site loads nothing from anywhere else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mkdocs.exceptions import PluginError

from handbook.site import examples, sequence
from tests.conftest import REPOSITORY

ROOT = REPOSITORY
# Elements that make a browser fetch something, and where they name it.
FETCHING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "link": "href",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class Page(HTMLParser):
    """What a page of HTML fetches, and its content security policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.policy = ""
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        if (address := named.get(FETCHING.get(tag, ""))) is not None:
            self.fetched.append(address)
        self.fetched += re.findall(r"url\(['\"]?([^'\")]+)", named.get("style", ""))
        self.fetched += [part.split()[0] for part in named.get("srcset", "").split(",") if part]
        self.classes |= set(named.get("class", "").split())
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"]


def outside(addresses: list[str]) -> list[str]:
    return [one for one in addresses if re.match(r"(?:[a-z]+:)?//", one)]


def html_pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


@pytest.mark.system
def test_every_page_of_the_documentation_is_there(site: Path) -> None:
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        assert (site / page.relative_to(docs).with_suffix(".html")).is_file()
    for name in ("changelog", "contributing", "security", "examples", "index"):
        assert (site / f"{name}.html").is_file()


@pytest.mark.system
def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    fetched = 0
    for path in html_pages(site):
        page = Page(path.read_text(encoding="utf-8"))
        fetched += len(page.fetched)
        assert outside(page.fetched) == [], path.name
    assert fetched > 100  # the parser still finds them


@pytest.mark.system
def test_styles_fetch_nothing_from_elsewhere(site: Path) -> None:
    styles = sorted(site.rglob("*.css"))
    assert styles
    for path in styles:
        text = path.read_text(encoding="utf-8")
        assert outside(re.findall(r"(?:url\(|@import )['\"]?([^'\")\s]+)", text)) == []


@pytest.mark.system
def test_browsers_are_told_to_fetch_nothing_from_elsewhere(site: Path) -> None:
    for path in html_pages(site):
        policy = Page(path.read_text(encoding="utf-8")).policy
        assert policy.startswith("default-src 'none'; "), path.name
        assert "http" not in policy


@pytest.mark.system
def test_nothing_asks_for_the_diagram_script(site: Path) -> None:
    """The theme would load Mermaid from elsewhere for an element of this class."""
    for path in html_pages(site):
        assert "mermaid" not in Page(path.read_text(encoding="utf-8")).classes, path.name


def test_the_parser_finds_what_is_fetched() -> None:
    page = Page(
        '<script src="//a/b.js"></script><link href="https://c/d.css"><img srcset="https://e 2x">'
        '<p style="background: url(http://f)"><a href="https://g">fine</a><img src="h.png">'
    )
    assert outside(page.fetched) == ["//a/b.js", "https://c/d.css", "https://e", "http://f"]


DIAGRAM = """
sequenceDiagram
    participant A as worker of acme
    participant P as parameter server
    A->>P: Join {train_examples}
    P-->>A: {step}
    loop every step
        P->>P: add, *once*
    end
    Note over A,P: done
"""


def test_a_diagram_becomes_a_list() -> None:
    assert sequence(DIAGRAM).splitlines() == [
        r"1. **worker of acme** → **parameter server**: Join {train\_examples}",
        "1. **parameter server** → **worker of acme**: {step}",
        "1. *loop every step*",
        r"    1. **parameter server**: add, \*once\*",
        "1. *done*",
    ]


@pytest.mark.parametrize(
    ("diagram", "said"),
    [
        ("flowchart TD\n  a --> b", "only sequence diagrams"),
        ("sequenceDiagram\n  A ~~~ B", "is not understood: 'A ~~~ B'"),
    ],
)
def test_other_diagrams_are_refused(diagram: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        sequence(diagram)


def test_all_examples_are_on_a_page() -> None:
    text = examples()
    for path in (ROOT / "examples").glob("*.toml"):
        assert path.read_text(encoding="utf-8") in text
