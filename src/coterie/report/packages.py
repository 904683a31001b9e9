"""Loads the optional packages of reports, or raises an error that says how to install them."""

from __future__ import annotations

import importlib

from coterie.errors import EnvironmentUnfit

PAGES = ("jinja2", "matplotlib")
EVENT_FILES = ("tensorboardX",)


def require(packages: tuple[str, ...], purpose: str) -> None:
    """Loads optional packages.

    Args:
        packages: Names of their modules.
        purpose: What cannot be done without them; begins the error's sentence.

    Raises:
        EnvironmentUnfit: One of them is not installed.
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
