"""Reads a launch endorsement. Nothing of it is trusted before ``signature.py`` has verified it.

Fields that are not known are ignored: the publisher adds some from time to time, and what is signed
still says that a measurement is its firmware's. What is known has its form, or the document is refused.

Source: proto/endorsement.proto of Google's gce-tcb-verifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from google.protobuf.message import DecodeError

from coterie.attestation.endorsed.launch_endorsement_pb2 import (
    SignedEndorsement,
    SnpFirmware,
    Statement,
    TdxFirmware,
)
from coterie.errors import EvidenceRefused

MAX_DOCUMENT_BYTES = 1 << 17
MAX_MEASUREMENTS = 1024
MAX_CERTIFICATE_BYTES = 1 << 13
MAX_ISSUERS_BYTES = 1 << 14
MEASUREMENT_BYTES = 48
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = 253_402_300_799  # end of the year 9999
_COMMIT_BYTES = (0, 20, 32)

_malformed = partial(
    EvidenceRefused,
    "endorsement_format",
    "the launch endorsement is malformed",
    remedy="fetch it again: coterie attest endorsements",
)


@dataclass(frozen=True)
class Firmware:
    """What a document says of the firmware in one kind of TEE.

    Attributes:
        svn: Its security version.
        measured: Launch measurements (48 bytes), each with the size of the machine that has it: GiB
            of memory for TDX, virtual processors for SEV-SNP.
    """

    svn: int
    measured: tuple[tuple[int, bytes], ...]

    def sizes_of(self, measurement: bytes) -> tuple[int, ...]:
        """Sizes of the machines that have a measurement; none if it is not the firmware's."""
        return tuple(size for size, value in self.measured if value == measurement)


@dataclass(frozen=True)
class LaunchEndorsement:
    """One document, read but not verified.

    Attributes:
        statement: What is signed.
        signature: The signature over it.
        issued: Time of issue.
        changelist: From which the firmware was built; 0 if it is not said.
        commit: From which it was built; empty if it is not said.
        certificate: The signer's certificate, DER.
        issuers: Certificates of its issuers, PEM, the root first.
        snp: The firmware in SEV-SNP, if the document has it.
        tdx: The firmware in TDX, if the document has it.
    """

    statement: bytes
    signature: bytes
    issued: datetime
    changelist: int
    commit: bytes
    certificate: bytes
    issuers: str
    snp: Firmware | None
    tdx: Firmware | None


def read_endorsement(data: bytes) -> LaunchEndorsement:
    """Reads a document strictly within its bounds.

    Raises:
        EvidenceRefused: It is no launch endorsement (check ``endorsement_format``).
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise _malformed(f"at most {MAX_DOCUMENT_BYTES} bytes", f"{len(data)} bytes")
    try:
        outer = SignedEndorsement.FromString(data)
        said = Statement.FromString(outer.statement)
    except DecodeError as error:
        raise _malformed("a signed statement in protobuf", "other bytes") from error
    for name, value, most in (
        ("certificate", said.certificate, MAX_CERTIFICATE_BYTES),
        ("issuers", said.issuers, MAX_ISSUERS_BYTES),
    ):
        if not 0 < len(value) <= most:
            raise _malformed(f"{name} of 1 to {most} bytes", f"{len(value)} bytes")
    if not 0 <= said.issued.seconds <= _LAST_SECOND or not said.HasField("issued"):
        raise _malformed("a time of issue", f"{said.issued.seconds} s")
    if len(said.commit) not in _COMMIT_BYTES:
        raise _malformed("a commit of 20 or 32 bytes, or none", f"{len(said.commit)} bytes")
    if not said.issuers.isascii():
        raise _malformed("issuers in PEM", "bytes that are not ASCII")
    return LaunchEndorsement(
        statement=outer.statement,
        signature=outer.signature,
        issued=_EPOCH + timedelta(seconds=said.issued.seconds),
        changelist=said.changelist,
        commit=said.commit,
        certificate=said.certificate,
        issuers=said.issuers.decode("ascii"),
        snp=_in_snp(said.snp) if said.HasField("snp") else None,
        tdx=_in_tdx(said.tdx) if said.HasField("tdx") else None,
    )


def _in_snp(said: SnpFirmware) -> Firmware:
    return _firmware(said.svn, tuple((one.vcpus, one.measurement) for one in said.measurements))


def _in_tdx(said: TdxFirmware) -> Firmware:
    return _firmware(said.svn, tuple((one.ram_gib, one.mrtd) for one in said.measurements))


def _firmware(svn: int, measured: tuple[tuple[int, bytes], ...]) -> Firmware:
    if len(measured) > MAX_MEASUREMENTS:
        raise _malformed(f"at most {MAX_MEASUREMENTS} measurements", f"{len(measured)}")
    for _, value in measured:
        if len(value) != MEASUREMENT_BYTES:
            raise _malformed(f"measurements of {MEASUREMENT_BYTES} bytes", f"{len(value)} bytes")
    return Firmware(svn, measured)
