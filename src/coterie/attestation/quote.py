"""Strict parser of DCAP quotes v3 (SGX) and v4, v5 (TDX): pure, bounded, unambiguous.

It refuses bytes that no signature covers and that a lenient parser would skip: lengths that do not
add up, bytes after the quote other than NUL padding, certification data other than a PCK chain
(type 5; inside type 6 in v4 and v5), and text around the chain. A chain with another line width or
with CRLF is accepted and converted to canonical form.

Sources: Intel SGX ECDSA Quote Library Reference, appendix A.4 (v3); Intel TDX DCAP Quoting Library
API, appendix A.3 (v4, v5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial

from cryptography import x509

from coterie.attestation import dcap
from coterie.attestation.names import common_name
from coterie.attestation.pem import PemMalformed, canonical_chain, parse_chain
from coterie.attestation.platforms import Platform, ca_of
from coterie.attestation.reports import (
    ENCLAVE_REPORT_BYTES,
    TD_REPORT_15_BYTES,
    TD_REPORT_15_EXTENDED_BYTES,
    TD_REPORT_BYTES,
    EnclaveReport,
    TdReport,
)
from coterie.attestation.roots import SIMULATED_NAMES
from coterie.errors import EvidenceRefused
from coterie.kinds import TeeKind

MAX_QUOTE_BYTES = 1 << 16
MAX_CHAIN_BYTES = 1 << 14
MAX_PADDING_BYTES = 8192
PCK_CHAIN_LENGTH = 3
HEADER_BYTES = 48
TEE_SGX, TEE_TDX = 0x00, 0x81
ECDSA_P256 = 2
INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

_QE_AUTH_BYTES = 32
_PCK_CHAIN, _QE_REPORT = 5, 6
_V5_BODIES = {2: TD_REPORT_BYTES, 3: TD_REPORT_15_BYTES, 4: TD_REPORT_15_EXTENDED_BYTES}


_refused = partial(
    EvidenceRefused,
    "quote_format",
    "the quote is malformed",
    remedy="make the quote with a DCAP quoting library that embeds the PCK chain",
)


@dataclass(frozen=True)
class QuoteProof:
    """The signatures in a quote, and what they cover.

    Attributes:
        signed: Header and body.
        signature: Signature of the attestation key over these: r and s, 32 bytes each.
        attestation_key: Point on P-256: x and y, 32 bytes each.
        qe_report: Report of the quoting enclave, 384 bytes.
        qe_signature: Signature of the PCK key over that report: r and s, 32 bytes each.
        qe_auth: Data that the report binds beside the attestation key.
    """

    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_signature: bytes
    qe_auth: bytes


@dataclass(frozen=True)
class Quote:
    """A quote with checked framing; its signatures are not checked yet.

    Attributes:
        version: 3 (SGX), 4 or 5 (TDX).
        tee_type: ``TEE_SGX`` or ``TEE_TDX``.
        qe_svn: Security version of the quoting enclave, as the header claims.
        pce_svn: Security version of the PCE, as the header claims.
        report: The signed body.
        qe_report: Report of the quoting enclave.
        pck_chain: PCK certificate, its CA, the root.
        pck_chain_pem: The same as canonical text.
        canonical: The quote without padding, its chain in canonical text; this form is verified,
            stored and sent on.
        proof: The signatures that bind its body to the PCK certificate.
    """

    version: int
    tee_type: int
    qe_svn: int
    pce_svn: int
    report: EnclaveReport | TdReport
    qe_report: EnclaveReport
    pck_chain: tuple[x509.Certificate, ...]
    pck_chain_pem: str
    canonical: bytes
    proof: QuoteProof

    @property
    def report_data(self) -> bytes:
        """The program's data in the report, 64 bytes."""
        return self.report.report_data

    @property
    def simulated(self) -> bool:
        """Whether it claims to be from the simulated vendor."""
        return common_name(self.pck_chain[-1].subject) == SIMULATED_NAMES.root

    @property
    def kind(self) -> TeeKind:
        """The kind of TEE that it claims to be from."""
        if self.tee_type == TEE_TDX:
            return "tdx"
        return "simulated" if self.simulated else "sgx"

    @property
    def measurements(self) -> tuple[tuple[str, str], ...]:
        """Names and values of its report's measurements."""
        return self.report.measurements

    @property
    def hardware(self) -> Quote:
        """Itself."""
        return self

    def platform(self) -> Platform:
        """Reads which collateral it needs.

        Raises:
            EvidenceRefused: The PCK certificate does not name its platform (check ``pck_extension``).
        """
        return Platform(
            tee="tdx" if self.tee_type == TEE_TDX else "sgx",
            fmspc=dcap.platform_identity(self.pck_chain_pem).fmspc.hex(),
            ca=ca_of(self.pck_chain[0]),
        )


