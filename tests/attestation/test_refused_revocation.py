"""Revoked certificates, and revocation lists that are missing, stale or another CA's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from tests.attestation.forgeries import AT, HONEST, ISSUED, STRANGER, Row, check_refusal, title

REVOCATION = [
    Row("root_crl_format", "no root CRL", collateral=lambda c: replace(c, root_ca_crl=b"")),
    Row(
        "root_crl_issuer", "a root CRL by the PCK CA", pki=replace(HONEST, root_crl_issuer="pck_ca")
    ),
    Row(
        "root_crl_issuer",
        "a root CRL with a forged signature",
        collateral=lambda c: replace(c, root_ca_crl=STRANGER.crl("root", ISSUED)),
    ),
    Row(
        "root_crl_validity",
        "a stale root CRL",
        collateral=lambda c: replace(
            c, root_ca_crl=HONEST.crl("root", ISSUED - timedelta(days=90))
        ),
    ),
    Row(
        "root_crl_validity",
        "a root CRL from the future",
        collateral=lambda c: replace(c, root_ca_crl=HONEST.crl("root", AT + timedelta(days=1))),
    ),
    Row("pck_crl_format", "no PCK CRL", collateral=lambda c: replace(c, pck_crl=b"")),
    Row(
        "pck_crl_format",
        "garbage for a PCK CRL",
        collateral=lambda c: replace(c, pck_crl=b"\x30\0"),
    ),
    Row(
        "pck_crl_issuer",
        "a PCK CRL by another CA",
        collateral=lambda c: replace(c, pck_crl=HONEST.crl("other_ca", ISSUED)),
    ),
    Row(
        "pck_crl_issuer",
        "the root CRL in its place",
        collateral=lambda c: replace(c, pck_crl=c.root_ca_crl),
    ),
    Row(
        "pck_crl_validity",
        "a stale PCK CRL",
        collateral=lambda c: replace(c, pck_crl=HONEST.crl("pck_ca", ISSUED - timedelta(days=90))),
    ),
    Row("root_revocation", "a revoked root", pki=replace(HONEST, revoked=frozenset({"root"}))),
    Row(
        "pck_ca_revocation", "a revoked PCK CA", pki=replace(HONEST, revoked=frozenset({"pck_ca"}))
    ),
    Row(
        "tcb_signer_revocation",
        "a revoked TCB signer",
        pki=replace(HONEST, revoked=frozenset({"tcb_signer"})),
    ),
    Row("pck_revocation", "a revoked platform", pki=replace(HONEST, revoked=frozenset({"pck"}))),
]


@pytest.mark.parametrize("row", REVOCATION, ids=title)
def test_is_refused_by_name(row: Row) -> None:
    check_refusal(row)


def test_a_list_whose_signature_claims_unused_bits_is_refused() -> None:
    """That octet is not signed, and the library reads over it where the bits happen to be zero."""
    lists = (HONEST.crl("root", ISSUED - hours * timedelta(hours=1)) for hours in range(400))
    honest = next(one for one in lists if not one[-1] & 1)
    changed = bytearray(honest)
    changed[-len(x509.load_der_x509_crl(honest).signature) - 1] = 1
    check_refusal(
        Row(
            "root_crl_issuer",
            "one unused bit",
            collateral=lambda c: replace(c, root_ca_crl=bytes(changed)),
        )
    )
