"""Makes DCAP quotes of the simulated platform: v3 for SGX, v4 and v5 for TDX.

Every part can be replaced, so that tests can make a dishonest platform's quotes. Sources: Intel TDX
DCAP Quoting Library API, appendix A.3 (quote v4, v5); Intel SGX ECDSA Quote Library, A.4 (v3).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from coterie.attestation.tee.simulated.keys import derive_key, public_bytes, sign_raw
from coterie.attestation.tee.simulated.pki import SimulatedPki

INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
# INIT, MODE64BIT and PROVISION_KEY, as in Intel's quoting enclaves; an ordinary enclave has 0x05.
PLAIN_ATTRIBUTES = bytes.fromhex("05000000000000000300000000000000")
QE_ATTRIBUTES = bytes.fromhex("11000000000000000000000000000000")
_QE_AUTH = bytes(range(32))
_TD_BODY_TYPES = {584: 2, 648: 3, 885: 4}


@dataclass(frozen=True)
class EnclaveFields:
    """The fields of an SGX enclave report (384 bytes) that can differ.

    Attributes:
        mrenclave: Measurement of the code, 32 bytes.
        mrsigner: Digest of the signer's key, 32 bytes.
        report_data: What the enclave says, 64 bytes.
        attributes: Flags and XFRM, 16 bytes.
        misc_select: MISCSELECT.
        isv_prod_id: Product id.
        isv_svn: Security version.
    """

    mrenclave: bytes
    mrsigner: bytes = bytes(32)
    report_data: bytes = bytes(64)
    attributes: bytes = PLAIN_ATTRIBUTES
    misc_select: int = 0
    isv_prod_id: int = 0
    isv_svn: int = 0

    def encode(self, cpu_svn: bytes) -> bytes:
        """The report body, 384 bytes."""
        return struct.pack(
            "<16sI28x16s32s32x32s96xHH60x64s",
            cpu_svn,
            self.misc_select,
            self.attributes,
            self.mrenclave,
            self.mrsigner,
            self.isv_prod_id,
            self.isv_svn,
            self.report_data,
        )


@dataclass(frozen=True)
class TdFields:
    """The fields of a TD report that can differ.

    Attributes:
        mrtd: Measurement of the initial guest, 48 bytes.
        rtmrs: Run-time registers, 48 bytes each.
        report_data: What the guest says, 64 bytes.
        td_attributes: Attributes; by default only SEPT_VE_DISABLE.
        xfam: Extended features.
        tee_tcb_svn: Versions of the TDX module, 16 bytes.
        current_svn: Versions of the TDX module that runs now (TDX 1.5), if others.
        mrsignerseam: Signer of the TDX module, 48 bytes.
        mrservicetd: Hash of service TDs (TDX 1.5).
        init_service_td_hash: Hash of the service TDs bound at the start (1.5 extended).
        cur_service_td_hash: Hash of the service TDs bound now (1.5 extended).
    """

    mrtd: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes] = (bytes(48),) * 4
    report_data: bytes = bytes(64)
    td_attributes: int = 1 << 28
    xfam: int = 0xE7
    tee_tcb_svn: bytes = b"\3\0" + b"\3" * 14
    current_svn: bytes | None = None
    mrsignerseam: bytes = bytes(48)
    mrservicetd: bytes = bytes(48)
    init_service_td_hash: bytes = bytes(48)
    cur_service_td_hash: bytes = bytes(48)

    def encode(self, size: int = 584) -> bytes:
        """The report body: 584 (TDX 1.0), 648 (1.5) or 885 (1.5 extended) bytes."""
        base = struct.pack(
            "<16s48x48s8xQQ48s144x48s48s48s48s64s",
            self.tee_tcb_svn,
            self.mrsignerseam,
            self.td_attributes,
            self.xfam,
            self.mrtd,
            *self.rtmrs,
            self.report_data,
        )
        later = (self.current_svn or self.tee_tcb_svn) + self.mrservicetd
        extended = struct.pack(
            "<81x48s52x48s8x", self.init_service_td_hash, self.cur_service_td_hash
        )
        return (base + later + extended)[:size]


@dataclass(frozen=True)
class QuotingEnclave:
    """The quoting enclave's part of a quote; by default an honest one's.

    Attributes:
        report: Its report; the report data is filled in if it is all zero.
        attestation_key: The key that signs quotes, if not the platform's.
        report_signer: Who signs its report, if not the PCK key.
        pck_chain: PEM chain that quotes carry.
        auth_data: Authentication data that the report covers, 32 bytes.
    """

    report: EnclaveFields
    attestation_key: ec.EllipticCurvePrivateKey
    report_signer: ec.EllipticCurvePrivateKey
    pck_chain: str
    auth_data: bytes = _QE_AUTH


def honest_quoting_enclave(pki: SimulatedPki) -> QuotingEnclave:
    """The quoting enclave that a PKI's QE identity describes."""
    report = EnclaveFields(
        mrenclave=hashlib.sha256(b"coterie simulated quoting enclave").digest(),
        mrsigner=pki.qe_signer,
        attributes=QE_ATTRIBUTES,
        isv_prod_id=1,
        isv_svn=3,
    )
    return QuotingEnclave(
        report, derive_key(pki.seed, "attestation"), pki.key("pck"), pki.pck_chain
    )


def sgx_quote(
    pki: SimulatedPki, report: EnclaveFields, *, quoting: QuotingEnclave | None = None
) -> bytes:
    """A quote v3 over an enclave report."""
    quoting = quoting or honest_quoting_enclave(pki)
    signed = _header(3, 0) + report.encode(pki.cpu_svn)
    key = quoting.attestation_key
    auth = (
        sign_raw(key, signed)
        + public_bytes(key)
        + _qe_report(pki, quoting)
        + _certification(5, quoting.pck_chain.encode() + b"\0")
    )
    return signed + struct.pack("<I", len(auth)) + auth


def tdx_quote(
    pki: SimulatedPki, body: bytes, *, version: int = 4, quoting: QuotingEnclave | None = None
) -> bytes:
    """A quote v4 or v5 over the body of a TD report (584 bytes; in v5 also 648 or 885)."""
    quoting = quoting or honest_quoting_enclave(pki)
    frame = struct.pack("<HI", _TD_BODY_TYPES[len(body)], len(body)) if version == 5 else b""
    signed = _header(version, 0x81) + frame + body
    key = quoting.attestation_key
    inner = _qe_report(pki, quoting) + _certification(5, quoting.pck_chain.encode() + b"\0")
    auth = sign_raw(key, signed) + public_bytes(key) + _certification(6, inner)
    return signed + struct.pack("<I", len(auth)) + auth


def _header(version: int, tee_type: int) -> bytes:
    return struct.pack("<HHIHH16s20x", version, 2, tee_type, 0, 0, INTEL_QE_VENDOR)


def _qe_report(pki: SimulatedPki, quoting: QuotingEnclave) -> bytes:
    fields = quoting.report
    if not any(fields.report_data):
        bound = hashlib.sha256(public_bytes(quoting.attestation_key) + quoting.auth_data).digest()
        fields = EnclaveFields(**{**vars(fields), "report_data": bound + bytes(32)})
    report = fields.encode(pki.cpu_svn)
    auth = struct.pack("<H", len(quoting.auth_data)) + quoting.auth_data
    return report + sign_raw(quoting.report_signer, report) + auth


def _certification(kind: int, data: bytes) -> bytes:
    return struct.pack("<HI", kind, len(data)) + data
