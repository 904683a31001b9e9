"""Writes reference values into a contract's text, line by line, so that people's comments stay.

A role's table of the kind of TEE that the values are for is changed: ``[trust.roles.ROLE]``, or one of
its ``alternatives``. Of the table itself every key that identifies a program is replaced, since one
takes the place of another. In the tables for SNP and virtual TPMs, where each key is one more demand,
what the file does not give stays.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from coterie.contract.loading import parse_contract
from coterie.contract.references import KEYS, References
from coterie.errors import ContractInvalid
from coterie.kinds import OF_VTPM, Role

_COMMENT = "# Reference values from "
_KEY = re.compile(r"""\s*["']?([a-z0-9_]+)["']?\s*=""")


@dataclass(frozen=True)
class _Edit:
    """Keys of one table that are taken out, and those that are put in.

    Attributes:
        table: The table below the one of the role and kind: empty, ``.snp``, ``.vtpm`` or
            ``.vtpm.pcrs``.
        gone: Keys that are taken out.
        values: Keys that are put in.
    """

    table: str
    gone: Collection[str]
    values: Mapping[str, object]


def with_references(text: str, source: str, role: Role, references: References) -> str:
    """A contract's text with a role's reference values replaced; the rest is unchanged.

    Args:
        text: The contract, TOML.
        source: Its name, for errors.
        role: The role whose table is changed.
        references: The new values.

    Raises:
        ContractInvalid: The contract is invalid, before or after; the values are for a kind of TEE that
            the role does not list; or the table is not written with a header of its own.
    """
    kinds = [str(kind) for kind in parse_contract(text.encode(), source).trust.tables(role)]
    if kinds and references.tee not in kinds:
        raise ContractInvalid(
            f"the reference values of {references.name} are for another TEE than the role {role}",
            expected=f"tee {' or '.join(kinds)}",
            seen=f"tee {references.tee}"[:100],
            remedy="give the values of a build for a TEE that the contract lists",
        )
    try:
        before = tomllib.loads(text)
        table = before["trust"]["roles"][role]
        place = _Place(role, kinds.index(references.tee))
        if place.position:
            table = table["alternatives"][place.position - 1]
        lines = f"{text}\n".splitlines(keepends=True)
        for edit in _edits(lines, place, table, references):
            lines = _edited(lines, place, edit, references)
        after = "".join(lines).removesuffix("\n")
        _replace(table, references)
        if before != tomllib.loads(after):  # the edit of lines must have changed nothing else
            raise _not_editable(source, role)
    except (ValueError, LookupError) as error:
        raise _not_editable(source, role) from error
    parse_contract(after.encode(), source)
    return after


@dataclass(frozen=True)
class _Place:
    """Where a table stands.

    Attributes:
        role: The role.
        position: Number of the table among the role's: its own is 0, its alternatives follow.
    """

    role: Role
    position: int

    def lines(self, lines: list[str]) -> tuple[int, int]:
        """The first line and the end of the part of the text that may hold it."""
        if not self.position:
            return 0, len(lines)
        starts = [i for i, line in enumerate(lines) if self._header("", "[[", "]]").match(line)]
        return starts[self.position - 1], [*starts, len(lines)][self.position]

    def find(self, lines: list[str], table: str) -> int | None:
        """The line of the header of a table; None if it has none."""
        start, end = self.lines(lines)
        if self.position and not table:
            return start
        header = self._header(table, "[", "]")
        return next((i for i in range(start, end) if header.match(lines[i])), None)

    def name(self, table: str) -> str:
        """The name of a table."""
        return f"trust.roles.{self.role}{'.alternatives' if self.position else ''}{table}"

    def _header(self, table: str, opening: str, closing: str) -> re.Pattern[str]:
        name = r"\s*\.\s*".join(self.name(table).split("."))
        return re.compile(rf"\s*{re.escape(opening)}\s*{name}\s*{re.escape(closing)}\s*(#.*)?$")


def _edits(
    lines: list[str], place: _Place, table: Mapping[str, object], references: References
) -> Iterator[_Edit]:
    own = {key: value for key, value in references.values.items() if key in KEYS}
    gone = {*KEYS} if own else set[str]()
    if _names_the_program(references) and "measurement" in table:
        gone.add("measurement")
    if gone:
        yield _Edit("", gone, own)
    if snp := references.within("snp"):
        yield _Edit(".snp", snp, snp)
    pcrs = _joined(table, references)
    if pcrs and place.find(lines, ".vtpm.pcrs") is not None:
        yield _Edit(".vtpm.pcrs", pcrs, pcrs)
    elif pcrs:
        yield _Edit(".vtpm", ("pcrs",), {"pcrs": pcrs})


def _names_the_program(references: References) -> bool:
    """Whether the values take the place of ``measurement``; above a paravisor, the TPM's do."""
    return references.tee not in OF_VTPM or "vtpm" in references.values


def _joined(table: Mapping[str, object], references: References) -> dict[str, object]:
    """The PCRs as they will be: those that the file does not give stay as they are."""
    given = references.within("vtpm").get("pcrs")
    vtpm = table.get("vtpm", {})
    before = vtpm.get("pcrs", {}) if isinstance(vtpm, dict) else {}
    return {**before, **given} if isinstance(given, dict) else {}


def _replace(table: dict[str, object], references: References) -> None:
    """Does to a parsed table what the edit of lines must do."""
    own = {key: value for key, value in references.values.items() if key in KEYS}
    pcrs = _joined(table, references)
    for key in KEYS if own else ():
        table.pop(key, None)
    if _names_the_program(references):
        table.pop("measurement", None)
    table |= own
    for name, values in (
        ("snp", references.within("snp")),
        ("vtpm", {"pcrs": pcrs} if pcrs else {}),
    ):
        if values:
            before = table.get(name, {})
            table[name] = {**before, **values} if isinstance(before, dict) else values


def _edited(lines: list[str], place: _Place, edit: _Edit, references: References) -> list[str]:
    name = json.dumps(references.name)[1:-1]
    added = [f"{_COMMENT}{name}, SHA-256 {references.digest.hex()}\n"] if edit.values else []
    added += [f"{key} = {_toml(value)}\n" for key, value in edit.values.items()]
    start = place.find(lines, edit.table)
    if start is None:
        above = place.find(lines, "")
        if above is None:
            raise KeyError(place.name(""))
        end, _ = _body(lines, above, ())
        return [*lines[:end], f"[{place.name(edit.table)}]\n", *added, "\n", *lines[end:]]
    end, kept = _body(lines, start, edit.gone)
    return [*lines[: start + 1], *added, *kept, *lines[end:]]


def _body(lines: list[str], start: int, gone: Collection[str]) -> tuple[int, list[str]]:
    """The end of a table, and its statements without some keys and earlier comments of this module."""
    kept: list[str] = []
    for number, statement in _statements(lines, start + 1):
        if statement.lstrip().startswith("["):
            return number, kept
        key = _KEY.match(statement)
        if not (key is not None and key[1] in gone) and not statement.startswith(_COMMENT):
            kept.append(statement)
    return len(lines), kept


def _statements(lines: list[str], start: int) -> Iterator[tuple[int, str]]:
    """Line numbers and text of statements, comments and empty lines; a statement may span lines."""
    number = start
    while number < len(lines):
        size = 1
        while not _parses(statement := "".join(lines[number : number + size])):
            if statement.lstrip().startswith("[") or number + size >= len(lines):
                break
            size += 1
        yield number, statement
        number += size


def _parses(text: str) -> bool:
    try:
        tomllib.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _toml(value: object) -> str:
    """A value as TOML; JSON's lists, texts and numbers are TOML's."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    return json.dumps(value)


def _not_editable(source: str, role: Role) -> ContractInvalid:
    return ContractInvalid(
        f"the contract {source} cannot be changed line by line",
        expected=f"a table [trust.roles.{role}] with one key a line",
        seen="another way to write it",
        remedy=f"write the table as [trust.roles.{role}], or put the values in by hand",
    )
