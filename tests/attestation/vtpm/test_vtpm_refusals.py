"""Every check of a virtual TPM's evidence has a row that it refuses, and honest evidence passes all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cached_property

import pytest

from coterie.attestation.appraiser import assess
from coterie.attestation.evidence import check_names
from coterie.attestation.policy import AdvisoriesWithin, MeasurementIn, ReportDataIs, TcbStatusIn
from coterie.attestation.roots import INTEL_ROOT
from coterie.attestation.snp.policies import GuestSvnFrom
from coterie.attestation.snp.roots import AMD_ROOTS
from coterie.attestation.tee.by_kind import root_for
from coterie.attestation.tee.simulated.azure import PARAVISOR, SimulatedVm
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote, tdx_quote
from coterie.attestation.tee.simulated.snp_vendor import SimulatedAmd
from coterie.attestation.tee.simulated.statements import SimulatedLevel
from coterie.attestation.tee.tpm import Quoted
from coterie.attestation.vtpm.quote import encode_vtpm_quote, qualifying_data
from coterie.kinds import TeeKind
from tests.attestation.forgeries import check_refusal, title
from tests.attestation.vtpm.forgeries import (
    AT,
    DATA,
    ISSUED,
    PCRS,
    SNP,
    TDX,
    VALUES,
    Row,
)

STRANGER = SimulatedPki(seed=b"another vendor with the same names", tee="TDX")
REVOKED = (SimulatedLevel(status="Revoked"),)


class Saying(SimulatedVm):
    """A machine whose paravisor has written other runtime data, which the hardware's report binds."""

    change: Callable[[dict[str, object]], object] = staticmethod(lambda said: said)

    @cached_property
    def runtime(self) -> bytes:
        said = self.change(json.loads(SNP.runtime))
        return said if isinstance(said, bytes) else json.dumps(said).encode()


def saying(change: Callable[[dict[str, object]], object]) -> SimulatedVm:
    kind = type("Said", (Saying,), {"change": staticmethod(change)})
    made = kind(pcrs=VALUES)
    assert isinstance(made, SimulatedVm)
    return made


def without_key(said: dict[str, object]) -> object:
    return {**said, "keys": []}


class Quoting(SimulatedVm):
    """A machine whose TPM quotes in another form, and signs that."""

    def quote(self, extra_data: bytes, numbers: tuple[int, ...]) -> Quoted:
        quoted = super().quote(extra_data, numbers)
        return super().sign(b"\0" + quoted.message[1:])


def parts(vm: SimulatedVm = SNP, **changes: object) -> Callable[[bytes], bytes]:
    """Evidence with one part replaced; nothing is signed anew."""
    quoted = vm.quote(qualifying_data(DATA), PCRS)
    made: dict[str, object] = {
        "hardware": vm.hardware,
        "runtime": vm.runtime,
        "message": quoted.message,
        "signature": quoted.signature,
        "pcrs": vm.values(PCRS),
        "report_data": DATA,
    }
    return lambda _: encode_vtpm_quote(**{**made, **changes})  # type: ignore[arg-type]


