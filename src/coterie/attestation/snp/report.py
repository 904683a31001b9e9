"""Strict parser of SEV-SNP attestation reports, versions 2 to 5: pure, of one length.

Reserved bytes and bits must be zero as each version has them, since a later firmware may give them a
meaning that this verifier does not know. Version 4 has the layout of version 3. All others are refused.

Source: AMD SEV Secure Nested Paging Firmware ABI Specification (56860), ATTESTATION_REPORT. All
integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial

from coterie.errors import EvidenceRefused
from coterie.kinds import SigningKey

REPORT_BYTES = 1184
SIGNED_BYTES = 0x2A0
ECDSA_P384_SHA384 = 1

_LAYOUT = struct.Struct("<IIQ16s16sII8sQI4s64s48s32s48s48s32s32s8s24s64s8s4s4s8s168s72s72s368s")
_HIGHEST_VMPL = 3
_KEYS: dict[int, SigningKey] = {0: "vcek", 1: "vlek"}
_POLICY_RESERVED_ONE = 1 << 17
# Known bits by version: 25 (no page swaps) came with version 5.
_POLICY_BITS = {2: (1 << 25) - 1, 3: (1 << 25) - 1, 4: (1 << 25) - 1, 5: (1 << 26) - 1}
# 5 (no aliasing memory) came with version 3, and so did 6 (the IOMMU's writes, AMD-SB-3016), which
# newer firmware sets whatever the version; 7 (SEV-TIO) came with version 5.
_PLATFORM_BITS = {2: 0x1F, 3: 0x7F, 4: 0x7F, 5: 0xFF}

_refused = partial(
    EvidenceRefused,
    "quote_format",
    "the SNP report is malformed",
    remedy="get it from the firmware by configfs-tsm or /dev/sev-guest, versions 2 to 5",
)


@dataclass(frozen=True, order=True)
class Firmware:
    """A version of the SNP firmware."""

    major: int
    minor: int
    build: int

    @property
    def abi(self) -> tuple[int, int]:
        """Its ABI: major and minor version."""
        return (self.major, self.minor)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.build}"


@dataclass(frozen=True)
class SnpReport:
    """The firmware's report on a guest. TCB versions are raw: their layout depends on the product.

    Attributes:
        version: 2 to 5.
        guest_svn: Security version that the guest's owner gave.
        policy: The guest's policy, 64 bits.
        family_id: Family that the guest's owner gave, 16 bytes.
        image_id: Image that the guest's owner gave, 16 bytes.
        vmpl: Privilege level of the software that asked, 0 (highest) to 3.
        current_tcb: TCB that runs, 8 bytes.
        platform_info: The platform's properties, 64 bits.
        author_key_en: Whether an author's key certified the id key.
        signing_key: The kind of key that signed.
        report_data: The guest's data, 64 bytes.
        measurement: Launch digest, 48 bytes.
        host_data: Data that the host gave at launch, 32 bytes.
        id_key_digest: SHA-384 of the key that signed the id block, 48 bytes; zero without one.
        author_key_digest: SHA-384 of the key that certified it, 48 bytes; zero without one.
        report_id: The running guest, 32 bytes.
        report_id_ma: Its migration agent, 32 bytes; all ones without one.
        reported_tcb: TCB that the signing key stands for, 8 bytes.
        cpuid: Family, model and stepping; None in version 2.
        chip_id: The chip, 64 bytes; zero if the host hides it.
        committed_tcb: TCB below which the platform does not go back, 8 bytes.
        current_firmware: Firmware that runs.
        committed_firmware: Firmware below which the platform does not go back.
        launch_tcb: TCB that ran when the guest was launched, 8 bytes.
        mitigations: Vectors of mitigations at launch and now; None before version 5.
        signed: What the signature covers, 672 bytes.
        signature: r and s, 48 bytes each, big-endian.
        raw: The whole report.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    current_tcb: bytes
    platform_info: int
    author_key_en: bool
    signing_key: SigningKey
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    cpuid: tuple[int, int, int] | None
    chip_id: bytes
    committed_tcb: bytes
    current_firmware: Firmware
    committed_firmware: Firmware
    launch_tcb: bytes
    mitigations: tuple[int, int] | None
    signed: bytes
    signature: tuple[int, int]
    raw: bytes

    @property
    def policy_abi(self) -> tuple[int, int]:
        """Lowest ABI of the firmware that the policy allows: major and minor version."""
        return (self.policy >> 8 & 0xFF, self.policy & 0xFF)

    @property
    def measurements(self) -> tuple[tuple[str, str], ...]:
        """Names and values (hex; numbers decimal) of what it says of the guest."""
        return (
            ("launch_measurement", self.measurement.hex()),
            ("guest_policy", self.policy.to_bytes(8, "big").hex()),
            ("vmpl", str(self.vmpl)),
            ("guest_svn", str(self.guest_svn)),
            ("family_id", self.family_id.hex()),
            ("image_id", self.image_id.hex()),
            ("id_key_digest", self.id_key_digest.hex()),
            ("author_key_digest", self.author_key_digest.hex()),
            ("host_data", self.host_data.hex()),
            ("report_id", self.report_id.hex()),
            ("signing_key", self.signing_key),
        )


