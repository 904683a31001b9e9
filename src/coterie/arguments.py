"""Checks arguments of the Python interface; errors name the wrong object and the remedy."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from coterie.errors import UsageError

T = TypeVar("T")
_MADE_BY = {
    "Contract": "coterie.load_contract({})",
    "TrainedModel": "coterie.load_model({})",
    "RunResult": "coterie.read_result({})",
}


def instance_of(value: object, kind: type[T], name: str) -> T:
    """Checks an object of one of Coterie's classes.

    Raises:
        UsageError: The object is something else, such as the path of a file that holds such an object.
    """
    if isinstance(value, kind):
        return value
    made = _MADE_BY.get(kind.__name__, "")
    called = made.format(
        f"{os.fspath(value)!r}" if isinstance(value, str | os.PathLike) else "path"
    )
    raise wrong(name, value, f"a {kind.__name__}", f"{called} gives one" if called else "")


def path_of(value: object, name: str) -> Path:
    """A path.

    Raises:
        UsageError: The object is not a path.
    """
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        if isinstance(text, str) and text and "\0" not in text:
            return Path(text)
    raise wrong(name, value, "a path: str or pathlib.Path", "")


def text_of(value: object, name: str) -> str:
    """A text.

    Raises:
        UsageError: The object is not a text, or is empty.
    """
    if isinstance(value, str) and value:
        return value
    raise wrong(name, value, "a text", "")


def texts_of(value: object, name: str) -> tuple[str, ...]:
    """Several texts.

    Raises:
        UsageError: They are none; a single text is not several.
    """
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return tuple(text_of(one, f"an item of {name}") for one in value)
    raise wrong(name, value, "a list of texts", "")


def names_of(value: object, name: str) -> dict[str, str]:
    """Names by name.

    Raises:
        UsageError: They are none.
    """
    if isinstance(value, Mapping):
        return {
            text_of(key, f"a key of {name}"): text_of(one, f"a value of {name}")
            for key, one in value.items()
        }
    raise wrong(name, value, "a dict of texts", "")


def number_of(value: object, name: str, least: int) -> int:
    """A whole number.

    Raises:
        UsageError: The object is not a whole number, or is less than ``least``.
    """
    try:
        number = operator.index(value) if not isinstance(value, bool) else None  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is not None and number >= least:
        return number
    raise wrong(name, value, f"a whole number, {least} or more", "")


def choice_of(value: object, choices: tuple[T, ...], name: str) -> T:
    """One of some words.

    Raises:
        UsageError: The object is not one of the words.
    """
    for choice in choices:
        if isinstance(value, str) and value == choice:
            return choice
    raise wrong(name, value, " or ".join(map(str, choices)), "")


def function_of(value: object, name: str) -> None:
    """Something that can be called.

    Raises:
        UsageError: The object cannot be called.
    """
    if not callable(value):
        raise wrong(name, value, "a function", "")


def wrong(name: str, value: object, expected: str, remedy: str) -> UsageError:
    """The error of an argument of the wrong kind, or out of bounds."""
    return UsageError(
        f"{name} is of the wrong kind, or out of bounds",
        expected=expected,
        seen=f"{type(value).__name__}: {value!r:.80}",
        remedy=remedy or "docs/python.md has what every function takes",
    )