FORMAT = [
    Row("quote_format", "only the mark", quote=lambda data: data[:8]),
    Row("quote_format", "a byte more", quote=lambda data: data + b"\0"),
    Row("quote_format", "a byte less", quote=lambda data: data[:-1]),
    Row("quote_format", "a PCR less", quote=lambda data: data[:-32]),
    Row("quote_format", "a short signature", quote=parts(signature=bytes(255))),
    Row("quote_format", "a long signature", quote=parts(signature=bytes(257))),
    Row("quote_format", "a long quote", quote=parts(message=bytes(513))),
    Row("quote_format", "long runtime data", quote=parts(runtime=b"{}".ljust(4097))),
    Row("quote_format", "no hardware", quote=parts(hardware=b"")),
    Row("quote_format", "an SNP report without certificates", quote=parts(hardware=SNP.hardware[:1184])),
    Row(
        "quote_format",
        "an enclave below",
        kind="simulated-azure-tdx",
        quote=parts(hardware=sgx_quote(SimulatedPki(), EnclaveFields(bytes(32)))),
    ),
    Row("quote_format", "padding after the TD quote", vm=TDX, quote=parts(TDX, hardware=TDX.hardware + b"\0")),
    Row("quote_format", "a virtual TPM below", quote=parts(hardware=SNP.evidence(DATA, PCRS))),
    Row("runtime_data_format", "runtime data that are no JSON", vm=saying(lambda _: b"{")),
    Row("runtime_data_format", "no configuration", vm=saying(lambda said: {"keys": said["keys"]})),
    Row("runtime_data_format", "an unknown field", vm=saying(lambda said: {**said, "more": 1})),
    Row("tpm_key", "no attestation key", vm=saying(without_key)),
    Row("tpm_quote_format", "a quote that no TPM made", vm=Quoting(pcrs=VALUES)),
    Row("tee_kind", "SNP below where TDX is demanded", kind="simulated-azure-tdx"),
    Row("tee_kind", "TDX below where SNP is demanded", vm=TDX, kind="simulated-azure-snp"),
    Row("tee_kind", "simulated where real is demanded", kind="azure-snp"),
    Row("tee_kind", "simulated where real is demanded, TDX", vm=TDX, kind="azure-tdx"),
    Row("tee_kind", "a TPM where a guest's own report is demanded", kind="simulated-snp"),
    Row("tee_kind", "a TPM where a guest's own quote is demanded", vm=TDX, kind="tdx"),
    Row("tee_kind", "the bare report of the paravisor", quote=lambda _: SNP.hardware),
    Row("tee_kind", "the bare quote of the paravisor", vm=TDX, quote=lambda _: TDX.hardware),
]  # fmt: skip
TPM = [
    *(
        row
        for vm in (SNP, TDX)
        for row in (
            Row("runtime_data_binding", "a report over other data", vm=replace(vm, bound=bytes(64))),
            Row(
                "runtime_data_binding",
                "a report with more than the digest",
                vm=replace(vm, bound=hashlib.sha256(vm.runtime).digest() + b"\1" * 32),
            ),
            Row(
                "runtime_data_binding",
                "the data of another machine",
                vm=vm,
                quote=parts(vm, runtime=replace(vm, key="another vtpm").runtime),
            ),
            Row("tpm_quote_signature", "another key's signature", vm=replace(vm, signer="another vtpm")),
            Row("tpm_quote_signature", "no signature", vm=vm, quote=parts(vm, signature=bytes(256))),
            Row("tpm_quote_data", "other words of the program", vm=vm, quote=parts(vm, report_data=bytes(64))),
            Row("tpm_pcrs", "PCRs that were not quoted", vm=vm, quote=parts(vm, pcrs={**VALUES, 4: bytes(32)})),
            Row(
                "tpm_pcrs",
                "PCRs in another order",
                vm=vm,
                quote=parts(vm, pcrs={4: VALUES[7], 7: VALUES[4], 11: VALUES[11]}),
            ),
        )
    ),
]  # fmt: skip
HARDWARE = [
    Row("policy_debug", "a paravisor that can be debugged", vm=replace(SNP, guest=replace(SNP.guest, policy=0xB001F))),
    Row("vek_chain_root", "another AMD", vm=replace(SNP, amd=SimulatedAmd(root_key="stranger"))),
    Row("quote_signature", "an altered SNP report", quote=parts(hardware=SNP.hardware[:0x90] + b"\1" + SNP.hardware[0x91:])),
    Row("vek_ca_revocation", "a revoked CA", vm=replace(SNP, amd=SimulatedAmd(revoked=frozenset({"ca"})))),
    Row("collateral_format", "Intel's collateral for AMD's", collateral=lambda _: TDX.pki.issue(ISSUED)),
    Row("collateral_format", "AMD's collateral for Intel's", vm=TDX, collateral=lambda _: SNP.amd.issue(ISSUED)),
    Row("td_debug", "a paravisor in debug mode", vm=replace(TDX, td=replace(TDX.td, td_attributes=1))),
    Row("td_reserved", "a paravisor that can be migrated", vm=replace(TDX, td=replace(TDX.td, td_attributes=1 << 29))),
    Row("pck_chain_root", "another Intel", vm=replace(TDX, pki=STRANGER)),
    Row("quote_signature", "an altered TD report", vm=TDX, quote=parts(TDX, hardware=TDX.hardware[:200] + b"\1" + TDX.hardware[201:])),
    Row("tcb_level", "a revoked platform", vm=replace(TDX, pki=replace(TDX.pki, levels=REVOKED))),
    Row("tcb_info_kind", "TCB info of enclaves", vm=TDX, collateral=lambda _: SimulatedPki().issue(ISSUED)),
    Row("root_crl_validity", "old lists", vm=TDX, collateral=lambda _: TDX.pki.issue(AT - timedelta(days=90))),
]  # fmt: skip
POLICY = [
    Row("pcr4", "another kernel", policies=(MeasurementIn("pcr4", ("44" * 32,)),)),
    Row("pcr4", "no value is listed", policies=(MeasurementIn("pcr4", ()),)),
    Row("pcr8", "a PCR that is not quoted", policies=(MeasurementIn("pcr8", ("00" * 32,)),)),
    Row("pcr4", "no PCR at all", pcrs=(), policies=(MeasurementIn("pcr4", (VALUES[4].hex(),)),)),
    Row("secure_boot", "without Secure Boot", vm=replace(SNP, secure_boot=False), policies=(MeasurementIn("secure_boot", ("true",)),)),
    Row("console", "with a console", vm=replace(SNP, console=True), policies=(MeasurementIn("console", ("false",)),)),
    Row("launch_measurement", "another paravisor", policies=(MeasurementIn("launch_measurement", ("00" * 48,)),)),
    Row("mrtd", "another paravisor above TDX", vm=TDX, policies=(MeasurementIn("mrtd", ("00" * 48,)),)),
    Row("guest_svn", "an old paravisor", policies=(GuestSvnFrom(1),)),
    Row("td_attributes", "attributes that are not listed", vm=TDX, policies=(MeasurementIn("td_attributes", ("0000001000000000",)),)),
    Row("report_data", "evidence for something else", policies=(ReportDataIs(bytes(64)),)),
    Row("tcb_status", "a status that is not listed", vm=replace(TDX, pki=replace(TDX.pki, levels=(SimulatedLevel(status="OutOfDate"),))), policies=(TcbStatusIn(("UpToDate",)),)),
    Row("advisories", "an open advisory", vm=replace(TDX, pki=replace(TDX.pki, levels=(SimulatedLevel(advisories=("INTEL-SA-00001",)),))), policies=(AdvisoriesWithin(()),)),
]  # fmt: skip
ROWS = [*FORMAT, *TPM, *HARDWARE, *POLICY]


