"""Hooks of the documentation's site: pages from files outside of ``docs/``, and diagrams without scripts.

Pages are written to be read in the repository too, so they link to files beside ``docs/`` and draw
sequences in Mermaid. Here those links lead to pages of the site. A Mermaid diagram would need three
megabytes of script from another place, so it becomes a list: who tells whom what.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# Files beside docs/ that are pages of the site.
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "security.md",
}

_LINK = re.compile(r"\]\(((?:\.\./)*)([^)#:\s]+)(#[^)\s]*)?\)")
_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"(?:participant|actor) (\w+)(?: as (.+))?")
_TOLD = re.compile(r"(\w+)-{1,2}>>(\w+): ?(.+)")
_BLOCK = re.compile(r"(loop|alt|else|opt|par|and) ?(.*)")
_NOTE = re.compile(r"Note [^:]+: ?(.+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts pages that the navigation does not name, and the decisions, at its end."""
    named = set(_named(config.nav))
    docs = ROOT / "docs"
    pages = sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))
    more = [page for page in pages if page not in named and "/" not in page]
    assert config.nav is not None
    if more:
        config.nav.append({"More": more})
    config.nav.append({"Decisions": [page for page in pages if page.startswith("decisions/")]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made of files outside of ``docs/``."""
    for name, page in OUTSIDE.items():
        if files.get_file_from_path(page) is None:
            text = (ROOT / name).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "examples.md", content=examples()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes a page's diagrams lists, and its links to files outside of ``docs/`` links to pages."""
    del config, files
    source = page.file.src_uri
    here = Path("docs") / source
    if source in OUTSIDE.values() and not (ROOT / here).exists():
        here = Path(source)
    depth = source.count("/")

    def lead(link: re.Match[str]) -> str:
        target = (here.parent / link.group(1) / link.group(2)).as_posix()
        return f"]({'../' * depth}{_page_of(_straight(target))}{link.group(3) or ''})"

    return _LINK.sub(lead, _DIAGRAM.sub(lambda found: sequence(found.group(1)), markdown))


def examples() -> str:
    """A page with the example contracts."""
    parts = ["# Example contracts\n\nThe files of `examples/`, as they are.\n"]
    for path in sorted((ROOT / "examples").glob("*.toml")):
        text = path.read_text(encoding="utf-8")
        parts.append(f"## `{path.name}` {{ #{path.stem} }}\n\n```toml\n{text}```\n")
    return "\n".join(parts)


def sequence(diagram: str) -> str:
    """A Mermaid sequence diagram as a list in Markdown: who tells whom what, in order.

    Raises:
        PluginError: It is another diagram, or says something that the list cannot.
    """
    head, *lines = (line.strip() for line in diagram.strip().splitlines())
    if head != "sequenceDiagram":
        raise PluginError(f"only sequence diagrams can be shown without scripts, not {head!r}")
    names: dict[str, str] = {}
    made: list[str] = []
    depth = 0
    for line in filter(None, lines):
        indent = "    " * depth
        if found := _NAMED.fullmatch(line):
            names[found.group(1)] = found.group(2) or found.group(1)
        elif found := _TOLD.fullmatch(line):
            one, other = (names.get(name, name) for name in found.groups()[:2])
            who = f"**{one}**" if one == other else f"**{one}** → **{other}**"
            made.append(f"{indent}1. {who}: {_plain(found.group(3))}")
        elif line == "end":
            depth -= 1
        elif found := _BLOCK.fullmatch(line):
            depth -= found.group(1) in {"else", "and"}
            made.append(f"{'    ' * depth}1. *{line}*")
            depth += 1
        elif found := _NOTE.fullmatch(line):
            made.append(f"{indent}1. *{_plain(found.group(1))}*")
        else:
            raise PluginError(f"a line of a sequence diagram is not understood: {line!r}")
    return "\n".join(made) + "\n"


def _plain(text: str) -> str:
    return re.sub(r"([*_<>\[\]])", r"\\\1", re.sub(r"<br ?/?>", "; ", text))


def _straight(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in {".", ""}:
            parts.append(part)
    return "/".join(parts)


def _page_of(target: str) -> str:
    """The page that shows a file of the repository."""
    if target in OUTSIDE:
        return OUTSIDE[target]
    if target.startswith("docs/"):
        page = target.removeprefix("docs/")
        return page if Path(page).suffix else "index.md"
    if target.startswith("examples"):
        name = Path(target)
        return f"examples.md#{name.stem}" if name.suffix == ".toml" else "examples.md"
    raise PluginError(f"the site has no page for {target}")


def _named(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list):
        for item in nav:
            yield from _named(item)
    elif isinstance(nav, dict):
        for item in nav.values():
            yield from _named(item)
