"""Contracts become policies: nothing is accepted by default, every listed value must hold."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from coterie.attestation.appraiser import Appraisal, Appraiser, assess
from coterie.attestation.authentic import Vetted
from coterie.attestation.dcap_contracted import policies_of
from coterie.attestation.quote import parse_quote
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.attestation.tee.simulated.statements import SimulatedLevel
from coterie.attestation.verdict import Verdict
from coterie.contract.trust import RolesTrust, RoleTrust, TrustSection
from coterie.errors import EvidenceRefused

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PKI = SimulatedPki(
    levels=(SimulatedLevel("SWHardeningNeeded", ("INTEL-SA-00615",)),),
    tcb_info_evaluation=17,
    qe_identity_evaluation=17,
)
REPORT = EnclaveFields(mrenclave=b"\x11" * 32, mrsigner=b"\x22" * 32, isv_prod_id=7, isv_svn=3)
GOOD = RoleTrust(
    mrenclave=("00" * 32, "11" * 32),
    mrsigner="22" * 32,
    isv_prod_id=7,
    minimum_isv_svn=3,
    accepted_tcb_statuses=("UpToDate", "SWHardeningNeeded"),
    accepted_advisories=("INTEL-SA-00615",),
    minimum_tcb_evaluation_number=17,
    fmspc=(PKI.fmspc.hex(),),
    ppid=(PKI.ppid.hex(),),
)


def failed_check(table: RoleTrust, pki: SimulatedPki = PKI) -> str | None:
    outcome = assess(
        sgx_quote(pki, REPORT),
        pki.collateral(AT),
        kind="simulated",
        root=pki.trust_root,
        policies=policies_of(table, None),
        at=AT,
    )
    return None if outcome.refusal is None else outcome.refusal.failed_check


def test_a_contract_that_lists_everything_accepts() -> None:
    assert failed_check(GOOD) is None
    assert [name for policy in policies_of(GOOD, None) for name in policy.check_names] == [
        "tcb_status",
        "advisories",
        "evaluation_number",
        "mrenclave",
        "mrsigner",
        "isv_prod_id",
        "isv_svn",
        "platform_fmspc",
        "platform_ppid",
    ]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"accepted_tcb_statuses": ("UpToDate",)}, "tcb_status"),
        ({"accepted_tcb_statuses": ()}, "tcb_status"),
        ({"accepted_advisories": ()}, "advisories"),
        ({"accepted_advisories": ("INTEL-SA-00614",)}, "advisories"),
        ({"accepted_advisories": (), "refused_advisories": ("INTEL-SA-00615",)}, "advisories"),
        ({"minimum_tcb_evaluation_number": 18}, "evaluation_number"),
        ({"mrenclave": ("00" * 32,)}, "mrenclave"),
        ({"measurement": "own"}, "mrenclave"),
        ({"mrsigner": "00" * 32}, "mrsigner"),
        ({"isv_prod_id": 6}, "isv_prod_id"),
        ({"minimum_isv_svn": 4}, "isv_svn"),
        ({"mrtd": ("11" * 48,)}, "mrtd"),
        ({"fmspc": ("00" * 6,)}, "platform_fmspc"),
        ({"ppid": ("00" * 16,)}, "platform_ppid"),
        ({"refuse_smt": True}, "platform_smt"),
        ({"refuse_dynamic_platform": True}, "platform_dynamic_platform"),
        ({"refuse_cached_keys": True}, "platform_cached_keys"),
    ],
)
def test_one_value_that_differs_refuses(change: dict[str, object], check: str) -> None:
    assert failed_check(GOOD.model_copy(update=change)) == check


def test_what_is_not_refused_is_accepted() -> None:
    """Open advisories where others are refused, and features that the certificate says are off."""
    change = {"accepted_advisories": (), "refused_advisories": ("INTEL-SA-00614",)}
    assert failed_check(GOOD.model_copy(update=change)) is None
    off = replace(PKI, configuration=(False, False, False))
    features = dict.fromkeys(("refuse_smt", "refuse_dynamic_platform", "refuse_cached_keys"), True)
    assert failed_check(GOOD.model_copy(update=features), off) is None


@pytest.mark.parametrize(("days", "check"), [(30, "tcb_date"), (31, None), (None, None)])
def test_a_platform_is_out_of_date_for_as_long_as_the_contract_grants(
    days: int | None, check: str | None
) -> None:
    level = SimulatedLevel("OutOfDate", ("INTEL-SA-00615",), date=AT - timedelta(days=31))
    table = GOOD.model_copy(
        update={"accepted_tcb_statuses": ("OutOfDate",), "out_of_date_grace_days": days}
    )
    assert failed_check(table, replace(PKI, levels=(level,))) == check


def test_every_tdx_register_of_the_contract_is_a_policy() -> None:
    names = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
    table = RoleTrust(
        **dict.fromkeys(names, ("00" * 48,)),  # type: ignore[arg-type]
        td_attributes=("0000001000000000",),
        xfam=("e702060000000000",),
    )
    checks = [name for policy in policies_of(table, None) for name in policy.check_names]
    assert checks == ["tcb_status", "advisories", *names, "td_attributes", "xfam"]


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_production_contracts_without_reference_values_are_errors(tee: str) -> None:
    with pytest.raises(ValidationError):
        TrustSection.model_validate(
            {
                "tee": tee,
                "roles": {
                    "ps": {
                        "accepted_tcb_statuses": ["UpToDate"],
                        "minimum_tcb_evaluation_number": 17,
                    }
                },
            }
        )


def test_a_refusal_lists_what_was_not_run() -> None:
    trust = TrustSection(tee="simulated", roles=RolesTrust(ps=GOOD))
    quote = bytearray(sgx_quote(SimulatedPki(), REPORT))
    quote[48 + 64] ^= 1
    outcome = Appraiser(trust, own_measurement=None).assess(
        bytes(quote),
        report_data=bytes(64),
        role="ps",
        kind="simulated",
        collateral=SimulatedPki().collateral(AT),
        at=AT,
    )
    outcomes = {check.name: check.outcome for check in outcome.checks}
    assert outcomes["pck_chain_signature"] == "passed"
    assert outcomes["quote_signature"] == "failed"
    assert outcomes["tcb_status"] == "not_run"
    assert outcomes["report_data"] == "not_run"
    assert outcome.evidence is None


def test_whoever_listens_hears_of_every_appraisal() -> None:
    """Metrics and doctors count refusals by their check."""
    heard: list[Appraisal] = []
    trust = TrustSection(tee="simulated", roles=RolesTrust(ps=GOOD))
    appraiser = Appraiser(trust, own_measurement=None).heard_by(heard.append)

    def appraise(report_data: bytes) -> Verdict:
        return appraiser.appraise(
            parse_quote(sgx_quote(PKI, REPORT)),
            report_data=report_data,
            role="ps",
            kind="simulated",
            collateral=Vetted(PKI.collateral(AT)),
            at=AT,
        )

    accepted = appraise(bytes(64))
    with pytest.raises(EvidenceRefused, match="made for something else") as refusal:
        appraise(b"\1" * 64)
    assert [outcome.verdict for outcome in heard] == [accepted, None]
    assert [outcome.refusal for outcome in heard] == [None, refusal.value]


def test_a_role_without_reference_values_trusts_nobody() -> None:
    trust = TrustSection(tee="simulated", roles=RolesTrust(ps=GOOD))
    outcome = Appraiser(trust, own_measurement=None).assess(
        sgx_quote(PKI, REPORT),
        report_data=None,
        role="chief",
        kind="simulated",
        collateral=PKI.issue(AT),
        at=AT,
    )
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check == "role"


def test_a_role_trusts_nobody_in_a_kind_that_it_does_not_list() -> None:
    """The contract gives the node this kind; whoever judges by a stricter section lists another."""
    trust = TrustSection(tee="simulated", roles=RolesTrust(ps=GOOD))
    outcome = Appraiser(trust, own_measurement=None).assess(
        sgx_quote(PKI, REPORT),
        report_data=None,
        role="ps",
        kind="simulated-snp",
        collateral=PKI.issue(AT),
        at=AT,
    )
    refusal = outcome.refusal
    assert refusal is not None
    assert (refusal.failed_check, refusal.expected) == ("tee_kind", "simulated")
    assert refusal.seen == "simulated-snp"


def test_the_worst_status_of_platform_and_quoting_enclave_counts() -> None:
    pki = replace(PKI, qe_levels=(SimulatedLevel("OutOfDate", ("INTEL-SA-00477",)),))
    outcome = assess(
        sgx_quote(pki, REPORT),
        pki.collateral(AT),
        kind="simulated",
        root=pki.trust_root,
        policies=(),
        at=AT,
    )
    assert outcome.verdict is not None
    assert outcome.verdict.tcb_status == "OutOfDate"
    assert outcome.verdict.advisories == ("INTEL-SA-00477", "INTEL-SA-00615")
    assert outcome.verdict.evaluation_number == 17
    assert json.dumps(dict(outcome.verdict.measurements))