@pytest.mark.parametrize("row", ROWS, ids=title)
def test_is_refused_by_name(row: Row) -> None:
    check_refusal(row)


def test_every_check_above_the_hardware_has_a_row() -> None:
    """Those of the hardware are tried by the tests of its own kind; some of them here once more."""
    for kind, below in (("simulated-azure-snp", "simulated-snp"), ("simulated-azure-tdx", "tdx")):
        own = set(check_names(kind)) - set(check_names(below))  # type: ignore[arg-type]
        assert own == {
            *("runtime_data_format", "tpm_key", "tpm_quote_format", "runtime_data_binding"),
            *("tpm_quote_signature", "tpm_quote_data", "tpm_pcrs"),
        }
        assert own <= {row.check for row in ROWS}


@pytest.mark.parametrize(
    ("vm", "measured"), [(SNP, "launch_measurement"), (TDX, "mrtd")], ids=["SNP", "TDX"]
)
def test_honest_evidence_passes_all_checks(vm: SimulatedVm, measured: str) -> None:
    row = Row(
        "",
        "",
        vm=vm,
        policies=(
            MeasurementIn(measured, (PARAVISOR.hex(),)),
            *(MeasurementIn(f"pcr{number}", (value.hex(),)) for number, value in VALUES.items()),
            MeasurementIn("secure_boot", ("true",)),
            MeasurementIn("console", ("false",)),
            ReportDataIs(DATA),
        ),
    )
    outcome = row.assess()
    assert outcome.refusal is None
    assert outcome.verdict is not None
    assert outcome.verdict.simulated
    names = tuple(check.name for check in outcome.checks)
    assert outcome.evidence is not None
    of_kind = check_names(outcome.evidence.kind)
    assert names[: len(of_kind)] == of_kind


def test_a_trust_domain_without_a_paravisor_needs_its_attribute() -> None:
    """The rule that a paravisor's trust domain is let off holds for any other."""
    outcome = assess(
        tdx_quote(TDX.pki, TDX.td.encode()),
        TDX.pki.issue(ISSUED),
        kind="tdx",
        root=TDX.pki.trust_root,
        policies=(),
        at=AT,
    )
    assert outcome.refusal is not None
    assert outcome.refusal.failed_check == "td_sept_ve_disable"


def test_roots_are_those_of_the_hardware_and_never_the_simulations() -> None:
    assert root_for("azure-snp") is AMD_ROOTS
    assert root_for("azure-tdx") is INTEL_ROOT
    kinds: tuple[tuple[TeeKind, TeeKind], ...] = (
        ("simulated-azure-snp", "azure-snp"),
        ("simulated-azure-tdx", "azure-tdx"),
    )
    for simulated, real in kinds:
        assert root_for(simulated) != root_for(real)
