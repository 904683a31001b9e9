"""Authenticates a DCAP quote with its collateral: finds its platform and the platform's state.

The rules, in order; the first broken rule names the refusal:

1. the quote is framed strictly and is of the demanded kind of TEE, under that kind's root
   (``evidence.py``);
2. its attributes have no value that is always refused;
3. each of the four chains has its shape, root, roles, signatures and validity, and the chain of
   the PCK CRL is the PCK certificate's own CA;
4. both CRLs are present, issued by the right CAs, current, and revoke none of the certificates;
5. TCB info and QE identity are for this TEE, current, and for this FMSPC and PCE id;
6. all signatures from the root down to the quote hold and a TCB level matches (dcap-qvl).

Time is an argument. Policies check reference values and accepted states.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from coterie.attestation import dcap
from coterie.attestation.attributes import rules_of, verify_attributes
from coterie.attestation.authentic import AuthenticEvidence
from coterie.attestation.chains import (
    LONGEST_CHAIN,
    ChainRule,
    chain_end,
    pck_chain_rule,
    read_chain,
    verify_chain,
)
from coterie.attestation.collateral import Collateral
from coterie.attestation.pem import canonical_chain
from coterie.attestation.quote import Quote
from coterie.attestation.revocation import read_crl, verify_crl, verify_not_revoked
from coterie.attestation.roots import TrustRoot
from coterie.attestation.statements import parse_statement, verify_statement
from coterie.attestation.verdict import CheckList, collateral_refused
from coterie.kinds import OF_TDX, OF_VTPM, TeeKind

CHAINS = ("pck_chain", "pck_crl_chain", "tcb_info_chain", "qe_identity_chain")
REVOCATIONS = ("root_revocation", "pck_ca_revocation", "tcb_signer_revocation", "pck_revocation")


def dcap_check_names(kind: TeeKind) -> tuple[str, ...]:
    """Names of all checks that :func:`authenticate_dcap` makes for one kind of TEE, in order."""
    tdx = kind in OF_TDX
    names = [rule.check for rule in rules_of(kind)]
    names += ["td_service"] if tdx else []
    for chain in CHAINS:
        steps = ("root", "role", "signature", "validity")
        names += [f"{chain}_{step}" for step in ("format", *steps)]
    names.append("pck_crl_chain_issuer")
    for crl in ("root_crl", "pck_crl"):
        names += [f"{crl}_{step}" for step in ("format", "issuer", "validity")]
    names += REVOCATIONS
    for statement in ("tcb_info", "qe_identity"):
        names += [f"{statement}_{step}" for step in ("format", "kind", "validity")]
    names += ["pck_extension", "fmspc", "pce_id"]
    names += [name for name in dcap.CHECKS if tdx or name != "tdx_module"]
    names.remove("pck_chain_format")  # part of the check of the quote's format
    return tuple(names)


def authenticate_dcap(
    quote: Quote,
    collateral: Collateral,
    *,
    kind: TeeKind,
    root: TrustRoot,
    at: datetime,
    checks: CheckList,
) -> AuthenticEvidence:
    """Authenticates a quote.

    Args:
        quote: The quote.
        collateral: Collateral for its platform.
        kind: The one kind of TEE that is accepted.
        root: The one root that is accepted.
        at: The moment that counts, with a time zone.
        checks: Takes up every check that passed.

    Raises:
        EvidenceRefused: A check failed; see the module's rules.
    """
    tdx = kind in OF_TDX
    verify_attributes(quote.report, kind=kind, checks=checks)
    ends, collateral = _verify_certificates(quote, collateral, root, at, checks)
    tcb_info = parse_statement(collateral.tcb_info, "tcb_info")
    checks.passed("tcb_info_format")
    info_id, qe_id = ("TDX", "TD_QE") if tdx else ("SGX", "QE")
    qe_versions = (2, 3) if tdx else (2,)
    verify_statement(tcb_info, "tcb_info", identity=info_id, versions=(3,), at=at, checks=checks)
    qe_identity = parse_statement(collateral.qe_identity, "qe_identity")
    checks.passed("qe_identity_format")
    verify_statement(
        qe_identity, "qe_identity", identity=qe_id, versions=qe_versions, at=at, checks=checks
    )
    platform = dcap.platform_identity(quote.pck_chain_pem)
    checks.passed("pck_extension")
    _verify_same("fmspc", platform.fmspc, tcb_info.fmspc, "platform family (FMSPC)", checks)
    _verify_same(
        "pce_id", platform.pce_id, tcb_info.pce_id, "provisioning enclave (PCE id)", checks
    )
    if kind in OF_VTPM:
        from coterie.attestation.paravisor import verify_paravisor  # nobody else loads it

        tcb = verify_paravisor(quote, collateral, root, at)
    else:
        tcb = dcap.verify_quote(quote.canonical, collateral, root, at)
    for name in dcap.CHECKS:
        if tdx or name != "tdx_module":
            checks.passed(name)
    return AuthenticEvidence(
        kind=kind,
        quote=quote,
        tcb=tcb,
        platform=platform,
        evaluation_number=min(tcb_info.evaluation_number, qe_identity.evaluation_number),
        expiry=min(*ends, tcb_info.next_update, qe_identity.next_update),
        at=at,
        checks=checks.checks,
    )


def _verify_certificates(
    quote: Quote, collateral: Collateral, root: TrustRoot, at: datetime, checks: CheckList
) -> tuple[list[datetime], Collateral]:
    """Verifies chains and CRLs; returns their expiries and the collateral with canonical chains."""
    names = root.names
    rules = {
        "pck_chain": pck_chain_rule(root),
        "pck_crl_chain": ChainRule("pck_crl_chain", (names.pck_cas,), crl_signer=True),
        "tcb_info_chain": ChainRule("tcb_info_chain", ((names.tcb_signer,),)),
        "qe_identity_chain": ChainRule("qe_identity_chain", ((names.tcb_signer,),)),
    }
    texts = {
        "pck_crl_chain": collateral.pck_crl_issuer_chain,
        "tcb_info_chain": collateral.tcb_info_issuer_chain,
        "qe_identity_chain": collateral.qe_identity_issuer_chain,
    }
    chains = {"pck_chain": quote.pck_chain}  # the quote's parser has checked its format
    for check in CHAINS:
        if check in texts:
            chains[check] = read_chain(texts[check], rules[check])
            checks.passed(f"{check}_format")
        verify_chain(chains[check], rules[check], root=root, at=at, checks=checks)
    pck, pck_ca, root_certificate = chains["pck_chain"]
    crl_ca = chains["pck_crl_chain"][0]
    if crl_ca.subject != pck_ca.subject or crl_ca.public_key() != pck_ca.public_key():
        raise collateral_refused(
            "pck_crl_chain_issuer",
            "the collateral's PCK CRL is another CA's",
            expected=f"the CA of the platform: {pck_ca.subject.rfc4514_string()}",
            seen=crl_ca.subject.rfc4514_string(),
        )
    checks.passed("pck_crl_chain_issuer")
    root_crl = read_crl(collateral.root_ca_crl, "root_crl")
    checks.passed("root_crl_format")
    root_end = verify_crl(root_crl, "root_crl", issuer=root_certificate, at=at, checks=checks)
    pck_crl = read_crl(collateral.pck_crl, "pck_crl")
    checks.passed("pck_crl_format")
    pck_end = verify_crl(pck_crl, "pck_crl", issuer=pck_ca, at=at, checks=checks)
    signers = (chains["tcb_info_chain"][0], chains["qe_identity_chain"][0])
    roots = tuple(dict.fromkeys(chain[-1] for chain in chains.values()))
    verify_not_revoked(roots, root_crl, "root_revocation", checks)
    verify_not_revoked((pck_ca, crl_ca), root_crl, "pck_ca_revocation", checks)
    verify_not_revoked(signers, root_crl, "tcb_signer_revocation", checks)
    verify_not_revoked((pck,), pck_crl, "pck_revocation", checks)
    canonical = replace(
        collateral,
        pck_crl_issuer_chain=canonical_chain(collateral.pck_crl_issuer_chain, LONGEST_CHAIN),
        tcb_info_issuer_chain=canonical_chain(collateral.tcb_info_issuer_chain, LONGEST_CHAIN),
        qe_identity_issuer_chain=canonical_chain(
            collateral.qe_identity_issuer_chain, LONGEST_CHAIN
        ),
    )
    return [root_end, pck_end, *(chain_end(chain) for chain in chains.values())], canonical


def _verify_same(check: str, seen: bytes, expected: bytes, title: str, checks: CheckList) -> None:
    if seen != expected:
        raise collateral_refused(
            check,
            f"the TCB info is for another {title}",
            expected=f"{expected.hex()} as in the TCB info",
            seen=f"{seen.hex()} in the PCK certificate",
        )
    checks.passed(check, seen.hex())
