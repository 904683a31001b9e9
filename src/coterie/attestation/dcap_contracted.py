"""The policies of a contract's table of a role in SGX or TDX."""

from __future__ import annotations

from coterie.attestation.platform_policy import FEATURES, FeatureOff, OutOfDateWithin, PlatformIn
from coterie.attestation.policy import (
    AdvisoriesWithin,
    AdvisoriesWithout,
    MeasurementIn,
    MinimumEvaluation,
    Policy,
    ProductOf,
    TcbStatusIn,
)
from coterie.contract.trust import RoleTrust

TDX_REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "td_attributes", "xfam")


def policies_of(table: RoleTrust, own_measurement: bytes | None) -> tuple[Policy, ...]:
    """Turns the table of a role in SGX or TDX into policies; every value that it lists must hold.

    Args:
        table: The contract's table.
        own_measurement: This node's own measurement, for ``measurement = "own"``.
    """
    policies: list[Policy] = [
        TcbStatusIn(table.accepted_tcb_statuses),
        AdvisoriesWithout(table.refused_advisories)
        if table.refused_advisories
        else AdvisoriesWithin(table.accepted_advisories),
    ]
    if table.out_of_date_grace_days is not None:
        policies.append(OutOfDateWithin(table.out_of_date_grace_days))
    policies += [FeatureOff(name) for name in FEATURES if getattr(table, f"refuse_{name}")]
    if table.minimum_tcb_evaluation_number is not None:
        policies.append(MinimumEvaluation(table.minimum_tcb_evaluation_number))
    if table.measurement == "own":
        own = () if own_measurement is None else (own_measurement.hex(),)
        policies.append(MeasurementIn("mrenclave", own, own=True))
    if table.mrenclave:
        policies.append(MeasurementIn("mrenclave", table.mrenclave))
    if (
        table.mrsigner is not None
        and table.isv_prod_id is not None
        and table.minimum_isv_svn is not None
    ):
        policies.append(MeasurementIn("mrsigner", (table.mrsigner,)))
        policies.append(ProductOf(table.isv_prod_id, table.minimum_isv_svn))
    for register in TDX_REGISTERS:
        accepted: tuple[str, ...] = getattr(table, register)
        if accepted:
            policies.append(MeasurementIn(register, accepted))
    if table.fmspc:
        policies.append(PlatformIn("fmspc", table.fmspc))
    if table.ppid:
        policies.append(PlatformIn("ppid", table.ppid))
    return tuple(policies)
