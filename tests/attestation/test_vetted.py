"""Evidence that was authenticated to vet collateral is not authenticated again, nor taken for what it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.authentic import Vetted
from coterie.attestation.collateral_source import CachedCollateral, stapled
from coterie.attestation.json_collateral import MAX_CRL_BYTES
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.contract.trust import RolesTrust, RoleTrust, TrustSection
from tests.attestation.test_collateral import AT, NEW, OLD, PKI, QUOTE, Queue

TRUSTED = RoleTrust(mrenclave=("01" * 32,), accepted_tcb_statuses=("UpToDate",))
OTHER = parse_quote(sgx_quote(PKI, EnclaveFields(mrenclave=b"\2" * 32)))


def test_evidence_holds_for_its_quote_and_moment_only() -> None:
    cache = CachedCollateral(Queue([NEW]), kinds={"simulated"})
    vetted = cache.vetted_for(QUOTE, AT)
    evidence = vetted.evidence_of(QUOTE, AT)
    assert evidence is not None
    assert evidence.quote is QUOTE
    assert vetted.evidence_of(OTHER, AT) is None
    assert vetted.evidence_of(QUOTE, AT + timedelta(seconds=1)) is None


def test_what_is_held_has_no_evidence_of_a_new_quote() -> None:
    cache = CachedCollateral(Queue([NEW]), kinds={"simulated"})
    cache.vetted_for(QUOTE, AT)
    held = cache.vetted_for(OTHER, AT)
    assert (held.collateral, held.evidence) == (NEW, None)


def test_evidence_by_older_collateral_is_none_by_what_is_held() -> None:
    """Else a peer would be judged by the collateral that it stapled, not by the newest."""
    cache = CachedCollateral(Queue([NEW]), kinds={"simulated"})
    cache.vetted_for(QUOTE, AT)
    joined = cache.remember(QUOTE, OLD, AT)
    assert (joined.collateral, joined.evidence) == (NEW, None)


def test_a_verdict_is_the_same_whether_evidence_was_authenticated_before_or_not() -> None:
    trust = TrustSection(tee="simulated", roles=RolesTrust(ps=TRUSTED))
    appraiser = Appraiser(trust, own_measurement=None)
    verdicts = [
        appraiser.appraise(
            QUOTE,
            report_data=QUOTE.report_data,
            role="ps",
            kind="simulated",
            collateral=vetted,
            at=AT,
        )
        for vetted in (
            CachedCollateral(Queue([NEW]), kinds={"simulated"}).vetted_for(QUOTE, AT),
            Vetted(NEW),
        )
    ]
    assert verdicts[0] == verdicts[1]


def test_collateral_that_no_peer_would_read_is_not_sent() -> None:
    """Two CRLs of the greatest size are, in hex, more than a message may hold."""
    quote = sgx_quote(PKI, EnclaveFields(mrenclave=b"\1" * 32))
    large = replace(NEW, root_ca_crl=bytes(MAX_CRL_BYTES), pck_crl=bytes(MAX_CRL_BYTES))
    assert stapled(Queue([NEW]), quote, AT) == NEW.to_json().encode()
    assert stapled(Queue([large]), quote, AT) == b""
