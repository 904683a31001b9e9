"""Evidence of virtual TPMs has one encoding, and every bit of it counts."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.attestation.authentic import AnyCollateral
from coterie.attestation.evidence import authenticate, parse_evidence, screen
from coterie.attestation.recognition import MAGIC, is_snp, is_vtpm
from coterie.attestation.tee.by_kind import root_for
from coterie.attestation.tee.simulated.azure import SimulatedVm
from coterie.attestation.verdict import CheckList
from coterie.attestation.vtpm.quote import (
    VtpmQuote,
    encode_vtpm_quote,
    parse_vtpm_quote,
    qualifying_data,
)
from coterie.errors import EvidenceRefused
from coterie.kinds import TeeKind
from coterie.ratls.evidence import MAX_QUOTE_BYTES
from tests.attestation.vtpm.forgeries import AT, DATA, ISSUED, PCRS, SNP, TDX

MACHINES: dict[TeeKind, SimulatedVm] = {"simulated-azure-snp": SNP, "simulated-azure-tdx": TDX}


def again(quote: VtpmQuote) -> bytes:
    return encode_vtpm_quote(
        quote.hardware.canonical,
        runtime=quote.runtime,
        message=quote.tpm.message,
        signature=quote.signature,
        pcrs=dict(quote.pcrs),
        report_data=quote.report_data,
    )


@pytest.mark.parametrize("kind", MACHINES)
def test_what_is_encoded_is_read(kind: TeeKind) -> None:
    data = MACHINES[kind].evidence(DATA, PCRS)
    quote = parse_vtpm_quote(data)
    assert quote.canonical == data == again(quote)
    assert len(data) < MAX_QUOTE_BYTES
    assert (quote.report_data, quote.tpm.extra_data) == (DATA, qualifying_data(DATA))
    assert quote.platform() == quote.hardware.platform()


def test_no_other_evidence_begins_so() -> None:
    assert not is_snp(MAGIC + bytes(100))
    assert int.from_bytes(MAGIC[:2], "little") not in {3, 4, 5}
    for machine in MACHINES.values():
        assert not is_vtpm(machine.hardware)


@pytest.mark.parametrize("hardware", [b"", b"\1\0\2\0" + bytes(99)])
def test_hardware_that_begins_like_none_is_read_as_none(hardware: bytes) -> None:
    quote = parse_vtpm_quote(SNP.evidence(DATA, PCRS))
    data = again(quote).replace(
        len(quote.hardware.canonical).to_bytes(4) + quote.hardware.canonical,
        len(hardware).to_bytes(4) + hardware,
    )
    with pytest.raises(EvidenceRefused) as refusal:
        parse_vtpm_quote(data)
    assert (refusal.value.failed_check, refusal.value.expected) == (
        "quote_format",
        "evidence of SEV-SNP or a quote of TDX",
    )


@pytest.mark.parametrize("kind", MACHINES)
def test_every_flipped_bit_is_refused(kind: TeeKind) -> None:
    """Screening finds all of them, before collateral is looked up. A step shows one bit of each byte."""
    machine = MACHINES[kind]
    data, root = machine.evidence(DATA, PCRS), root_for(kind)
    for at in range(len(data)):
        bit = 1 << at % 8
        changed = data[:at] + bytes((data[at] ^ bit,)) + data[at + 1 :]
        with pytest.raises(EvidenceRefused):
            screen(changed, kind=kind, root=root, at=AT, checks=CheckList())


@pytest.mark.parametrize("kind", MACHINES)
@given(places=st.lists(st.tuples(st.integers(0, 1 << 13), st.binary(max_size=4)), max_size=3))
def test_altered_evidence_is_read_in_one_way_or_refused(
    kind: TeeKind, places: list[tuple[int, bytes]]
) -> None:
    data = MACHINES[kind].evidence(DATA, PCRS)
    for at, octets in places:
        data = data[:at] + octets + data[at + len(octets) // 2 :]
    with suppress(EvidenceRefused):
        quote = parse_evidence(data)
        assert quote.canonical == data or not isinstance(quote, VtpmQuote)
        if isinstance(quote, VtpmQuote):
            assert again(quote) == data


@given(st.binary(max_size=400))
def test_any_bytes_behind_the_mark_are_refused_or_read(octets: bytes) -> None:
    with suppress(EvidenceRefused):
        parse_evidence(MAGIC + octets)


@given(st.binary(min_size=64, max_size=64), st.sets(st.integers(0, 23), max_size=24))
def test_any_data_and_pcrs_make_evidence(report_data: bytes, numbers: set[int]) -> None:
    chosen = tuple(sorted(numbers))
    data = SNP.evidence(report_data, chosen)
    collateral: AnyCollateral = SNP.amd.issue(ISSUED)
    evidence = authenticate(
        parse_evidence(data),
        collateral,
        kind="simulated-azure-snp",
        root=root_for("simulated-azure-snp"),
        at=AT,
        checks=CheckList(),
    )
    assert isinstance(evidence.quote, VtpmQuote)
    assert evidence.quote.report_data == report_data
    assert tuple(number for number, _ in evidence.quote.pcrs) == chosen
