"""Evidence of a guest that a virtual TPM measures, as one string of bytes.

It holds the evidence of the hardware below, which binds the paravisor's runtime data and so the TPM's
key; the TPM's quote, signed by that key, and the values of the PCRs that it quotes; and the 64 bytes
that the guest's program says, whose SHA-256 the quote is over, since a TPM takes no more than 50
bytes where its largest digest is that of SHA-384. The report that the paravisor wrote beside its data
is left out for TDX: nobody outside of the platform can verify it, and the quote is made from it.

All parts have one encoding and one place: a mark that neither a DCAP quote nor an SNP report begins
with, the program's bytes, four parts with their lengths, and the PCRs in ascending order.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coterie.attestation.authentic import AnyPlatform
from coterie.attestation.recognition import (
    MAGIC,
    MAX_HARDWARE_BYTES,
    REPORT_DATA_BYTES,
    Family,
    claimed_family,
    is_vtpm,
)
from coterie.attestation.vtpm.runtime_data import MAX_RUNTIME_BYTES, RuntimeData
from coterie.attestation.vtpm.tpm_quote import MAX_QUOTE_BYTES, PCR_BYTES, TpmQuote
from coterie.errors import EvidenceRefused
from coterie.kinds import TeeKind

if TYPE_CHECKING:  # the code of one kind of hardware is loaded, not both
    from coterie.attestation.quote import Quote
    from coterie.attestation.snp.quote import SnpQuote

SIGNATURE_BYTES = 256
_SIZE = struct.Struct(">I")
_LIMITS = (MAX_HARDWARE_BYTES, MAX_RUNTIME_BYTES, MAX_QUOTE_BYTES, SIGNATURE_BYTES)

_refused = partial(
    EvidenceRefused,
    "quote_format",
    "the evidence of a virtual TPM is malformed",
    remedy="make it with coterie, on the guest whose virtual TPM it is",
)


@dataclass(frozen=True)
class VtpmQuote:
    """Evidence with checked framing; nothing in it is verified yet.

    Attributes:
        hardware: Evidence of the hardware below.
        runtime: The paravisor's runtime data.
        machine: The same, read.
        tpm: The TPM's quote.
        signature: Its signature.
        pcrs: The values of the quoted PCRs, by number.
        report_data: What the program says, 64 bytes.
        canonical: The evidence as it came.
    """

    hardware: SnpQuote | Quote
    runtime: bytes
    machine: RuntimeData
    tpm: TpmQuote
    signature: bytes
    pcrs: tuple[tuple[int, bytes], ...]
    report_data: bytes
    canonical: bytes

    @property
    def version(self) -> int:
        """Version of the hardware's evidence."""
        return self.hardware.version

    @property
    def kind(self) -> TeeKind:
        """The kind of TEE that it claims to be from."""
        above: dict[TeeKind, TeeKind] = {
            "snp": "azure-snp",
            "simulated-snp": "simulated-azure-snp",
            "tdx": "simulated-azure-tdx" if self.hardware.simulated else "azure-tdx",
        }
        return above[self.hardware.kind]

    @property
    def measurements(self) -> tuple[tuple[str, str], ...]:
        """Names and values of what hardware, paravisor and TPM say of the guest."""
        return (*self.hardware.measurements, *self.guest_measurements)

    @property
    def guest_measurements(self) -> tuple[tuple[str, str], ...]:
        """Names and values (hex, or a word) of what paravisor and TPM say of the guest."""
        key = self.machine.attestation_key.public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return (
            *((f"pcr{number}", value.hex()) for number, value in self.pcrs),
            ("secure_boot", word(self.machine.secure_boot)),
            ("console", word(self.machine.console)),
            ("attestation_key", hashlib.sha256(key).hexdigest()),
        )

    def platform(self) -> AnyPlatform:
        """Reads which collateral the hardware's evidence needs; raises as that does."""
        return self.hardware.platform()


def word(value: bool) -> str:  # noqa: FBT001 - what is said
    """Yes or no, as contracts write it."""
    return "true" if value else "false"


def qualifying_data(report_data: bytes) -> bytes:
    """What the TPM's quote is over."""
    return hashlib.sha256(report_data).digest()


def parse_vtpm_quote(data: bytes) -> VtpmQuote:
    """Parses evidence of a virtual TPM.

    Raises:
        EvidenceRefused: It, or the evidence of the hardware in it, is not of that form (check
            ``quote_format``), or a part is not (``runtime_data_format``, ``tpm_key``,
            ``tpm_quote_format``).
    """
    place = len(MAGIC) + REPORT_DATA_BYTES
    if not is_vtpm(data) or len(data) < place:
        raise _refused(expected="its mark and the program's 64 bytes", seen=f"{len(data)} bytes")
    report_data = data[len(MAGIC) : place]
    parts: list[bytes] = []
    for most in _LIMITS:
        start = place + _SIZE.size
        (size,) = _SIZE.unpack(data[place:start].rjust(_SIZE.size, b"\xff"))
        if size > most or start + size > len(data):
            raise _refused(expected=f"a part of at most {most} bytes", seen=f"{size} bytes")
        parts.append(data[start : start + size])
        place = start + size
    hardware = _hardware(parts[0], claimed_family(data))
    machine, tpm, signature = RuntimeData.parse(parts[1]), TpmQuote.parse(parts[2]), parts[3]
    values = data[place:]
    if len(signature) != SIGNATURE_BYTES or len(values) != PCR_BYTES * len(tpm.pcrs):
        raise _refused(
            expected=f"a signature of {SIGNATURE_BYTES} bytes and {len(tpm.pcrs)} PCRs",
            seen=f"{len(signature)} bytes, and {len(values)} for PCRs",
        )
    pcrs = tuple(
        (number, values[PCR_BYTES * i : PCR_BYTES * (i + 1)]) for i, number in enumerate(tpm.pcrs)
    )
    return VtpmQuote(hardware, parts[1], machine, tpm, signature, pcrs, report_data, data)


def encode_vtpm_quote(
    hardware: bytes,
    *,
    runtime: bytes,
    message: bytes,
    signature: bytes,
    pcrs: dict[int, bytes],
    report_data: bytes,
) -> bytes:
    """The evidence of its parts, as `parse_vtpm_quote` reads it.

    Args:
        hardware: Evidence of the hardware.
        runtime: The paravisor's runtime data.
        message: The TPM's quote.
        signature: Its signature.
        pcrs: The quoted PCRs, by number.
        report_data: What the program says, 64 bytes.
    """
    parts = (hardware, runtime, message, signature)
    framed = b"".join(_SIZE.pack(len(part)) + part for part in parts)
    return MAGIC + report_data + framed + b"".join(pcrs[number] for number in sorted(pcrs))


def _hardware(data: bytes, claimed: Family | None) -> SnpQuote | Quote:
    """Reads the hardware's evidence as what it was recognised as, so that a stranger loads no other code."""
    if claimed == "vtpm-snp":
        from coterie.attestation.snp.quote import parse_snp_quote

        return parse_snp_quote(data)
    if claimed != "vtpm-dcap":
        raise _refused(expected="evidence of SEV-SNP or a quote of TDX", seen=f"{len(data)} bytes")
    from coterie.attestation.quote import TEE_TDX, parse_quote

    quote = parse_quote(data)
    if quote.tee_type != TEE_TDX or quote.canonical != data:
        raise _refused(
            expected="evidence of SEV-SNP, or a quote of TDX without padding, its chain in plain PEM",
            seen="another quote, or another encoding of it",
        )
    return quote
