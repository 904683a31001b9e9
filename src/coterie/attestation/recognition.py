"""Tells what evidence claims to be by its first bytes, so that only the code of that kind reads it.

Nothing is parsed here, and nothing is proved. Which kinds a contract lists is known before evidence
comes, and what begins like evidence of another kind is refused for that (``evidence.py``).
"""

from __future__ import annotations

import struct
from typing import Literal

from coterie.kinds import OF_SNP, OF_VTPM, TeeKind

# What is read by the same code, whether real or simulated.
Family = Literal["dcap", "snp", "vtpm-dcap", "vtpm-snp"]

MAGIC = b"COTVTPM\1"
REPORT_DATA_BYTES = 64
MAX_HARDWARE_BYTES = 1 << 16
_SIZE_BYTES = 4
_HEADER = struct.Struct("<HH")
_SNP_LEAST = 24
_DCAP_VERSIONS = range(2, 6)


def family_of(kind: TeeKind) -> Family:
    """The family of a kind of TEE."""
    if kind in OF_VTPM:
        return "vtpm-snp" if kind in OF_SNP else "vtpm-dcap"
    return "snp" if kind in OF_SNP else "dcap"


def claimed_family(data: bytes) -> Family | None:
    """The family that evidence begins like; None if it begins like none."""
    above = is_vtpm(data)
    hardware = data[len(MAGIC) + REPORT_DATA_BYTES + _SIZE_BYTES :] if above else data
    if is_snp(hardware):
        return "vtpm-snp" if above else "snp"
    if is_dcap(hardware):
        return "vtpm-dcap" if above else "dcap"
    return None


def is_vtpm(data: bytes) -> bool:
    """Whether evidence begins like that of a virtual TPM."""
    return data.startswith(MAGIC)


def is_snp(data: bytes) -> bool:
    """Whether evidence begins like an SNP report, whose version has four bytes.

    The second two of a DCAP quote name the type of its key, which is never 0.
    """
    return len(data) > _SNP_LEAST and data[2:4] == b"\0\0"


def is_dcap(data: bytes) -> bool:
    """Whether evidence begins like a DCAP quote: its version, and a type of key."""
    if len(data) < _HEADER.size:
        return False
    version, key_type = _HEADER.unpack_from(data)
    return version in _DCAP_VERSIONS and key_type != 0
