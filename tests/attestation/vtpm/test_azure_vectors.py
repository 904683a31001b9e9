"""Real evidence of Azure's guests: authentic above its hardware, and refused where one bit differs.

The recorded TPM quotes are over the bytes ``challenge``, and not over a digest of 64 bytes, so that one
check refuses each vector; all others are shown to pass.
"""

from __future__ import annotations

import base64
import json

import pytest

from coterie.attestation.evidence import authenticate, check_names, parse_evidence, screen
from coterie.attestation.quote import parse_quote
from coterie.attestation.roots import INTEL_ROOT
from coterie.attestation.snp.quote import encode_snp_quote
from coterie.attestation.snp.report import parse_report
from coterie.attestation.tee.by_kind import root_for
from coterie.attestation.verdict import CheckList
from coterie.attestation.vtpm.quote import VtpmQuote, encode_vtpm_quote
from coterie.attestation.vtpm.runtime_data import verify_binding
from coterie.attestation.vtpm.tpm_quote import verify_quote
from coterie.errors import EvidenceRefused
from coterie.kinds import TeeKind
from tests.attestation.snp.test_snp_vectors import chain_of
from tests.attestation.test_vectors import read
from tests.attestation.vtpm.forgeries import AT
from tests.attestation.vtpm.vectors import CHALLENGE, VECTORS, vector

KINDS: dict[str, TeeKind] = {"azure_snp_vtpm": "azure-snp", "azure_tdx_vtpm": "azure-tdx"}


def evidence(name: str) -> bytes:
    """A vector as this project encodes it."""
    real = vector(name)
    if real.report.is_tdx:
        hardware = parse_quote((VECTORS / name / "td-quote.bin").read_bytes()).canonical
    else:
        # The certificates beside it are another chip's.
        said = json.loads((VECTORS / name / "evidence-v1.json").read_text())["vcek"]
        leaf = base64.urlsafe_b64decode(said + "=" * (-len(said) % 4))
        chain = (leaf, *chain_of("Milan")[:2])
        report = parse_report(real.report.hardware_report)
        hardware = encode_snp_quote(real.report.hardware_report, report.signing_key, chain)
    return encode_vtpm_quote(
        hardware,
        runtime=real.report.runtime,
        message=real.quote.message,
        signature=real.signature,
        pcrs=real.values,
        report_data=CHALLENGE.ljust(64, b"\0"),
    )


def vtpm(name: str) -> VtpmQuote:
    quote = parse_evidence(evidence(name))
    assert isinstance(quote, VtpmQuote)
    return quote


@pytest.mark.parametrize("name", KINDS)
def test_real_evidence_is_read_and_its_hardware_is_genuine(name: str) -> None:
    quote, kind = vtpm(name), KINDS[name]
    assert quote.kind == kind
    checks = CheckList()
    with pytest.raises(EvidenceRefused) as refused:
        screen(quote.canonical, kind=kind, root=root_for(kind), at=AT, checks=checks)
    # All that comes before has passed: the hardware's checks, the binding and the signature.
    assert refused.value.failed_check == "tpm_quote_data"
    passed = {check.name for check in checks.checks}
    assert "runtime_data_binding" in passed
    assert passed <= set(check_names(kind))
    verify_binding(quote.runtime, quote.hardware.report_data)
    verify_quote(
        quote.tpm,
        quote.signature,
        quote.machine.attestation_key,
        extra_data=CHALLENGE,
        values=dict(quote.pcrs),
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_changed_bit_of_real_evidence_is_refused_before_its_data_are_compared(
    name: str,
) -> None:
    quote, kind = vtpm(name), KINDS[name]
    data = quote.canonical
    own = range(8, 72)  # the program's bytes, which this evidence is not over anyway
    values = len(data) - 32 * len(quote.pcrs)  # the PCRs come last, and are compared last
    places = [at for at in range(values) if at not in own]
    for at in places[:: 1 if kind == "azure-tdx" else 2]:
        changed = data[:at] + bytes((data[at] ^ 1 << at % 8,)) + data[at + 1 :]
        with pytest.raises(EvidenceRefused) as refused:
            screen(changed, kind=kind, root=root_for(kind), at=AT, checks=CheckList())
        assert refused.value.failed_check != "tpm_quote_data", at


@pytest.mark.parametrize("name", KINDS)
def test_every_changed_pcr_is_refused(name: str) -> None:
    quote = vtpm(name)
    for number, value in quote.pcrs:
        for at in range(32):
            other = value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :]
            with pytest.raises(EvidenceRefused) as refused:
                verify_quote(
                    quote.tpm,
                    quote.signature,
                    quote.machine.attestation_key,
                    extra_data=CHALLENGE,
                    values=dict(quote.pcrs) | {number: other},
                )
            assert refused.value.failed_check == "tpm_pcrs"


def test_the_td_quote_of_azure_has_a_platform_whose_state_is_found() -> None:
    """The same quote lies elsewhere with Intel's collateral of its time."""
    older = read("tdx_v4_trustee_azvtpm_septve")
    quote = vtpm("azure_tdx_vtpm")
    assert older.quote.startswith(quote.hardware.canonical)
    with pytest.raises(EvidenceRefused) as refused:
        authenticate(
            quote,
            older.collateral,
            kind="azure-tdx",
            root=INTEL_ROOT,
            at=older.at,
            checks=CheckList(),
        )
    assert refused.value.failed_check == "tpm_quote_data"


def test_the_paravisors_bare_td_quote_is_no_evidence_of_a_trust_domain() -> None:
    older = read("tdx_v4_trustee_azvtpm_septve")
    with pytest.raises(EvidenceRefused) as refused:
        authenticate(
            parse_evidence(older.quote),
            older.collateral,
            kind="tdx",
            root=INTEL_ROOT,
            at=older.at,
            checks=CheckList(),
        )
    assert refused.value.failed_check == "td_sept_ve_disable"
