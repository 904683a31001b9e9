"""Damaged evidence of any kind is refused by an error of ours, never by another one."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.attestation.appraiser import Appraisal, assess
from coterie.attestation.collateral import Collateral
from coterie.attestation.pem import encode, parse_chain
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import (
    EnclaveFields,
    honest_quoting_enclave,
    sgx_quote,
)
from coterie.errors import EvidenceRefused

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PKI = SimulatedPki()
REPORT = EnclaveFields(mrenclave=b"\1" * 32)
QUOTE, COLLATERAL = sgx_quote(PKI, REPORT), PKI.collateral(AT)
CHAINS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")

Edits = list[tuple[int, int, bytes]]
edits = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 4), st.binary(max_size=4)),
    min_size=1,
    max_size=6,
)


def edited(data: bytes, changes: Edits) -> bytes:
    """Replaces slices: position, bytes to cut, bytes to put in."""
    for position, cut, put in changes:
        at = position % (len(data) + 1)
        data = data[:at] + put + data[at + cut :]
    return data


def chain_with(text: str, index: int, changes: Edits) -> str:
    """A canonical PEM chain with one certificate's DER edited."""
    certificates = [one.public_bytes(Encoding.DER) for one in parse_chain(text, 4)]
    at = index % len(certificates)
    certificates[at] = edited(certificates[at], changes)
    return "".join(encode(der) for der in certificates)


def judge(quote: bytes, collateral: Collateral) -> Appraisal:
    return assess(quote, collateral, kind="simulated", root=PKI.trust_root, policies=(), at=AT)


@given(edits)
@settings(max_examples=150, deadline=None)
def test_damaged_quotes(changes: Edits) -> None:
    data = edited(QUOTE, changes)
    if data.rstrip(b"\0") != QUOTE.rstrip(b"\0"):
        assert judge(data, COLLATERAL).verdict is None


@given(st.sampled_from([item.name for item in fields(Collateral)]), edits)
@settings(max_examples=300, deadline=None)
def test_damaged_collateral(name: str, changes: Edits) -> None:
    values = dict(vars(COLLATERAL))
    original = values[name]
    if isinstance(original, str):
        values[name] = edited(original.encode(), changes).decode("latin-1")
    else:
        values[name] = edited(original, changes)
    try:
        collateral = Collateral(**values)
    except EvidenceRefused:
        return
    if collateral != COLLATERAL:
        assert judge(QUOTE, collateral).verdict is None


@given(st.sampled_from(CHAINS), st.integers(0, 3), edits)
@settings(max_examples=150, deadline=None)
def test_damaged_certificates_in_collateral(name: str, index: int, changes: Edits) -> None:
    values = {**vars(COLLATERAL), name: chain_with(getattr(COLLATERAL, name), index, changes)}
    collateral = Collateral(**values)
    if collateral != COLLATERAL:
        assert judge(QUOTE, collateral).verdict is None


@given(st.integers(0, 2), edits)
@settings(max_examples=150, deadline=None)
def test_damaged_certificates_in_quotes(index: int, changes: Edits) -> None:
    quoting = honest_quoting_enclave(PKI)
    chain = chain_with(quoting.pck_chain, index, changes)
    quote = sgx_quote(PKI, REPORT, quoting=replace(quoting, pck_chain=chain))
    if quote != QUOTE:
        assert judge(quote, COLLATERAL).verdict is None