def parse_quote(data: bytes) -> Quote:
    """Parses a quote.

    Args:
        data: The quote's bytes, at most ``MAX_QUOTE_BYTES``, with NUL padding after it or not.

    Raises:
        EvidenceRefused: The bytes are not a quote of the accepted form (check ``quote_format``).
    """
    if not isinstance(data, bytes):
        raise _refused("bytes", type(data).__name__)
    if len(data) > MAX_QUOTE_BYTES:
        raise _refused(f"at most {MAX_QUOTE_BYTES} bytes", f"{len(data)} bytes")
    reader = _Reader(data, "the quote")
    version, key_type, tee_type, qe_svn, pce_svn, vendor, _ = struct.unpack(
        "<HHIHH16s20s", reader.take(HEADER_BYTES)
    )
    if version not in {3, 4, 5}:
        raise _refused("quote version 3, 4 or 5", f"version {version}")
    if tee_type != (TEE_SGX if version == 3 else TEE_TDX):
        raise _refused("SGX in version 3, TDX in versions 4 and 5", f"TEE type {tee_type:#x}")
    if key_type != ECDSA_P256:
        raise _refused("attestation key type 2 (ECDSA P-256)", f"type {key_type}")
    if vendor != INTEL_QE_VENDOR:
        raise _refused("Intel's quoting enclave", f"vendor {vendor.hex()}")
    report = _read_report(reader, version)
    signed = data[: len(data) - len(reader.rest)]
    auth_size = reader.integer("<I")
    auth = _Reader(reader.take(auth_size), "the signature data")
    if len(reader.rest) > MAX_PADDING_BYTES or any(reader.rest):
        raise _refused("nothing but NUL padding after the quote", f"{len(reader.rest)} bytes")
    signature, attestation_key = auth.take(64), auth.take(64)
    certified = auth if version == 3 else auth.certification(_QE_REPORT)
    qe_report = certified.take(ENCLAVE_REPORT_BYTES)
    qe_signature = certified.take(64)
    if (size := certified.integer("<H")) != _QE_AUTH_BYTES:
        raise _refused(f"{_QE_AUTH_BYTES} bytes of QE authentication data", f"{size} bytes")
    qe_auth = certified.take(_QE_AUTH_BYTES)
    found = certified.certification(_PCK_CHAIN).rest
    pem, chain = _read_chain(found)
    unpadded = data[: len(data) - len(reader.rest)]
    lengths = [-auth_size - 4, -len(found) - 4]
    if version != 3:
        lengths.append(-auth_size + 128 + 2)
    return Quote(
        version=version,
        tee_type=tee_type,
        qe_svn=qe_svn,
        pce_svn=pce_svn,
        report=report,
        qe_report=EnclaveReport.parse(qe_report),
        pck_chain=chain,
        pck_chain_pem=pem,
        canonical=_with_chain(unpadded, found, pem, lengths),
        proof=QuoteProof(signed, signature, attestation_key, qe_report, qe_signature, qe_auth),
    )


def _with_chain(quote: bytes, found: bytes, pem: str, lengths: list[int]) -> bytes:
    """The quote with its chain in canonical text, which no signature covers.

    Args:
        quote: The quote without padding; the chain is its end.
        found: The received chain.
        pem: The same chain in canonical text.
        lengths: Positions, from the end, of the length fields that include the chain.
    """
    # Intel's quoting library includes the C string's terminator; it stays if present.
    chain = pem.encode() + found[len(found.rstrip(b"\0")) :]
    if chain == found:
        return quote
    framed = bytearray(quote)
    for position in lengths:
        place = len(quote) + position
        (size,) = struct.unpack_from("<I", framed, place)
        struct.pack_into("<I", framed, place, size + len(chain) - len(found))
    return bytes(framed[: len(quote) - len(found)]) + chain


def _read_report(reader: _Reader, version: int) -> EnclaveReport | TdReport:
    if version == 3:
        return EnclaveReport.parse(reader.take(ENCLAVE_REPORT_BYTES))
    size = TD_REPORT_BYTES
    if version == 5:
        body_type, size = reader.integer("<H"), reader.integer("<I")
        if _V5_BODIES.get(body_type) != size:
            raise _refused("a TD report of its size", f"body type {body_type}, {size} bytes")
    return TdReport.parse(reader.take(size))


def _read_chain(data: bytes) -> tuple[str, tuple[x509.Certificate, ...]]:
    if len(data) > MAX_CHAIN_BYTES:
        raise _refused(f"a PCK chain of at most {MAX_CHAIN_BYTES} bytes", f"{len(data)} bytes")
    text = data[:-1] if data.endswith(b"\0") else data
    try:
        chain = parse_chain(text.decode("ascii"), PCK_CHAIN_LENGTH)
        pem = canonical_chain(text.decode("ascii"), PCK_CHAIN_LENGTH)
    except (UnicodeDecodeError, PemMalformed) as error:
        seen = str(error) if isinstance(error, PemMalformed) else "text that is not ASCII"
        raise _refused("a PEM chain of PCK certificate, CA and root", seen) from error
    if len(chain) != PCK_CHAIN_LENGTH:
        raise _refused("a PEM chain of PCK certificate, CA and root", f"{len(chain)} certificates")
    return pem, chain


class _Reader:
    """Reads bytes from the front; the end must be reached before the reader is dropped."""

    def __init__(self, data: bytes, what: str) -> None:
        self.rest = data
        self._what = what

    def take(self, size: int) -> bytes:
        if len(self.rest) < size:
            raise _refused(f"{size} more bytes in {self._what}", f"{len(self.rest)} bytes")
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def integer(self, layout: str) -> int:
        value: int = struct.unpack(layout, self.take(struct.calcsize(layout)))[0]
        return value

    def certification(self, kind: int) -> _Reader:
        """The certification data that must fill the rest exactly."""
        seen = self.integer("<H")
        if seen != kind:
            raise _refused(f"certification data of type {kind}", f"type {seen}")
        size = self.integer("<I")
        if size != len(self.rest):
            raise _refused(f"certification data of {len(self.rest)} bytes", f"{size} bytes")
        return _Reader(self.take(size), "the certification data")
