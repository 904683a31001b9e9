"""What a quote shows without collateral: real quotes pass, and none that anybody has touched."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.attestation.evidence import screen
from coterie.attestation.quote import parse_quote
from coterie.attestation.quote_signatures import CHECKS
from coterie.attestation.roots import INTEL_ROOT
from coterie.attestation.tee.by_kind import simulated_root
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.attestation.verdict import CheckList
from coterie.errors import EvidenceRefused
from tests.attestation.test_vectors import NAMES, read

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PKI = SimulatedPki()
QUOTE = sgx_quote(PKI, EnclaveFields(mrenclave=b"\1" * 32))


def refused(quote: bytes, at: datetime = AT) -> str:
    with pytest.raises(EvidenceRefused) as refusal:
        screen(quote, kind="simulated", root=simulated_root(), at=at, checks=CheckList())
    return refusal.value.failed_check


@pytest.mark.parametrize("name", NAMES)
def test_real_quotes_of_every_version_hold(name: str) -> None:
    vector = read(name)
    quote = parse_quote(vector.quote)
    checks = CheckList()
    if vector.error is not None and "No matching TCB level" not in vector.error:
        with pytest.raises(EvidenceRefused, match=r"attributes_debug|td_sept_ve_disable"):
            screen(vector.quote, kind=quote.kind, root=INTEL_ROOT, at=vector.at, checks=checks)
        return
    screened = screen(vector.quote, kind=quote.kind, root=INTEL_ROOT, at=vector.at, checks=checks)
    assert screened.quote == quote
    assert [check.name for check in checks.checks][-3:] == list(CHECKS)


@pytest.mark.parametrize("name", ["sgx_v3_lcp", "tdx_v4_phala", "tdx_v5_google_sample"])
def test_a_bit_of_a_real_quote_that_is_turned_is_noticed(name: str) -> None:
    vector = read(name)
    kind = parse_quote(vector.quote).kind
    size = len(parse_quote(vector.quote).canonical)
    for at in range(0, size, 97):
        touched = bytearray(vector.quote)
        touched[at] ^= 1 << (at % 8)
        with pytest.raises(EvidenceRefused):
            screen(bytes(touched), kind=kind, root=INTEL_ROOT, at=vector.at, checks=CheckList())


def test_a_chain_that_a_stranger_made_is_refused_by_its_root() -> None:
    stranger = SimulatedPki(seed=b"a stranger")
    assert refused(sgx_quote(stranger, EnclaveFields(mrenclave=b"\1" * 32))) == "pck_chain_root"


def test_a_genuine_chain_under_a_key_that_is_not_its_own_is_refused() -> None:
    """Chains are public: they stand in every quote."""
    stranger = SimulatedPki(seed=b"a stranger")
    forged = sgx_quote(stranger, EnclaveFields(mrenclave=b"\1" * 32))
    genuine = parse_quote(QUOTE).pck_chain_pem.encode()
    body = forged[: forged.index(b"-----BEGIN")]
    shift = len(genuine) - (len(forged) - len(body))
    for at in (432, len(body) - 4):  # two lengths count the chain in
        size = int.from_bytes(body[at : at + 4], "little") + shift
        body = body[:at] + size.to_bytes(4, "little") + body[at + 4 :]
    assert refused(body + genuine) == "quoting_enclave_signature"


@pytest.mark.parametrize(
    ("at", "check"),
    [
        (60, "quote_signature"),  # of the report: the TEE's own word
        (436, "quote_signature"),
        (436 + 64, "quoting_enclave_binding"),  # the attestation key
        (436 + 128, "quoting_enclave_signature"),
        (436 + 128 + 384, "quoting_enclave_signature"),
        (436 + 128 + 384 + 64 + 2, "quoting_enclave_binding"),
    ],
)
def test_every_link_is_checked(at: int, check: str) -> None:
    touched = bytearray(QUOTE)
    touched[at] ^= 1
    assert refused(bytes(touched)) == check


def test_a_chain_out_of_its_time_is_refused() -> None:
    assert refused(QUOTE, datetime(2090, 1, 1, tzinfo=UTC)) == "pck_chain_validity"


def test_another_kind_of_tee_is_refused() -> None:
    with pytest.raises(EvidenceRefused) as refusal:
        screen(QUOTE, kind="sgx", root=INTEL_ROOT, at=AT, checks=CheckList())
    assert refusal.value.failed_check == "tee_kind"


def test_a_revoked_platform_passes_here_and_is_judged_by_collateral() -> None:
    revoked = replace(PKI, revoked=frozenset({"pck"}))
    quote = sgx_quote(revoked, EnclaveFields(mrenclave=b"\1" * 32))
    screen(quote, kind="simulated", root=simulated_root(), at=AT, checks=CheckList())


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    assert refused(data) == "quote_format"
