"""Genuine evidence that the contract does not list."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.attestation.policy import (
    AdvisoriesWithin,
    MeasurementIn,
    MinimumEvaluation,
    PlatformIn,
    ProductOf,
    ReportDataIs,
    TcbStatusIn,
)
from coterie.attestation.tee.simulated.statements import SimulatedLevel
from tests.attestation.forgeries import HONEST, TDX, Row, check_refusal, title

OUT_OF_DATE = replace(
    HONEST,
    levels=(SimulatedLevel("UpToDate", (), 9), SimulatedLevel("OutOfDate", ("INTEL-SA-00001",))),
)
POLICY = [
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
