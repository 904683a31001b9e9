"""The generated parts of pages: tables of the contract's keys, and the reference of the command line.

A generated part stands between two comments in a page that people write, so that prose and tables
stay together: ``<!-- generated: WHAT -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from handbook import command_line, contract_keys

DOCS = Path(__file__).resolve().parent.parent / "docs"
_PART = re.compile(r"(<!-- generated: ([^\n]+?) -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)


def generators() -> dict[str, Callable[[], str]]:
    """What can be generated, by the name that a page gives it."""
    found: dict[str, Callable[[], str]] = {
        "command line": command_line.reference,
        "layers": contract_keys.layers,
    }
    for section in contract_keys.sections():
        found[f"keys of {section.__name__}"] = lambda one=section: contract_keys.table(one)  # type: ignore[misc]
    return found


def renewed(text: str) -> str:
    """A page with its generated parts made anew.

    Raises:
        KeyError: The page asks for something that nothing generates.
    """
    made = generators()

    def make(part: re.Match[str]) -> str:
        return f"{part.group(1)}\n{made[part.group(2)]()}\n{part.group(4)}"

    return _PART.sub(make, text)


def asked_for() -> set[str]:
    """What the pages ask for."""
    return {
        part.group(2)
        for page in DOCS.rglob("*.md")
        for part in _PART.finditer(page.read_text(encoding="utf-8"))
    }


def stale() -> dict[Path, str]:
    """Pages with generated parts that are out of date, and how they should be."""
    found = {}
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (wanted := renewed(text)) != text:
            found[page] = wanted
    return found
