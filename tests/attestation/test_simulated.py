"""The simulated TEE: the same root everywhere, genuine bytes, and a verdict that says SIMULATED."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.authentic import Vetted
from coterie.attestation.collateral_source import SimulatedCollateral
from coterie.attestation.measurement import own_package_measurement, package_measurement
from coterie.attestation.quote import parse_quote
from coterie.attestation.roots import INTEL_ROOT
from coterie.attestation.snp.roots import AMD_ROOTS
from coterie.attestation.tee.by_kind import (
    open_tee,
    root_for,
    simulated_root,
    simulated_snp_roots,
)
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.contract.trust import RolesTrust, RoleTrust, TrustSection
from coterie.errors import EnvironmentUnfit, EvidenceRefused

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MEASUREMENT = b"\x11" * 32
DATA = bytes(range(64))
TRUST = TrustSection(
    tee="simulated",
    roles=RolesTrust(ps=RoleTrust(measurement="own", accepted_tcb_statuses=("UpToDate",))),
)


def test_every_machine_derives_the_same_root() -> None:
    digest = hashlib.sha256(SimulatedPki().root_certificate_der).hexdigest()
    assert digest == "d58fbf8f5b0fe17cd8b28ce7ce0fe5f48804ce919863161fed6db95ec564b550"
    assert root_for("simulated") is simulated_root()
    assert root_for("sgx") is INTEL_ROOT
    assert root_for("tdx") is INTEL_ROOT
    assert root_for("snp") is AMD_ROOTS
    assert root_for("simulated-snp") is simulated_snp_roots()


def test_quotes_and_collateral_are_reproducible() -> None:
    assert SimulatedTee(MEASUREMENT).quote(DATA) == SimulatedTee(MEASUREMENT).quote(DATA)
    assert SimulatedPki().issue(AT) == SimulatedPki().issue(AT)


def test_a_node_accepts_its_own_package() -> None:
    tee = SimulatedTee(MEASUREMENT, clock=lambda: AT)
    appraiser = Appraiser(TRUST, own_measurement=MEASUREMENT)
    verdict = appraiser.appraise(
        parse_quote(tee.quote(DATA)),
        report_data=DATA,
        role="ps",
        kind="simulated",
        collateral=Vetted(tee.collateral()),
        at=AT,
    )
    assert verdict.simulated
    assert verdict.tee == "simulated"
    assert verdict.tcb_status == "UpToDate"
    assert dict(verdict.measurements)["mrenclave"] == MEASUREMENT.hex()
    assert verdict.expiry == datetime(2026, 3, 30, tzinfo=UTC)
    assert all(check.outcome == "passed" for check in verdict.checks)


@pytest.mark.parametrize(
    ("own", "role", "data", "check"),
    [
        (b"\x12" * 32, "ps", DATA, "mrenclave"),
        (None, "ps", DATA, "mrenclave"),
        (MEASUREMENT, "worker", DATA, "role"),
        (MEASUREMENT, "ps", bytes(64), "report_data"),
    ],
)
def test_others_are_refused(own: bytes | None, role: str, data: bytes, check: str) -> None:
    tee = SimulatedTee(MEASUREMENT)
    with pytest.raises(EvidenceRefused) as refusal:
        Appraiser(TRUST, own_measurement=own).appraise(
            parse_quote(tee.quote(DATA)),
            report_data=data,
            role=role,  # type: ignore[arg-type]
            kind="simulated",
            collateral=Vetted(tee.collateral(AT)),
            at=AT,
        )
    assert refusal.value.failed_check == check


@pytest.mark.parametrize("kind", ["sgx", "tdx"])
def test_production_contracts_refuse_simulated_evidence(kind: str) -> None:
    table = RoleTrust(
        mrenclave=(MEASUREMENT.hex(),),
        minimum_tcb_evaluation_number=1,
        accepted_tcb_statuses=("UpToDate",),
        mrtd=("00" * 48,),
        rtmr0=("00" * 48,),
        rtmr1=("00" * 48,),
        rtmr2=("00" * 48,),
        rtmr3=("00" * 48,),
        td_attributes=("0000001000000000",),
        xfam=("e700000000000000",),
    )
    trust = TrustSection(tee=kind, roles=RolesTrust(ps=table))  # type: ignore[arg-type]
    tee = SimulatedTee(MEASUREMENT)
    with pytest.raises(EvidenceRefused) as refusal:
        Appraiser(trust, own_measurement=None).appraise(
            parse_quote(tee.quote(DATA)),
            report_data=DATA,
            role="ps",
            kind=kind,  # type: ignore[arg-type]
            collateral=Vetted(tee.collateral(AT)),
            at=AT,
        )
    assert refusal.value.failed_check == "tee_kind"
    assert "simulated" in refusal.value.seen


@pytest.mark.parametrize("days", [0, 1, 365, 3650])
def test_long_runs_and_late_starts_find_current_collateral(days: int) -> None:
    at = AT + timedelta(days=days)
    tee = SimulatedTee(MEASUREMENT)
    verdict = Appraiser(TRUST, own_measurement=MEASUREMENT).appraise(
        parse_quote(tee.quote(DATA)),
        report_data=DATA,
        role="ps",
        kind="simulated",
        collateral=Vetted(tee.collateral(at)),
        at=at,
    )
    assert verdict.expiry > at + timedelta(days=20)


def test_collateral_of_two_clocks_around_midnight_serves_both() -> None:
    late = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    early = late + timedelta(seconds=2)
    quote = parse_quote(SimulatedTee(MEASUREMENT).quote(DATA))
    for made, judged in ((late, early), (early, late)):
        Appraiser(TRUST, own_measurement=MEASUREMENT).appraise(
            quote,
            report_data=DATA,
            role="ps",
            kind="simulated",
            collateral=Vetted(SimulatedCollateral().collateral_for(quote, made)),
            at=judged,
        )


def test_measurements_of_another_length_are_defects() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SimulatedTee(b"short")
    with pytest.raises(ValueError, match="64 bytes"):
        SimulatedTee(MEASUREMENT).quote(b"short")


def test_the_description_says_that_it_proves_nothing() -> None:
    description = SimulatedTee(MEASUREMENT).describe()
    assert description.kind == "simulated"
    assert description.measurement == MEASUREMENT.hex()
    assert "prove nothing" in description.details


def test_opening_gives_the_named_tee_and_no_other(tmp_path: Path) -> None:
    for tensorflow in (False, True):
        own = own_package_measurement(tensorflow=tensorflow).hex()
        assert open_tee("simulated", tensorflow=tensorflow).describe().measurement == own
    assert open_tee("sgx", root=tmp_path).kind == "sgx"
    assert open_tee("tdx", root=tmp_path).kind == "tdx"


def package(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_changed_code_gives_another_measurement(tmp_path: Path) -> None:
    first = package_measurement(package(tmp_path / "1", a_py="x", b__c_py="y"))
    variants = [
        package(tmp_path / "2", a_py="x", b__c_py="z"),
        package(tmp_path / "3", a_py="x", b__d_py="y"),
        package(tmp_path / "4", a_py="x", b__c_py="y", requirements="z"),
        package(tmp_path / "5", a_py="xy", b__c_py=""),
        package(tmp_path / "6", a_py="x"),
    ]
    measured = {package_measurement(variant) for variant in variants}
    assert len(measured | {first}) == len(variants) + 1
    assert package_measurement(package(tmp_path / "7", b__c_py="y", a_py="x")) == first


def test_interpreter_caches_do_not_count(tmp_path: Path) -> None:
    first = package_measurement(package(tmp_path, a_py="x"))
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"cache")
    (tmp_path / "a.pyc").write_bytes(b"cache")
    assert package_measurement(tmp_path) == first


def test_the_native_part_counts_for_nodes_that_load_it(tmp_path: Path) -> None:
    """It is built on each machine, or on none: nodes that never load it are of one program."""
    other = package(
        tmp_path, a_py="x", tensorflow__native_py="y", tensorflow__native__attested_sockets_c="z"
    )
    without = {native: package_measurement(other, tensorflow=native) for native in (False, True)}
    library = other / "tensorflow" / "native" / "libattested_sockets.so"
    library.write_bytes(b"built here")
    assert package_measurement(other) == without[False]
    assert package_measurement(other, tensorflow=True) != without[True]
    elsewhere = other / "tensorflow" / "libattested_sockets.so"
    library.rename(elsewhere)  # where a module may be imported from, all counts
    assert package_measurement(other) != without[False]


def test_other_native_libraries_count_by_their_sources_only(tmp_path: Path) -> None:
    """Machines with and without a C compiler have one measurement."""
    other = package(tmp_path, a_py="x", plane__native__sums_c="y")
    without = package_measurement(other, tensorflow=True)
    (other / "plane" / "native" / "libplane.so").write_bytes(b"built here")
    assert package_measurement(other, tensorflow=True) == without
    (other / "plane" / "native" / "sums.c").write_text("z")
    assert package_measurement(other) != without


def test_nothing_to_measure_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnfit, match="cannot be measured"):
        package_measurement(tmp_path)


@pytest.mark.system
def test_attestation_needs_no_tensorflow() -> None:
    program = (
        "import sys, coterie.attestation, coterie.cli.attest, coterie.cli.doctor, "
        "coterie.attestation.pccs; "
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
