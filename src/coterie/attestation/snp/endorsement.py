"""What the certificate of a signing key (VCEK or VLEK) says, and whether the report agrees.

Source: AMD Versioned Chip Endorsement Key Certificate and KDS Interface Specification (57230),
extensions under 1.3.6.1.4.1.3704.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from coterie.attestation.snp.certificates import AmdCertificate
from coterie.attestation.snp.products import Product, Tcb
from coterie.attestation.snp.report import SnpReport
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused

CHECKS = ("vek_extension", "vek_product", "vek_tcb", "vek_chip_id")
CHIP_ID_BYTES = 64
SHORT_ID_BYTES = 8
AMD_OID = "1.3.6.1.4.1.3704.1"
PRODUCT_NAME, HARDWARE_ID, CSP_ID = (f"{AMD_OID}.{arc}" for arc in (2, 4, 5))
PART_OIDS = {
    part: f"{AMD_OID}.3.{arc}"
    for part, arc in (("bootloader", 1), ("tee", 2), ("snp", 3), ("microcode", 8), ("fmc", 9))
}
RESERVED_OIDS = tuple(f"{AMD_OID}.3.{arc}" for arc in (4, 5, 6, 7))
_INTEGER, _OCTETS, _IA5 = 0x02, 0x04, 0x16
_PRODUCT = re.compile(r"([A-Z][a-z]+)(?:-[A-Z][0-9])?")
_CSP = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,127}")
_LONGEST_SHORT_FORM = 0x7F


@dataclass(frozen=True)
class Endorsement:
    """The platform for which AMD has certified a signing key.

    Attributes:
        product: Its product line.
        tcb: The TCB that the key stands for.
        chip_id: The chip, 64 bytes; None in certificates of VLEKs.
        csp_id: The cloud provider; None in certificates of VCEKs.
    """

    product: Product
    tcb: Tcb
    chip_id: bytes | None
    csp_id: str | None


def verify_endorsement(
    certificate: AmdCertificate, report: SnpReport, product: Product, checks: CheckList
) -> Endorsement:
    """Verifies that a certificate is for the very platform that the report names.

    Args:
        certificate: The signing key's certificate, whose chain was verified.
        report: The report.
        product: The product line of the chain's root.
        checks: Collects the passed checks.

    Raises:
        EvidenceRefused: It fails one of ``CHECKS``.
    """
    values = dict(certificate.extensions)
    tcb = _tcb(values, product)
    name = _text(values, PRODUCT_NAME, _PRODUCT)
    vlek = report.signing_key == "vlek"
    if vlek is (HARDWARE_ID in values) or vlek is not (CSP_ID in values):
        raise _malformed(
            "a cloud provider and no chip" if vlek else "a chip and no cloud provider",
            ", ".join(sorted(oid for oid in values if oid in {HARDWARE_ID, CSP_ID})) or "neither",
        )
    csp_id = _text(values, CSP_ID, _CSP) if vlek else None
    chip_id = None if vlek else _chip_id(values[HARDWARE_ID], product)
    checks.passed("vek_extension")
    line = _PRODUCT.fullmatch(name)
    cpuid = report.cpuid
    fits = cpuid is None or product.has_cpuid(cpuid[0], cpuid[1])
    if line is None or line[1] != product.name or not fits:
        raise _other(
            "vek_product",
            "of another product line",
            f"{product.name}, as the root",
            name
            if fits
            else f"a processor of family {cpuid and cpuid[0]:#x}, model {cpuid and cpuid[1]:#x}",
        )
    checks.passed("vek_product", name)
    reported = product.tcb(report.reported_tcb)
    if reported != tcb:
        raise _other(
            "vek_tcb", "for another TCB", str(tcb), str(reported or report.reported_tcb.hex())
        )
    checks.passed("vek_tcb", str(tcb))
    if chip_id is not None and chip_id != report.chip_id:
        raise _other("vek_chip_id", "for another chip", chip_id.hex(), report.chip_id.hex())
    checks.passed("vek_chip_id", "not in a VLEK" if chip_id is None else chip_id.hex())
    return Endorsement(product, tcb, chip_id, csp_id)


def _tcb(values: Mapping[str, bytes], product: Product) -> Tcb:
    if any(oid in values and _integer(values, oid) for oid in RESERVED_OIDS):
        raise _malformed("zero in reserved patch levels", "another value")
    parts = {part: _integer(values, PART_OIDS[part]) for part in product.layout if part}
    return Tcb(**parts)


def _integer(values: Mapping[str, bytes], oid: str) -> int:
    """An INTEGER of 0 to 255 in DER."""
    value = values.get(oid, b"")
    content = value[2:]
    number = int.from_bytes(content, "big", signed=True)
    minimal = (
        number.to_bytes(2 if number > _LONGEST_SHORT_FORM else 1, "big")
        if 0 <= number <= 255
        else None
    )
    if value[:2] != bytes((_INTEGER, len(content))) or content != minimal:
        raise _malformed(f"an integer of 0 to 255 under {oid}", value.hex()[:64] or "nothing")
    return number


def _text(values: Mapping[str, bytes], oid: str, form: re.Pattern[str]) -> str:
    """An IA5String in DER."""
    value = values.get(oid, b"")
    text = value[2:].decode("ascii", "replace")
    if value[:2] != bytes((_IA5, len(value[2:]) & 0xFF)) or not form.fullmatch(text):
        raise _malformed(f"a text under {oid}", value.hex()[:64] or "nothing")
    return text


def _chip_id(value: bytes, product: Product) -> bytes:
    """A chip's id: AMD gives the bare bytes, or an OCTET STRING in DER; short ids end in zeros."""
    sizes = {CHIP_ID_BYTES, SHORT_ID_BYTES} if product.short_id else {CHIP_ID_BYTES}
    for size in sizes:
        if value[:2] == bytes((_OCTETS, size)) and len(value) == size + 2:
            value = value[2:]
            break
    if len(value) not in sizes or not any(value):
        raise _malformed("a chip's id", value.hex()[:64] or "nothing")
    return value.ljust(CHIP_ID_BYTES, b"\0")


_malformed = partial(
    EvidenceRefused,
    "vek_extension",
    "the SNP signing key's certificate does not say which platform it is for",
    remedy="do not use this platform",
)


def _other(check: str, what: str, expected: str, seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        check,
        f"the SNP signing key is {what} than the report names",
        expected=f"{expected}, as AMD has certified",
        seen=seen,
        remedy="fetch the certificate for this chip and this TCB again; a host that hides the chip's "
        "id (MASK_CHIP_ID) needs a VLEK",
    )