def parse_report(data: bytes) -> SnpReport:
    """Parses a report of exactly 1184 bytes.

    Raises:
        EvidenceRefused: The bytes are not a report of the accepted form (check ``quote_format``).
    """
    if len(data) != REPORT_BYTES:
        raise _refused(expected=f"{REPORT_BYTES} bytes", seen=f"{len(data)} bytes")
    (
        version,
        guest_svn,
        policy,
        family_id,
        image_id,
        vmpl,
        algorithm,
        current_tcb,
        platform_info,
        key_info,
        after_keys,
        report_data,
        measurement,
        host_data,
        id_key,
        author_key,
        report_id,
        report_id_ma,
        reported_tcb,
        cpuid,
        chip_id,
        committed_tcb,
        current,
        committed,
        launch_tcb,
        tail,
        r,
        s,
        after_signature,
    ) = _LAYOUT.unpack(data)
    if version not in _POLICY_BITS:
        raise _refused(expected="report version 2, 3, 4 or 5", seen=f"version {version}")
    if algorithm != ECDSA_P384_SHA384:
        raise _refused(
            expected="signature algorithm 1 (ECDSA P-384, SHA-384)", seen=f"algorithm {algorithm}"
        )
    if vmpl > _HIGHEST_VMPL:
        raise _refused(expected="a guest's report: VMPL 0 to 3", seen=f"VMPL {vmpl:#x}")
    # Bits 2 to 4 name the key; bit 1 says that the host withholds the signature.
    signing_key = _KEYS.get(key_info >> 2 & 7)
    if signing_key is None or key_info & 2:
        raise _refused(
            expected="a report signed by VCEK or VLEK", seen=f"key information {key_info:#x}"
        )
    # Integers are little-endian of 72 bytes, of which P-384 uses 48.
    signature = (int.from_bytes(r, "little"), int.from_bytes(s, "little"))
    mitigations = struct.unpack_from("<QQ", tail) if version == 5 else None
    reserved = {
        "bytes 0x4c to 0x50": after_keys,
        "bytes before the chip id": cpuid if version == 2 else cpuid[3:],
        "byte 0x1eb": current[3:],
        "byte 0x1ef": committed[3:],
        "bytes before the signature": tail[16:] if version == 5 else tail,
        "the ends of r and s": r[48:] + s[48:],
        "bytes after the signature": after_signature,
        "bits of the key information": _word(key_info >> 5),
        "bits of the policy": _word(policy & ~_POLICY_BITS[version]),
        "bits of the platform information": _word(platform_info & ~_PLATFORM_BITS[version]),
    }
    for name, value in reserved.items():
        if any(value):
            raise _refused(
                expected=f"zero in reserved {name} (version {version})", seen=value.hex()[:64]
            )
    if not policy & _POLICY_RESERVED_ONE:
        raise _refused(expected="bit 17 of the policy set", seen=f"policy {policy:#x}")
    return SnpReport(
        version=version,
        guest_svn=guest_svn,
        policy=policy,
        family_id=family_id,
        image_id=image_id,
        vmpl=vmpl,
        current_tcb=current_tcb,
        platform_info=platform_info,
        author_key_en=bool(key_info & 1),
        signing_key=signing_key,
        report_data=report_data,
        measurement=measurement,
        host_data=host_data,
        id_key_digest=id_key,
        author_key_digest=author_key,
        report_id=report_id,
        report_id_ma=report_id_ma,
        reported_tcb=reported_tcb,
        cpuid=None if version == 2 else (cpuid[0], cpuid[1], cpuid[2]),
        chip_id=chip_id,
        committed_tcb=committed_tcb,
        current_firmware=Firmware(current[2], current[1], current[0]),
        committed_firmware=Firmware(committed[2], committed[1], committed[0]),
        launch_tcb=launch_tcb,
        mitigations=None if mitigations is None else (mitigations[0], mitigations[1]),
        signed=data[:SIGNED_BYTES],
        signature=signature,
        raw=data,
    )


def _word(value: int) -> bytes:
    return value.to_bytes(8, "little")
