"""The optional packages: who wants a report asks for them first, and gets an error that helps."""

from __future__ import annotations

import importlib

from coterie.errors import EnvironmentUnfit

PAGES = ("jinja2", "matplotlib")
EVENT_FILES = ("tensorboardX",)


def require(packages: tuple[str, ...], purpose: str) -> None:
    """Loads optional packages.

    Args:
        packages: Their modules.
        purpose: What cannot be done without them; begins the error's sentence.

    Raises:
        EnvironmentUnfit: One is not installed.
    """
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise EnvironmentUnfit(
                f"{purpose} cannot be made here",
                expected="the optional packages of coterie[report]",
                seen=f"no module named {name}",
                remedy="pip install 'coterie[report]'; `coterie report DIR` makes the report of a "
                "finished run, also on another machine",
            ) from error
