"""The contract's keys as tables, from the schema: types, defaults and bounds as pydantic has them.

Meanings are the sections' docstrings, so that a key is explained where it is defined.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from inspect import getdoc
from typing import Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from coterie.address import Address
from coterie.contract import Contract
from coterie.contract.layers import ACTIVATIONS, LAYERS
from coterie.contract.section import Section

_HEAD = "| Key | Type | Default | Bounds | Meaning |\n|---|---|---|---|---|\n"
_HEX = re.compile(r"^\^\[0-9a-f\]\{(\d+)\}\$$")
# Patterns with a name of their own; others are shown as they are.
_PATTERNS = {
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$": (
        "name",
        "a DNS label: 1 to 63 of `a-z`, `0-9`, `-`; no `-` at either end",
    ),
    r"^[A-Za-z][A-Za-z0-9_]{0,63}$": (
        "name",
        "1 to 64 of letters, digits and `_`, a letter first",
    ),
    r"^ed25519:[0-9a-f]{64}$": ("text", "`ed25519:` and 64 lower-case hex digits"),
    r"^[A-Za-z][A-Za-z0-9_]{0,63}/[a-z_]{1,32}$": ("text", "`LAYER/VARIABLE`"),
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$": (
        "text",
        "a UTC time, in this form only",
    ),
    r"^[\x21-\x7e][\x20-\x7e]{0,127}$": ("text", "1 to 128 characters of ASCII, no space first"),
    r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$": ("text", "`MAJOR.MINOR.BUILD`"),
    r"^([0-9]|1[0-9]|2[0-3])$": ("text", "names from `0` to `23`"),
    r"^[\x21-\x7e]{1,200}$": ("text", "names of 1 to 200 characters of ASCII, no space"),
    r"^INTEL-(SA|DOC)-[0-9]{5}$": ("text", "`INTEL-SA-` or `INTEL-DOC-` and 5 digits"),
}


def sections(start: type[Section] = Contract) -> list[type[Section]]:
    """The contract's sections, in the order in which a reader meets them."""
    found = [start]
    for field in start.model_fields.values():
        for kind in _kinds(field.annotation):
            if isinstance(kind, type) and issubclass(kind, Section) and kind is not start:
                found += [one for one in sections(kind) if one not in found]
    return found


def table(section: type[Section]) -> str:
    """A section's keys as a Markdown table."""
    meanings = meanings_of(section)
    lines = [
        f"| `{name}` | {_type(field)} | {_default(field)} | {_bounds(field)} | {meanings[name]} |\n"
        for name, field in section.model_fields.items()
    ]
    return _HEAD + "".join(lines)


def layers() -> str:
    """The Keras layers that a contract's own model may be built of, and their options."""
    lines = [
        f"| `{kind}` | {', '.join(f'`{name}`' for name in sorted(rule.options)) or 'none'} |\n"
        for kind, rule in sorted(LAYERS.items())
    ]
    activations = ", ".join(f"`{name}`" for name in sorted(ACTIVATIONS))
    return "| Kind | Options |\n|---|---|\n" + "".join(lines) + f"\nActivations: {activations}.\n"


def meanings_of(section: type[Section]) -> dict[str, str]:
    """What each key means: the docstring's ``Attributes``, as one line of Markdown.

    Raises:
        KeyError: The docstring does not explain a key.
    """
    _, _, text = (getdoc(section) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"    ([a-z_0-9]+): (.*)$", line):
            name = match.group(1)
            found[name] = match.group(2)
        elif name:
            found[name] += f" {line.strip()}"
    missing = set(section.model_fields) - set(found)
    if missing:
        raise KeyError(f"{section.__name__} does not explain {', '.join(sorted(missing))}")
    return {name: _markdown(said) for name, said in found.items()}


def _markdown(text: str) -> str:
    words = " ".join(text.replace("``", "`").split()).removesuffix(".")
    return re.sub(r"\|", r"\\|", words)


def _kinds(annotation: object) -> Iterator[object]:
    """A type and all that it is made of."""
    yield annotation
    if get_origin(annotation) is not Literal:
        for inner in get_args(annotation):
            yield from _kinds(inner)


def _constraints(annotation: object, metadata: list[object]) -> Iterator[object]:
    """The constraints on a value itself, then on its entries."""
    for one in metadata:
        yield from getattr(one, "metadata", [one]) if isinstance(one, FieldInfo) else [one]
    yield from _inner_constraints(annotation)


