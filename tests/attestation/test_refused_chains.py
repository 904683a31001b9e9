"""Certificate chains with another root, role, signature or time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.attestation.forgeries import (
    FUTURE,
    HONEST,
    PAST,
    STRANGER,
    UNSIGNED_SIGNER,
    Row,
    block,
    chain_of,
    check_refusal,
    put_field,
    signed_by,
    spans,
    title,
)

CHAINS = [
    Row(
        "pck_chain_root",
        "another vendor's root with the same names",
        quoting=lambda quoting: replace(quoting, pck_chain=STRANGER.pck_chain),
    ),
    Row(
        "pck_chain_role",
        "a PCK certificate with another name",
        pki=replace(HONEST, pck_name="Other"),
    ),
    Row("pck_chain_role", "a PCK CA with another name", pki=replace(HONEST, pck_ca_name="Other")),
    Row(
        "pck_chain_signature",
        "another vendor's platform under the right CA",
        quoting=lambda quoting: replace(
            quoting,
            pck_chain=chain_of(
                block(STRANGER.pck_chain, 0), block(HONEST.pck_chain, 1), block(HONEST.pck_chain, 2)
            ),
        ),
    ),
    Row("pck_chain_validity", "an expired PCK certificate", pki=spans("pck", PAST)),
    Row("pck_chain_validity", "a PCK certificate from the future", pki=spans("pck", FUTURE)),
    Row("pck_chain_validity", "an expired PCK CA", pki=spans("pck_ca", PAST)),
    Row("pck_chain_validity", "before the root", at=datetime(2019, 1, 1, tzinfo=UTC)),
    Row(
        "pck_crl_chain_format",
        "no issuer chain of the PCK CRL",
        collateral=lambda c: replace(c, pck_crl_issuer_chain=""),
    ),
    Row(
        "pck_crl_chain_root",
        "another vendor's CRL chain",
        collateral=lambda c: replace(c, pck_crl_issuer_chain=STRANGER.chain("pck_ca")),
    ),
    Row(
        "pck_crl_chain_role",
        "the TCB signer as CRL issuer",
        collateral=lambda c: replace(c, pck_crl_issuer_chain=HONEST.chain("tcb_signer")),
    ),
    Row(
        "pck_crl_chain_signature",
        "a CRL issuer that the root never signed",
        collateral=lambda c: replace(
            c,
            pck_crl_issuer_chain=chain_of(
                block(STRANGER.chain("pck_ca"), 0), block(HONEST.chain("pck_ca"), 1)
            ),
        ),
    ),
    Row(
        "pck_crl_chain_validity",
        "an expired CRL issuer",
        collateral=lambda c: replace(c, pck_crl_issuer_chain=spans("pck_ca", PAST).chain("pck_ca")),
    ),
    Row(
        "pck_crl_chain_issuer",
        "the CRL of another PCK CA",
        pki=replace(HONEST, pck_crl_issuer="other_ca"),
    ),
]
for statement in ("tcb_info", "qe_identity"):
    chain = f"{statement}_issuer_chain"
    CHAINS += [
        Row(
            f"{statement}_chain_format",
            f"{statement}: text between certificates",
            collateral=put_field(chain, lambda text: text + "\n"),
        ),
        Row(
            f"{statement}_chain_root",
            f"{statement}: another vendor's",
            collateral=put_field(chain, lambda _: STRANGER.chain("tcb_signer")),
        ),
        Row(
            f"{statement}_chain_role",
            f"{statement}: signed by the platform's PCK key",
            pki=signed_by(statement, "pck"),
        ),
        Row(
            f"{statement}_chain_role",
            f"{statement}: signed by the PCK CA",
            pki=signed_by(statement, "pck_ca"),
        ),
        Row(
            f"{statement}_chain_role",
            f"{statement}: signed by the root",
            pki=signed_by(statement, "root"),
        ),
        Row(
            f"{statement}_chain_signature",
            f"{statement}: a signer that the root never signed",
            collateral=put_field(chain, lambda _: UNSIGNED_SIGNER),
        ),
        Row(
            f"{statement}_chain_validity",
            f"{statement}: an expired signer",
            collateral=put_field(chain, lambda _: spans("tcb_signer", PAST).chain("tcb_signer")),
        ),
    ]
CHAINS += [
    Row(
        "tcb_info_chain_role",
        "a TCB signer with another name",
        pki=replace(HONEST, tcb_signer_name="Other"),
    ),
    Row(
        "tcb_info_chain_role",
        "a TCB signer under the PCK CA",
        pki=replace(HONEST, tcb_signer_issuer="pck_ca"),
    ),
]


@pytest.mark.parametrize("row", CHAINS, ids=title)
def test_is_refused_by_name(row: Row) -> None:
    check_refusal(row)
