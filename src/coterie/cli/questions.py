"""Questions on the terminal; options can answer each of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import typer

from coterie.errors import UsageError

T = TypeVar("T", bound=str)


class Questions:
    """Asks on the terminal, or takes defaults.

    Args:
        silent: Whether to take defaults without asking.
    """

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent

    def text(self, option: str, question: str, default: str | None) -> str:
        """Asks for a word, which is required if there is no default."""
        return self._ask(option, question, default, str.strip)

    def number(self, option: str, question: str, default: int | None) -> int:
        """Asks for a positive number."""

        def convert(said: str) -> str:
            digits = said.replace(",", "").replace("_", "").strip()
            if not (digits.isascii() and digits.isdigit() and int(digits) > 0):
                raise ValueError(f"{said!r} is no positive number")
            return digits

        shown = None if default is None else str(default)
        return int(self._ask(option, question, shown, convert))

    def choice(self, option: str, question: str, choices: tuple[T, ...], default: T) -> T:
        """Asks for one of several words."""

        def convert(said: str) -> str:
            if said.strip().lower() not in choices:
                raise ValueError(f"{said!r} is none of {', '.join(choices)}")
            return said.strip().lower()

        said = self._ask(option, f"{question} ({', '.join(choices)})", default, convert)
        return next(choice for choice in choices if choice == said)

    def _ask(
        self, option: str, question: str, default: str | None, convert: Callable[[str], str]
    ) -> str:
        if self._silent and default is not None:
            return default
        if self._silent or not sys.stdin.isatty():
            raise UsageError(
                f"it is open: {question[0].lower()}{question[1:]}",
                expected=f"--{option}" + ("" if default is None else ", or --yes for the defaults"),
                seen="nobody can be asked"
                + ("" if self._silent else ": standard input is no terminal"),
                remedy="`coterie init --help` tells what there is",
            )
        shown = question if default is None else f"{question} [{default}]"
        while True:
            sys.stderr.write(f"{shown}: ")
            sys.stderr.flush()
            line = sys.stdin.readline()
            if not line:  # the terminal was closed
                raise typer.Abort
            if said := line.strip() or default:
                try:
                    return convert(said)
                except ValueError as error:
                    sys.stderr.write(f"{error}\n")


def refuse(option: str, value: object, why: str) -> None:
    """Refuses an option that was given although the other answers leave it no meaning.

    Raises:
        UsageError: It was given.
    """
    if value:
        raise UsageError(
            f"{option} does not belong here: {why}",
            expected=f"no {option}",
            seen=option,
            remedy="`coterie init --help` tells what there is",
        )