def _inner_constraints(annotation: object) -> Iterator[object]:
    for one in getattr(annotation, "__metadata__", ()):
        yield from one.metadata if isinstance(one, FieldInfo) else [one]
    if get_origin(annotation) is not Literal:
        for inner in get_args(annotation):
            yield from _inner_constraints(inner)


def constraints_of(field: FieldInfo) -> list[object]:
    """Everything that bounds a key or its entries."""
    return list(_constraints(field.annotation, list(field.metadata)))


def _pattern(field: FieldInfo) -> str | None:
    for one in constraints_of(field):
        pattern = getattr(one, "pattern", None)
        if isinstance(pattern, str):
            return pattern
    return None


def _type(field: FieldInfo) -> str:
    return _type_of(field.annotation, _pattern(field))


def _type_of(annotation: object, pattern: str | None) -> str:  # noqa: PLR0911 (one per kind)
    origin, inner = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _type_of(inner[0], pattern)
    if origin in {Union, types.UnionType}:
        words = [_type_of(one, pattern) for one in inner if one is not type(None)]
        return " or ".join(dict.fromkeys(words))
    if origin is Literal:
        *first, last = (f"`{json.dumps(choice)}`" for choice in inner)
        return f"{', '.join(first)} or {last}" if first else last
    if origin in {tuple, list}:
        return f"list of {_plural(_type_of(inner[0], pattern))}"
    if origin is dict:
        word = _type_of(inner[1], None)
        return "table" if " or " in word else f"table of {_plural(word)}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "table"
    if annotation is str and pattern is not None:
        return "hex" if _HEX.match(pattern) else _PATTERNS.get(pattern, ("text", ""))[0]
    names = {bool: "boolean", int: "integer", float: "number", str: "text", Address: "text"}
    return next(word for kind, word in names.items() if annotation is kind)


def _plural(word: str) -> str:
    if word.startswith("list of "):
        return f"lists of {word.removeprefix('list of ')}"
    return f"{word}s" if word in {"name", "integer", "number", "table"} else word


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: object = field.default
    if value is None:
        return "none"
    if isinstance(value, Section):
        return "all defaults"
    if isinstance(value, tuple):
        value = list(value)
        if len(value) > 10:
            return f'`["{value[0]}", ..., "{value[-1]}"]`'
    return f"`{json.dumps(value)}`"


def _bounds(field: FieldInfo) -> str:
    lengths: dict[str, int] = {}
    numbers: dict[str, float] = {}
    for one in constraints_of(field):
        match one:
            case annotated_types.MinLen(min_length=bound):
                lengths["least"] = bound
            case annotated_types.MaxLen(max_length=bound):
                lengths["most"] = bound
            case (
                annotated_types.Ge()
                | annotated_types.Gt()
                | annotated_types.Le()
                | annotated_types.Lt()
            ):
                name = type(one).__name__.lower()
                numbers[name] = getattr(one, name)
            case _:
                pass
    of_many = any(get_origin(kind) in {tuple, dict} for kind in _kinds(field.annotation))
    parts = []
    if lengths:
        what = "entries" if of_many else "characters"
        least = f"{lengths['least']} to" if "least" in lengths else "at most"
        parts.append(f"{least} {lengths['most']} {what}")
    if numbers:
        parts.append(_range(numbers) + (" each" if of_many else ""))
    if (pattern := _pattern(field)) is not None and not numbers:
        digits = _HEX.match(pattern)
        words = f"{digits.group(1)} digits" if digits else _PATTERNS.get(pattern, ("", ""))[1]
        parts.append((words or f"`{pattern}`") + (" each" if of_many else ""))
    return ", ".join(parts)


def _range(bounds: dict[str, float]) -> str:
    least = _number(bounds["ge"]) if "ge" in bounds else None
    above = _number(bounds["gt"]) if "gt" in bounds else None
    most = _number(bounds["le"]) if "le" in bounds else None
    below = _number(bounds["lt"]) if "lt" in bounds else None
    if least is not None and (most or below):
        return f"{least} to {most}" if most else f"{least} to below {below}"
    low = f"at least {least}" if least is not None else f"above {above}" if above else ""
    high = f"at most {most}" if most else f"below {below}" if below else ""
    return ", ".join(part for part in (low, high) if part)


def _number(value: float) -> str:
    powers = {2**40: "2^40", 2**63: "2^63"}
    if isinstance(value, int) or value.is_integer():
        return powers.get(int(value), str(int(value)))
    return f"{value:g}"
