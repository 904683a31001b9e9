"""Reads contracts from TOML files and canonical JSON, with errors that name key and remedy."""

from __future__ import annotations

import codecs
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from coterie.contract.problems import invalid
from coterie.contract.schema import Contract
from coterie.errors import ContractInvalid
from coterie.files import read_bounded

MAX_CONTRACT_BYTES = 1 << 20


def load_contract(path: Path) -> Contract:
    """Reads and checks a contract.

    Raises:
        ContractInvalid: The file cannot be read, is not TOML, or breaks the schema.

    A file with suffix ``.json`` holds the canonical form, as in a run's directory.
    """
    try:
        text = read_bounded(path, MAX_CONTRACT_BYTES)
    except OSError as error:
        within = path / "contract.json"
        raise ContractInvalid.unreadable(
            f"the contract {path}",
            error,
            "a TOML file, or the contract.json of a run",
            f"name {within}" if within.is_file() else "check the path; examples are in examples/",
        ) from error
    if path.suffix == ".json":
        return contract_from_json(text, str(path))
    return parse_contract(text, str(path))


def parse_contract(text: bytes, source: str) -> Contract:
    """Parses and checks a contract's TOML text.

    Args:
        text: The file's bytes.
        source: Its name, for errors.

    Raises:
        ContractInvalid: The text is not TOML, is too large, or breaks the schema.
    """
    if len(text) > MAX_CONTRACT_BYTES:
        raise ContractInvalid.too_large(
            f"the contract {source}",
            MAX_CONTRACT_BYTES,
            "a contract holds settings only; data belongs under --data",
        )
    try:
        value = tomllib.loads(text_of(text, f"the contract {source}"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError
        raise ContractInvalid(
            f"the contract {source} is not valid TOML",
            expected="TOML 1.0, UTF-8",
            seen=str(error),
            remedy="mend the line that is named",
        ) from error
    return _validate(value, source)


def text_of(octets: bytes, what: str) -> str:
    """Decodes a file that people write: UTF-8, with or without a byte-order mark.

    Args:
        octets: The file's bytes.
        what: Description of the file, for errors.

    Raises:
        ContractInvalid: It is in another encoding.
    """
    try:
        return octets.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        marked = octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        raise ContractInvalid(
            f"{what} is no text in UTF-8",
            expected="UTF-8",
            seen="UTF-16" if marked else f"byte 0x{octets[error.start]:02x} on line {line}",
            remedy="save the file in UTF-8",
        ) from error


def contract_from_json(text: bytes, source: str) -> Contract:
    """Parses and checks a contract in canonical form, for instance a peer's.

    Raises:
        ContractInvalid: The text is not JSON, is too large, or breaks the schema.
    """
    if len(text) > MAX_CONTRACT_BYTES:
        raise ContractInvalid(
            f"the contract from {source} is larger than {MAX_CONTRACT_BYTES} bytes"
        )
    try:
        value = json.loads(text.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError) as error:
        raise ContractInvalid(f"the contract from {source} is not JSON", seen=str(error)) from error
    return _validate(value, source)


def with_section(contract: Contract, name: str, section: Mapping[str, object]) -> Contract:
    """A contract with one section replaced, given as JSON values; checked as a whole.

    Raises:
        ContractInvalid: The section does not fit the contract.
    """
    value = {**contract.model_dump(mode="json"), name: dict(section)}
    return _validate(value, contract.name)


def _validate(value: object, source: str) -> Contract:
    try:
        return Contract.model_validate(value)
    except ValidationError as error:
        raise invalid(f"the contract {source}", error) from error
