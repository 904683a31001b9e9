"""Authentic evidence: good until the first thing that it rests on runs out, and made at a known time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from coterie.attestation.collateral import Collateral
from coterie.attestation.evidence import authenticate
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import sgx_quote
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused
from tests.attestation.forgeries import AT, HONEST, ISSUED, REPORT, Row, spans

END = ISSUED + timedelta(days=2)
SHORT = replace(HONEST, statement_days=2, crl_days=2).issue(ISSUED)
FROM = ISSUED - timedelta(days=100)


def expiry(pki: SimulatedPki, collateral: Collateral, at: datetime = AT) -> datetime:
    return authenticate(
        parse_quote(sgx_quote(pki, REPORT)),
        collateral,
        kind="simulated",
        root=HONEST.trust_root,
        at=at,
        checks=CheckList(),
    ).expiry


Change = Callable[[Collateral], Collateral]
PARTS: dict[str, Change] = {
    "root CRL": lambda c: replace(c, root_ca_crl=SHORT.root_ca_crl),
    "PCK CRL": lambda c: replace(c, pck_crl=SHORT.pck_crl),
    "TCB info": lambda c: replace(
        c, tcb_info=SHORT.tcb_info, tcb_info_signature=SHORT.tcb_info_signature
    ),
    "QE identity": lambda c: replace(
        c, qe_identity=SHORT.qe_identity, qe_identity_signature=SHORT.qe_identity_signature
    ),
    "PCK CRL's chain": lambda c: replace(
        c, pck_crl_issuer_chain=spans("pck_ca", (FROM, END)).chain("pck_ca")
    ),
    "TCB info's chain": lambda c: replace(
        c, tcb_info_issuer_chain=spans("tcb_signer", (FROM, END)).chain("tcb_signer")
    ),
    "QE identity's chain": lambda c: replace(
        c, qe_identity_issuer_chain=spans("tcb_signer", (FROM, END)).chain("tcb_signer")
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_it_is_good_until_the_first_part_of_the_collateral_runs_out(part: str) -> None:
    honest = HONEST.issue(ISSUED)
    assert expiry(HONEST, honest) == ISSUED + timedelta(days=30)
    short = PARTS[part](honest)
    assert expiry(HONEST, short) == END
    with pytest.raises(EvidenceRefused, match=r"(is not current|is not valid now)"):
        expiry(HONEST, short, END + timedelta(seconds=1))


@pytest.mark.parametrize("member", ["pck", "pck_ca"])
def test_it_is_good_until_the_platforms_own_chain_ends(member: str) -> None:
    pki = spans(member, (FROM, END))  # type: ignore[arg-type]
    assert expiry(pki, HONEST.issue(ISSUED)) == END


def with_serial_number(serial: int) -> str:
    """A chain of the TCB signer, with the same key under a certificate of its own."""
    found = HONEST._certificate("tcb_signer")
    builder = (
        x509.CertificateBuilder()
        .subject_name(found.subject)
        .issuer_name(found.issuer)
        .public_key(found.public_key())
        .serial_number(serial)
        .not_valid_before(found.not_valid_before_utc)
        .not_valid_after(found.not_valid_after_utc)
    )
    for extension in found.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    made = builder.sign(HONEST.key("root"), hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode() + HONEST.chain("root")


@pytest.mark.parametrize("other", ["tcb_info_issuer_chain", "qe_identity_issuer_chain"])
def test_each_statement_has_a_signer_that_may_be_revoked(other: str) -> None:
    """Two certificates of the signer, of which one is revoked: either statement may be the one."""
    honest = HONEST.issue(ISSUED)
    apart = Collateral(**{**vars(honest), other: with_serial_number(55)})
    assert expiry(HONEST, apart) == ISSUED + timedelta(days=30)
    revoking = replace(HONEST, revoked=frozenset({"tcb_signer"}))
    with pytest.raises(EvidenceRefused) as refusal:
        expiry(HONEST, replace(apart, root_ca_crl=revoking.crl("root", ISSUED)))
    assert refusal.value.failed_check == "tcb_signer_revocation"
    assert refusal.value.seen == "serial 5 on the revocation list"


def test_a_time_without_a_zone_is_a_defect_of_the_caller() -> None:
    quote, collateral = Row("", "").evidence()
    with pytest.raises(ValueError, match="needs a time zone"):
        authenticate(
            parse_quote(quote),
            collateral,
            kind="simulated",
            root=HONEST.trust_root,
            at=AT.replace(tzinfo=None),
            checks=CheckList(),
        )
