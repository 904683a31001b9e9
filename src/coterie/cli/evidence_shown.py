"""Explains evidence for ``coterie attest show``, as far as it can be read, without appraising it.

Certificates that no node may have are read here too: with RSA keys, of authorities, signed by
others.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

from asn1crypto import keys
from asn1crypto import x509 as asn1

from coterie.attestation import dcap
from coterie.attestation.attributes import attribute_words
from coterie.attestation.evidence import parse_evidence
from coterie.attestation.pem import encode
from coterie.attestation.quote import Quote
from coterie.attestation.snp.platform import PLATFORM_BITS, policy_words
from coterie.attestation.snp.products import PRODUCTS
from coterie.attestation.snp.quote import SnpQuote
from coterie.attestation.snp.report import REPORT_BYTES, SnpReport, parse_report
from coterie.attestation.vtpm.quote import VtpmQuote
from coterie.cli.evidence_files import read_parts
from coterie.errors import EvidenceRefused
from coterie.ratls.claims import Claims
from coterie.ratls.evidence import Evidence, InteroperableEvidence, read_evidence
from coterie.unreadable import UNREADABLE_LAZILY

_CERTIFICATE = b"\x30"
_PCK_EXTENSION = "1.2.840.113741.1.13.1"


def evidence_facts(file: Path) -> dict[str, object]:
    """The content of a file: a quote, a certificate with a quote, or certificates alone.

    Raises:
        EvidenceRefused: The bytes are none of these, or are malformed.
    """
    parts = read_parts(file)
    facts: dict[str, object] = {"judged": False}
    if not parts[0].startswith(_CERTIFICATE):
        return {**facts, **_quote_facts(parts[0])}
    for i, der in enumerate(parts):
        shown, evidence = _certificate_facts(der)
        if evidence is not None:
            facts |= _quote_facts(evidence.quote)
        facts["certificate" if i == 0 else f"certificate_{i + 1}"] = shown
    return facts


def _quote_facts(data: bytes) -> dict[str, object]:
    if len(data) == REPORT_BYTES:  # an SNP report as firmware gives it, without certificates
        return _report_facts(parse_report(data))
    quote = parse_evidence(data)
    if isinstance(quote, VtpmQuote):
        below = _quote_facts(quote.hardware.canonical)
        return {
            **_vtpm_facts(quote),
            "hardware": {name: item for name, item in below.items() if name != "tee_claimed"},
        }
    if isinstance(quote, SnpQuote):
        return {
            "tee_claimed": quote.kind,
            "quote_bytes": len(quote.canonical),
            "platform": asdict(quote.platform()),
            **_report_facts(quote.report),
            "vek_chain": [certificate.common_name for certificate in quote.chain],
        }
    assert isinstance(quote, Quote)
    return _dcap_facts(quote)


def _vtpm_facts(quote: VtpmQuote) -> dict[str, object]:
    tpm = quote.tpm
    return {
        "tee_claimed": quote.kind,
        "quote_bytes": len(quote.canonical),
        "measurements": dict(quote.guest_measurements),
        "report_data": quote.report_data.hex(),
        "tpm": {
            "signer_name": tpm.signer.hex(),
            "qualifying_data": tpm.extra_data.hex(),
            "clock": tpm.clock,
            "resets": tpm.resets,
            "restarts": tpm.restarts,
            "firmware": f"{tpm.firmware:#018x}",
        },
        "runtime_data": quote.runtime.decode("utf-8", "replace"),
    }


def _report_facts(report: SnpReport) -> dict[str, object]:
    """What an SNP report says; TCB versions in each layout that fits its processor."""
    cpuid = report.cpuid
    products = [
        product
        for product in PRODUCTS.values()
        if cpuid is None or product.has_cpuid(cpuid[0], cpuid[1])
    ]
    info = report.platform_info
    return {
        "report_version": report.version,
        "measurements": dict(report.measurements),
        "policy": policy_words(report.policy),
        "platform_says": {
            name: bool(info & bit) is on for name, (bit, on) in PLATFORM_BITS.items()
        },
        "report_data": report.report_data.hex(),
        "chip_id": report.chip_id.hex(),
        "cpuid": None if cpuid is None else "family {:#x}, model {:#x}, stepping {}".format(*cpuid),
        "firmware": f"{report.current_firmware}, committed {report.committed_firmware}",
        "tcb": {
            name: " or ".join(
                f"{product.name}: {tcb}"
                for product in products
                if (tcb := product.tcb(raw)) is not None
            )
            or raw.hex()
            for name, raw in (
                ("current", report.current_tcb),
                ("committed", report.committed_tcb),
                ("reported", report.reported_tcb),
                ("launch", report.launch_tcb),
            )
        },
    }


def _dcap_facts(quote: Quote) -> dict[str, object]:
    return {
        "tee_claimed": quote.kind,
        "quote_version": quote.version,
        "quote_bytes": len(quote.canonical),
        "measurements": dict(quote.measurements),
        "attributes": attribute_words(quote.report),
        "report_data": quote.report_data.hex(),
        "platform": asdict(quote.platform()),
        "pck": _platform_facts(quote.pck_chain_pem),
        "pck_chain": [certificate.subject.rfc4514_string() for certificate in quote.pck_chain],
    }


def _platform_facts(pem: str) -> dict[str, object]:
    platform = dcap.platform_identity(pem)
    words = {True: "yes", False: "no", None: "not said"}
    return {
        "fmspc": platform.fmspc.hex(),
        "ppid": platform.ppid.hex(),
        "pce_id": platform.pce_id.hex(),
        "smt": words[platform.smt],
        "dynamic_platform": words[platform.dynamic_platform],
        "cached_keys": words[platform.cached_keys],
    }


def _certificate_facts(der: bytes) -> tuple[dict[str, object], Evidence | None]:
    try:
        return _read(der)
    except UNREADABLE_LAZILY as error:
        raise EvidenceRefused(
            "certificate_encoding",
            "the certificate cannot be read",
            expected="one X.509 certificate in DER",
            seen=str(error)[:200],
            remedy="give a quote, or a certificate in DER or PEM",
        ) from error


def _read(der: bytes) -> tuple[dict[str, object], Evidence | None]:
    certificate = asn1.Certificate.load(der, strict=True)
    body = certificate["tbs_certificate"]
    spki = body["subject_public_key_info"]
    extensions = {
        one["extn_id"].dotted: one["extn_value"].contents for one in body["extensions"] or ()
    }
    constraints = certificate.basic_constraints_value
    validity = body["validity"]
    facts: dict[str, object] = {
        "subject": certificate.subject.human_friendly,
        "issuer": certificate.issuer.human_friendly,
        "serial_number": f"{certificate.serial_number:x}",
        "key": _key(spki),
        "signature": certificate["signature_algorithm"]["algorithm"].native,
        "authority": bool(constraints is not None and constraints["ca"].native),
        "spki_sha256": hashlib.sha256(spki.dump()).hexdigest(),
        "not_before": validity["not_before"].native.isoformat(),
        "not_after": validity["not_after"].native.isoformat(),
    }
    if _PCK_EXTENSION in extensions:
        facts["pck"] = _platform_facts(encode(der))
    try:
        evidence = read_evidence(extensions)
    except EvidenceRefused as error:
        if error.failed_check != "evidence_extension":
            raise
        return {**facts, "extension": "no evidence that is known"}, None
    return {**facts, **_evidence_facts(evidence)}, evidence


def _key(spki: keys.PublicKeyInfo) -> str:
    algorithm: str = spki.algorithm
    detail = spki.curve[1] if algorithm == "ec" else f"{spki.bit_size} bits"
    return f"{algorithm.upper()} {detail}"


def _evidence_facts(evidence: Evidence) -> dict[str, object]:
    if not isinstance(evidence, InteroperableEvidence):
        return {"extension": f"Gramine legacy {evidence.oid}"}
    try:
        claims = Claims.from_cbor(evidence.claims)
    except EvidenceRefused as error:
        return {"extension": "interoperable", "claims": f"not Coterie's: {error.seen}"}
    return {
        "extension": "interoperable",
        "claims": {
            "contract_digest": claims.contract_digest.hex(),
            "node": claims.node,
            "role": claims.role,
            "party": claims.party,
            "incarnation": claims.incarnation,
        },
    }
