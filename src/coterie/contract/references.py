"""Copies reference values from a file into a contract, which then holds all that is trusted.

The builder of the program publishes its measurements as one small JSON object:

    {"format": 1, "tee": "sgx", "values": {"mrenclave": ["..."]}}

``values`` holds only those keys of ``[trust.roles.ROLE]`` that identify the program. The parties
decide which platforms are acceptable. Nodes do not read the file, so its storage need not be
trusted. Its digest stands beside the values, as a comment.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coterie.contract.loading import parse_contract
from coterie.contract.trust import RoleTrust
from coterie.errors import ContractInvalid
from coterie.files import read_bounded
from coterie.kinds import Role

MAX_BYTES = 1 << 18
KEYS = (
    "mrenclave",
    "mrsigner",
    "isv_prod_id",
    "minimum_isv_svn",
    "mrtd",
    "rtmr0",
    "rtmr1",
    "rtmr2",
    "rtmr3",
    "td_attributes",
    "xfam",
)
_COMMENT = "# Reference values from "
_KEY = re.compile(r"""\s*["']?([a-z0-9_]+)["']?\s*=""")


@dataclass(frozen=True)
class References:
    """Reference values in a file.

    Attributes:
        name: The file's name, for people.
        digest: SHA-256 of the file, 32 bytes.
        tee: Kind of TEE that they are for.
        values: The values by key of a role's table: lists of text, text, or integers.
    """

    name: str
    digest: bytes
    tee: str
    values: dict[str, object]


def read_references(path: Path) -> References:
    """Reads a file of reference values.

    Raises:
        ContractInvalid: It cannot be read, is too large, or has another form.
    """
    try:
        text = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise _invalid(path, error.strerror or str(error)) from error
    if len(text) > MAX_BYTES:
        raise _invalid(path, f"more than {MAX_BYTES} bytes")
    try:
        found: object = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, str(error)[:200]) from error
    if not isinstance(found, dict) or found.keys() != {"format", "tee", "values"}:
        raise _invalid(path, "other keys, or no object")
    values, tee = found["values"], found["tee"]
    if found["format"] != 1 or not isinstance(tee, str) or not isinstance(values, dict):
        raise _invalid(path, "another format, or values of other types")
    if unknown := sorted(set(values) - set(KEYS)):
        raise _invalid(path, f"the key {unknown[0][:60]!r}, which says not which program is meant")
    if not values:
        raise _invalid(path, "no values")
    try:
        RoleTrust.model_validate(values)
    except ValueError as error:
        raise _invalid(path, " ".join(str(error).split())[:300]) from error
    return References(path.name, hashlib.sha256(text).digest(), tee, values)


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


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _not_editable(source: str, role: Role) -> ContractInvalid:
    return ContractInvalid(
        f"the contract {source} cannot be changed line by line",
        expected=f"a table [trust.roles.{role}] with one key a line",
        seen="another way to write it",
        remedy=f"write the table as [trust.roles.{role}], or put the values in by hand",
    )


def _invalid(path: Path, seen: str) -> ContractInvalid:
    return ContractInvalid(
        f"{path} is no file of reference values",
        expected=f'JSON of at most {MAX_BYTES} bytes: {{"format": 1, "tee": ..., "values": {{...}}}}',
        seen=seen,
        remedy="see docs/contract.md, Reference values",
    )
