"""Genuine evidence that the contract does not list."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from coterie.attestation.appraiser import assess
from coterie.attestation.platform_policy import FEATURES, FeatureOff, OutOfDateWithin, PlatformIn
from coterie.attestation.policy import (
    AdvisoriesWithin,
    AdvisoriesWithout,
    MeasurementIn,
    MinimumEvaluation,
    Policy,
    ProductOf,
    ReportDataIs,
    TcbStatusIn,
)
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.statements import SimulatedLevel
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused
from tests.attestation.forgeries import AT, HONEST, TDX, Row, check_refusal, title

# Dynamic platform, cached keys, SMT: as the certificate has them.
ONE_ON = {
    "dynamic_platform": (True, False, False),
    "cached_keys": (False, True, False),
    "smt": (False, False, True),
}
OUT_OF_DATE = replace(
    HONEST,
    levels=(SimulatedLevel("UpToDate", (), 9), SimulatedLevel("OutOfDate", ("INTEL-SA-00001",))),
)


def late(part: str, date: datetime) -> SimulatedPki:
    """A vendor to whom a part of its platform is out of date since a while."""
    level = SimulatedLevel("OutOfDate", date=date)
    return (
        replace(HONEST, levels=(level,))
        if part == "platform"
        else replace(HONEST, qe_levels=(level,))
    )


# 100 days before the moment that counts.
LONG_AGO = AT - timedelta(days=100)
POLICY = [
    Row(
        "advisories",
        "an advisory that is refused",
        pki=OUT_OF_DATE,
        policies=(AdvisoriesWithout(("INTEL-SA-00002", "INTEL-SA-00001")),),
    ),
    *(
        Row(
            "tcb_date",
            f"a {part} that is out of date for longer than is granted",
            pki=late(part, LONG_AGO),
            policies=(OutOfDateWithin(99),),
        )
        for part in ("platform", "quoting enclave")
    ),
    Row(
        "tcb_date",
        "a quoting enclave that is out of date for long, on a platform that is not",
        pki=replace(late("quoting enclave", LONG_AGO), levels=late("platform", AT).levels),
        policies=(OutOfDateWithin(99),),
    ),
    *(
        Row(
            f"platform_{feature}",
            f"{feature} on",
            pki=replace(HONEST, configuration=on),
            policies=(FeatureOff(feature),),
        )
        for feature, on in ONE_ON.items()
    ),
    *(
        Row(f"platform_{feature}", f"{feature} not said", policies=(FeatureOff(feature),))
        for feature in FEATURES
    ),
    Row(
        "tcb_status",
        "a status that is not listed",
        pki=OUT_OF_DATE,
        policies=(TcbStatusIn(("UpToDate",)),),
    ),
    Row("tcb_status", "an empty list of statuses", policies=(TcbStatusIn(()),)),
    Row(
        "tcb_status",
        "an outdated quoting enclave",
        pki=replace(HONEST, qe_levels=(SimulatedLevel("OutOfDate"),)),
        policies=(TcbStatusIn(("UpToDate",)),),
    ),
    Row(
        "advisories",
        "an advisory that is not listed",
        pki=OUT_OF_DATE,
        policies=(TcbStatusIn(("OutOfDate",)), AdvisoriesWithin(("INTEL-SA-00002",))),
    ),
    Row(
        "evaluation_number",
        "TCB info of an old recovery",
        pki=replace(HONEST, tcb_info_evaluation=16, qe_identity_evaluation=17),
        policies=(MinimumEvaluation(17),),
    ),
    Row(
        "evaluation_number",
        "a QE identity of an old recovery",
        pki=replace(HONEST, tcb_info_evaluation=17, qe_identity_evaluation=16),
        policies=(MinimumEvaluation(17),),
    ),
    Row("mrenclave", "another program", policies=(MeasurementIn("mrenclave", ("44" * 32,)),)),
    Row("mrenclave", "no reference value", policies=(MeasurementIn("mrenclave", ()),)),
    Row("mrsigner", "another signer", policies=(MeasurementIn("mrsigner", ("44" * 32,)),)),
    Row("isv_prod_id", "another product", policies=(ProductOf(8, 0),)),
    Row("isv_svn", "an old version", policies=(ProductOf(7, 4),)),
    *(
        Row(
            register,
            f"another {register}",
            kind="tdx",
            pki=TDX,
            policies=(MeasurementIn(register, ("ff",)),),
        )
        for register in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "td_attributes", "xfam")
    ),
    Row(
        "mrenclave",
        "a guest where an enclave is demanded",
        kind="tdx",
        pki=TDX,
        policies=(MeasurementIn("mrenclave", ("11" * 32,)),),
    ),
    Row(
        "isv_prod_id",
        "a guest where a product is demanded",
        kind="tdx",
        pki=TDX,
        policies=(ProductOf(0, 0),),
    ),
    Row(
        "platform_fmspc",
        "a platform family not listed",
        policies=(PlatformIn("fmspc", ("00" * 6,)),),
    ),
    Row("platform_ppid", "a platform not listed", policies=(PlatformIn("ppid", ("00" * 16,)),)),
    Row("report_data", "a quote for something else", policies=(ReportDataIs(b"\1" * 64),)),
    Row("report_data", "report data of another length", policies=(ReportDataIs(bytes(63)),)),
]


@pytest.mark.parametrize("row", POLICY, ids=title)
def test_is_refused_by_name(row: Row) -> None:
    check_refusal(row)


ACCEPTED: dict[str, tuple[SimulatedPki, Policy]] = {
    "an advisory that is not refused": (OUT_OF_DATE, AdvisoriesWithout(("INTEL-SA-00002",))),
    "a platform that is not out of date": (late("platform", LONG_AGO), OutOfDateWithin(100)),
    "a quoting enclave within its days": (late("quoting enclave", LONG_AGO), OutOfDateWithin(100)),
    "a platform up to date, of any age": (
        replace(HONEST, levels=(SimulatedLevel(date=LONG_AGO),)),
        OutOfDateWithin(0),
    ),
    **{
        f"only {feature} is off": (
            replace(HONEST, configuration=(not on[0], not on[1], not on[2])),
            FeatureOff(feature),
        )
        for feature, on in ONE_ON.items()
    },
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_is_not_refused_is_accepted(case: str) -> None:
    pki, policy = ACCEPTED[case]
    quote, collateral = Row("", "", pki=pki).evidence()
    outcome = assess(
        quote, collateral, kind="simulated", root=HONEST.trust_root, policies=(policy,), at=AT
    )
    assert outcome.refusal is None
    assert outcome.checks[-1].name == policy.check_names[0]


def test_an_out_of_date_part_without_a_date_is_refused() -> None:
    """The level of a TDX module is in the status and in no date: real evidence would show it."""
    quote, collateral = Row("", "").evidence()
    found = assess(
        quote, collateral, kind="simulated", root=HONEST.trust_root, policies=(), at=AT
    ).evidence
    assert found is not None
    module = replace(found, tcb=replace(found.tcb, status="OutOfDate"))
    with pytest.raises(EvidenceRefused, match="out of date for longer") as refusal:
        OutOfDateWithin(3660).verify(module, CheckList())
    assert refusal.value.failed_check == "tcb_date"
    assert refusal.value.seen == "a TDX module whose level has no date"
