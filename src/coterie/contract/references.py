"""Copies reference values from a file into a contract, which then holds all that is trusted.

The builder of the program publishes its measurements as one small JSON object:

    {"format": 1, "tee": "sgx", "values": {"mrenclave": ["..."]}}

``values`` holds only those keys of ``[trust.roles.ROLE]`` that identify the program, and for SNP and
virtual TPMs objects ``snp`` and ``vtpm`` with keys of these tables. The parties decide which
platforms are acceptable. Nodes do not read the file, so its storage need not be trusted. Its digest
stands beside the values, as a comment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from coterie.canonical import each_name_once
from coterie.contract.trust import RoleTrust
from coterie.errors import ContractInvalid
from coterie.files import read_bounded

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
# Of the tables for SNP and for virtual TPMs.
KEYS_WITHIN = {
    "snp": (
        "launch_measurement",
        "guest_policy",
        "vmpl",
        "minimum_guest_svn",
        "family_id",
        "image_id",
        "id_key_digest",
        "author_key_digest",
    ),
    "vtpm": ("pcrs",),
}


@dataclass(frozen=True)
class References:
    """Reference values in a file.

    Attributes:
        name: The file's name, for people.
        digest: SHA-256 of the file, 32 bytes.
        tee: Kind of TEE that they are for.
        values: The values by key of a role's table: lists of text, text, integers, or tables.
    """

    name: str
    digest: bytes
    tee: str
    values: dict[str, object]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all values, such as ``mrenclave`` or ``vtpm.pcrs``."""
        return tuple(
            key
            for name, value in self.values.items()
            for key in ([f"{name}.{one}" for one in value] if isinstance(value, dict) else [name])
        )

    def within(self, table: str) -> dict[str, object]:
        """The values for ``snp`` or ``vtpm``; empty if there are none."""
        found = self.values.get(table, {})
        assert isinstance(found, dict)  # as it was read
        return found


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
        found: object = json.loads(text, object_pairs_hook=each_name_once)
    except (ValueError, RecursionError) as error:
        raise _invalid(path, str(error)[:200]) from error
    if not isinstance(found, dict) or found.keys() != {"format", "tee", "values"}:
        raise _invalid(path, "other keys, or no object")
    values, tee = found["values"], found["tee"]
    if found["format"] != 1 or not isinstance(tee, str) or not isinstance(values, dict):
        raise _invalid(path, "another format, or values of other types")
    if not values:
        raise _invalid(path, "no values")
    _check_keys(path, values, (*KEYS, *KEYS_WITHIN))
    for name, keys in KEYS_WITHIN.items():
        within = values.get(name, {})
        if not isinstance(within, dict) or (name in values and not within):
            raise _invalid(path, f"{name} is no object, or has no values")
        _check_keys(path, within, keys)
    try:
        RoleTrust.model_validate(values)
    except ValueError as error:
        raise _invalid(path, " ".join(str(error).split())[:300]) from error
    return References(path.name, hashlib.sha256(text).digest(), tee, values)


def _check_keys(path: Path, found: dict[str, object], known: Collection[str]) -> None:
    if unknown := sorted(set(found) - set(known)):
        raise _invalid(path, f"the key {unknown[0][:60]!r}, which says not which program is meant")


def _invalid(path: Path, seen: str) -> ContractInvalid:
    return ContractInvalid(
        f"{path} is no file of reference values",
        expected=f'JSON of at most {MAX_BYTES} bytes: {{"format": 1, "tee": ..., "values": {{...}}}}',
        seen=seen,
        remedy="see docs/contract.md, Reference values",
    )
