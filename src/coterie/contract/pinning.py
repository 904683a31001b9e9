"""Writes reference values into a contract's text, line by line, so that people's comments stay."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator

from coterie.contract.loading import parse_contract
from coterie.contract.references import KEYS, References
from coterie.errors import ContractInvalid
from coterie.kinds import Role

_COMMENT = "# Reference values from "
_KEY = re.compile(r"""\s*["']?([a-z0-9_]+)["']?\s*=""")


def with_references(text: str, source: str, role: Role, references: References) -> str:
    """A contract's text with a role's reference values replaced; the rest is unchanged.

    Args:
        text: The contract, TOML.
        source: Its name, for errors.
        role: The role whose table is changed; every key that identifies a program is replaced.
        references: The new values.

    Raises:
        ContractInvalid: The contract is invalid, before or after; the values are for another kind of
            TEE; or the role's table is not written as ``[trust.roles.ROLE]``.
    """
    before = parse_contract(text.encode(), source)
    if references.tee != before.trust.tee:
        raise ContractInvalid(
            f"the reference values of {references.name} are for another TEE than the contract",
            expected=f"tee {before.trust.tee}",
            seen=f"tee {references.tee}"[:100],
            remedy="give the values of a build for the contract's TEE",
        )
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"\s*\[\s*trust\s*\.\s*roles\s*\.\s*{role}\s*\]\s*(#.*)?")
    start = next((i for i, line in enumerate(lines) if header.fullmatch(line.rstrip())), None)
    if start is None:
        raise _not_editable(source, role)
    end = len(lines)
    kept: list[str] = []
    for number, statement in _statements(lines, start + 1):
        if statement.lstrip().startswith("["):
            end = number
            break
        key = _KEY.match(statement)
        gone = key is not None and key[1] in {*KEYS, "measurement"}
        if not gone and not statement.startswith(_COMMENT):
            kept.append(statement)
    name = json.dumps(references.name)[1:-1]
    added = [f"{_COMMENT}{name}, SHA-256 {references.digest.hex()}\n"]
    added += [f"{key} = {json.dumps(value)}\n" for key, value in references.values.items()]
    after = "".join((*lines[: start + 1], *added, *kept, *lines[end:]))
    _check(text, after, source, role, references)
    parse_contract(after.encode(), source)
    return after


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


def _check(before: str, after: str, source: str, role: Role, references: References) -> None:
    """Compares the parsed texts: the edit of lines must have changed nothing else."""
    try:
        wanted, found = tomllib.loads(before), tomllib.loads(after)
        table = wanted["trust"]["roles"][role]
    except (ValueError, KeyError) as error:
        raise _not_editable(source, role) from error
    for key in (*KEYS, "measurement"):
        table.pop(key, None)
    table |= references.values
    if wanted != found:
        raise _not_editable(source, role)


def _not_editable(source: str, role: Role) -> ContractInvalid:
    return ContractInvalid(
        f"the contract {source} cannot be changed line by line",
        expected=f"a table [trust.roles.{role}] with one key a line",
        seen="another way to write it",
        remedy=f"write the table as [trust.roles.{role}], or put the values in by hand",
    )
