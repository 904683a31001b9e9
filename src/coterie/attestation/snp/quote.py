"""SNP evidence as one string of bytes: the report, then the certificates of the key that signed it.

AMD's report brings no certificates along. Evidence does, as a DCAP quote does, so that a verifier can
tell genuine evidence before it looks anything up. They follow the report in the table that a host
gives its guests: in one order, without gaps, so that there is one encoding of a chain.

Source: SEV-ES Guest-Hypervisor Communication Block Standardization (56421), 4.1.8.1, MSG_REPORT_REQ.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from coterie.attestation.snp.certificates import (
    MAX_CERTIFICATE_BYTES,
    Chain,
    read_certificate,
)
from coterie.attestation.snp.products import PRODUCTS, SnpLine
from coterie.attestation.snp.report import REPORT_BYTES, SnpReport, parse_report
from coterie.attestation.snp.roots import SIMULATED_PREFIX
from coterie.errors import EvidenceRefused
from coterie.kinds import SigningKey, TeeKind

MAX_TABLE_BYTES = 1 << 15
MAX_ENTRIES = 16
VCEK = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
CA = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")  # the ASK, and the ASVK, too
ROOT = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
LEAVES: dict[SigningKey, UUID] = {"vcek": VCEK, "vlek": VLEK}

_ENTRY = struct.Struct("<16sII")
_END = bytes(_ENTRY.size)
_CHAIN_LENGTH = 3
MAX_EVIDENCE_BYTES = (
    REPORT_BYTES + (_CHAIN_LENGTH + 1) * _ENTRY.size + _CHAIN_LENGTH * MAX_CERTIFICATE_BYTES
)

_refused = partial(
    EvidenceRefused,
    "quote_format",
    "the SNP evidence is malformed",
    remedy="make it with coterie: the report, then the table of its signing key's certificates",
)


@dataclass(frozen=True)
class SnpQuote:
    """SNP evidence with checked framing; its signatures are not checked yet.

    Attributes:
        report: The report.
        chain: Certificates of the signing key, of its CA, of the root.
        canonical: The evidence as it came.
    """

    report: SnpReport
    chain: Chain
    canonical: bytes

    @property
    def version(self) -> int:
        """Version of the report."""
        return self.report.version

    @property
    def report_data(self) -> bytes:
        """The program's data in the report, 64 bytes."""
        return self.report.report_data

    @property
    def simulated(self) -> bool:
        """Whether it claims to be from the simulated vendor."""
        return self.chain[-1].common_name.startswith(SIMULATED_PREFIX)

    @property
    def kind(self) -> TeeKind:
        """The kind of TEE that it claims to be from."""
        return "simulated-snp" if self.simulated else "snp"

    @property
    def measurements(self) -> tuple[tuple[str, str], ...]:
        """Names and values of what the report says of the guest."""
        return self.report.measurements

    @property
    def hardware(self) -> SnpQuote:
        """Itself."""
        return self

    def platform(self) -> SnpLine:
        """Reads which collateral it needs.

        Raises:
            EvidenceRefused: Its CA is of no product line that is known (check ``vek_chain_role``).
        """
        name = self.chain[1].common_name
        product = next((product for product in PRODUCTS if name.endswith(f"-{product}")), None)
        if product is None:
            raise EvidenceRefused(
                "vek_chain_role",
                "the CA of the SNP signing key names no product line that is known",
                expected=" or ".join(PRODUCTS),
                seen=name or "a CA without a name",
                remedy="update Coterie, or do not use this platform",
            )
        return SnpLine(product.lower(), self.report.signing_key)


def parse_snp_quote(data: bytes) -> SnpQuote:
    """Parses a report followed by a table of exactly its signing key's certificates.

    Raises:
        EvidenceRefused: It is not of that form (check ``quote_format``).
    """
    if len(data) > MAX_EVIDENCE_BYTES:
        raise _refused(expected=f"at most {MAX_EVIDENCE_BYTES} bytes", seen=f"{len(data)} bytes")
    report = parse_report(data[:REPORT_BYTES])
    entries = read_table(data[REPORT_BYTES:])
    wanted = (LEAVES[report.signing_key], CA, ROOT)
    if tuple(name for name, _ in entries) != wanted:
        raise _refused(
            expected=f"certificates of {report.signing_key.upper()}, its CA and the root",
            seen=", ".join(str(name) for name, _ in entries) or "no certificates",
        )
    if encode_table(entries) != data[REPORT_BYTES:]:
        raise _refused(
            expected="a table without gaps and without bytes after it", seen="another layout"
        )
    leaf, ca, root = (read_certificate(der) for _, der in entries)
    return SnpQuote(report, (leaf, ca, root), data)


def encode_snp_quote(report: bytes, key: SigningKey, chain: Sequence[bytes]) -> bytes:
    """The evidence of a report and its signing key's chain, as `parse_snp_quote` reads it.

    Args:
        report: The report.
        key: The kind of key that signed it.
        chain: Certificates in DER: the signing key's, its CA's, the root's.
    """
    return report + encode_table(list(zip((LEAVES[key], CA, ROOT), chain, strict=True)))


def encode_table(entries: Sequence[tuple[UUID, bytes]]) -> bytes:
    """A table of certificates: entries, an empty one, then the certificates one after the other."""
    place = (len(entries) + 1) * _ENTRY.size
    head = b""
    for name, der in entries:
        head += _ENTRY.pack(name.bytes, place, len(der))
        place += len(der)
    return head + _END + b"".join(der for _, der in entries)


def read_table(data: bytes) -> list[tuple[UUID, bytes]]:
    """Reads a table of certificates in any order, as hosts give it.

    Raises:
        EvidenceRefused: It is too large, or an entry points out of it (check ``quote_format``).
    """
    if len(data) > MAX_TABLE_BYTES:
        raise _refused(
            expected=f"certificates of at most {MAX_TABLE_BYTES} bytes", seen=f"{len(data)} bytes"
        )
    entries: list[tuple[UUID, bytes]] = []
    if not data:
        return entries
    for position in range(0, (MAX_ENTRIES + 1) * _ENTRY.size, _ENTRY.size):
        entry = data[position : position + _ENTRY.size]
        if entry == _END:
            return entries
        if len(entry) < _ENTRY.size:
            break
        name, place, size = _ENTRY.unpack(entry)
        if place + size > len(data):
            raise _refused(
                expected=f"certificates within {len(data)} bytes", seen=f"{size} bytes at {place}"
            )
        entries.append((UUID(bytes=name), data[place : place + size]))
    raise _refused(
        expected=f"a table of at most {MAX_ENTRIES} entries that ends with an empty one",
        seen="no end",
    )
