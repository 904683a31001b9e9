"""The signed bodies of quotes: SGX enclave reports and TDX reports, as immutable records.

Sources: Intel SDM vol. 3D, 38.15 (REPORT); Intel TDX DCAP Quoting Library API, appendix A.3.2.
All integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

ENCLAVE_REPORT_BYTES = 384
TD_REPORT_BYTES = 584
TD_REPORT_15_BYTES = 648
TD_REPORT_15_EXTENDED_BYTES = 885

_ENCLAVE = struct.Struct("<16sI28s16s32s32s32s96sHH60s64s")
_TD = struct.Struct("<16s48s48s8s8s8s48s48s48s48s48s48s48s48s64s")


@dataclass(frozen=True)
class EnclaveReport:
    """The processor's report on an SGX enclave.

    Attributes:
        cpu_svn: Security version of the processor, 16 bytes.
        misc_select: MISCSELECT.
        flags: ATTRIBUTES.FLAGS, 64 bits.
        xfrm: ATTRIBUTES.XFRM, 64 bits.
        mrenclave: Measurement of the code, 32 bytes.
        mrsigner: SHA-256 of the signer's key, 32 bytes.
        isv_prod_id: Product id that the signer gave.
        isv_svn: Security version that the signer gave.
        report_data: The enclave's data, 64 bytes.
    """

    cpu_svn: bytes
    misc_select: int
    flags: int
    xfrm: int
    mrenclave: bytes
    mrsigner: bytes
    isv_prod_id: int
    isv_svn: int
    report_data: bytes

    @classmethod
    def parse(cls, body: bytes) -> EnclaveReport:
        """Reads a body of exactly 384 bytes."""
        cpu_svn, misc, _, attributes, mrenclave, _, mrsigner, _, product, svn, _, data = (
            _ENCLAVE.unpack(body)
        )
        flags, xfrm = struct.unpack("<QQ", attributes)
        return cls(cpu_svn, misc, flags, xfrm, mrenclave, mrsigner, product, svn, data)

    @property
    def measurements(self) -> tuple[tuple[str, str], ...]:
        """Names and values (hex; SVNs decimal) of its measurements."""
        return (
            ("mrenclave", self.mrenclave.hex()),
            ("mrsigner", self.mrsigner.hex()),
            ("isv_prod_id", str(self.isv_prod_id)),
            ("isv_svn", str(self.isv_svn)),
        )


@dataclass(frozen=True)
class TdReport:
    """The TDX module's report on a trust domain.

    Attributes:
        tee_tcb_svn: Security versions of the TDX module, 16 bytes.
        mrseam: Measurement of the TDX module, 48 bytes.
        mrsignerseam: Signer of the TDX module, 48 bytes.
        seam_attributes: Attributes of the TDX module, 64 bits.
        td_attributes: Attributes of the trust domain, 64 bits.
        xfam: Extended features that it may use, 64 bits.
        mrtd: Measurement of the initial guest, 48 bytes.
        mrconfigid: Configuration given by the owner, 48 bytes.
        mrowner: The owner, 48 bytes.
        mrownerconfig: Configuration of the owner, 48 bytes.
        rtmrs: Four run-time measurement registers, 48 bytes each.
        report_data: The guest's data, 64 bytes.
        tee_tcb_svn_2: Versions of the current TDX module (TDX 1.5), 16 bytes or None.
        mrservicetd: Hash of the bound service TDs (TDX 1.5), 48 bytes or None.
        init_service_td_hash: Hash of those bound at the start (1.5 extended), 48 bytes or None.
        cur_service_td_hash: Hash of those bound now (1.5 extended), 48 bytes or None.
    """

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: int
    td_attributes: int
    xfam: int
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    tee_tcb_svn_2: bytes | None = None
    mrservicetd: bytes | None = None
    init_service_td_hash: bytes | None = None
    cur_service_td_hash: bytes | None = None

    @classmethod
    def parse(cls, body: bytes) -> TdReport:
        """Reads a body of 584 (TDX 1.0), 648 (TDX 1.5) or 885 (1.5 extended) bytes."""
        fields = _TD.unpack_from(body)
        svn, mrseam, signer, seam, attributes, xfam, mrtd, config, owner, owner_config = fields[:10]
        later: tuple[bytes | None, ...] = ()
        if len(body) >= TD_REPORT_15_BYTES:
            later = (body[584:600], body[600:648])
        if len(body) >= TD_REPORT_15_EXTENDED_BYTES:
            later = (*later, body[729:777], body[829:877])
        return cls(
            svn,
            mrseam,
            signer,
            _little(seam),
            _little(attributes),
            _little(xfam),
            mrtd,
            config,
            owner,
            owner_config,
            (fields[10], fields[11], fields[12], fields[13]),
            fields[14],
            *later,
        )

    @property
    def measurements(self) -> tuple[tuple[str, str], ...]:
        """Names and values (hex) of its measurements."""
        return (
            ("mrtd", self.mrtd.hex()),
            *((f"rtmr{i}", value.hex()) for i, value in enumerate(self.rtmrs)),
            ("td_attributes", self.td_attributes.to_bytes(8, "little").hex()),
            ("xfam", self.xfam.to_bytes(8, "little").hex()),
            ("mrseam", self.mrseam.hex()),
            ("mrconfigid", self.mrconfigid.hex()),
            ("mrowner", self.mrowner.hex()),
            ("mrownerconfig", self.mrownerconfig.hex()),
        )


def _little(word: bytes) -> int:
    return int.from_bytes(word, "little")
