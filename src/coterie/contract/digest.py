"""Canonical form and digests of a contract, and the differences between two."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from coterie.canonical import canonical
from coterie.contract.data import DataSection
from coterie.contract.schema import Contract
from coterie.contract.section import Section

Scalar = str | int | float | bool | None
_ABSENT = "absent"


def canonical_json(contract: Contract) -> bytes:
    """The contract as canonical JSON (sorted keys, no spaces, defaults filled in), UTF-8.

    It does not depend on formatting, key order or the nodes' addresses.
    """
    return canonical(_canonical(contract))


def contract_digest(contract: Contract) -> bytes:
    """SHA-256 over a label and the canonical form; 32 bytes. Every claim carries it."""
    return agreed_digest(_canonical(contract))


def agreed_digest(agreed: object) -> bytes:
    """The digest of a contract as it was agreed, 32 bytes.

    Args:
        agreed: The parsed canonical form, as it was stored. A later version with more keys would
            fill in their defaults.
    """
    return hashlib.sha256(b"coterie contract 1\0" + canonical(agreed)).digest()


def data_digest(data: DataSection) -> bytes:
    """SHA-256 over a label and the canonical data section; 32 bytes. Prepared data carries it."""
    return hashlib.sha256(b"coterie data 1\0" + canonical(_dumped(data))).digest()


def label_of(table: Mapping[str, object], position: int) -> object:
    """What an entry of a list of tables is called: by its name, or its kind of TEE, if it has one."""
    return table.get("name") or table.get("tee") or position


def differences(mine: bytes, theirs: bytes) -> list[str]:
    """Names the values in which two canonical contracts differ.

    Args:
        mine: Canonical JSON of this node's contract.
        theirs: Canonical JSON of the peer's.

    Returns:
        Lines such as ``training.batch: 128 here, 256 there``.

    Raises:
        ValueError: One of them is not JSON.
    """
    try:
        here, there = (
            {key: _show(value) for key, value in _flatten(json.loads(text))}
            for text in (mine, theirs)
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return [
        f"{key}: {here.get(key, _ABSENT)[:120]} here, {there.get(key, _ABSENT)[:120]} there"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]


def _canonical(contract: Contract) -> object:
    nodes = [_dumped(node) for node in contract.nodes]
    for node in nodes:
        del node["address"]
    return {**_dumped(contract), "nodes": nodes}


def _dumped(section: Section) -> dict[str, object]:
    """A section as JSON, without keys of later versions that have their defaults."""
    known = type(section).model_fields
    return {
        name: _shown(getattr(section, name, None), plain)
        for name, plain in section.model_dump(mode="json").items()
        if name not in section.LATER or getattr(section, name) != known[name].default
    }


def _shown(item: object, plain: object) -> object:
    if isinstance(item, Section):
        return _dumped(item)
    if isinstance(item, tuple) and isinstance(plain, list):
        return [_shown(*pair) for pair in zip(item, plain, strict=True)]
    return plain


def _flatten(value: object, path: str = "") -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        labels = [
            label_of(item, i) if isinstance(item, dict) else i for i, item in enumerate(value)
        ]
        if labels != list(range(len(value))):
            yield f"{path} (order)", ", ".join(map(str, labels))
        for item, label in zip(value, labels, strict=True):
            yield from _flatten(item, f"{path}[{label}]")
    elif value is None or isinstance(value, str | int | float | bool):
        yield path, value


def _show(value: Scalar) -> str:
    return json.dumps(value, ensure_ascii=False)
