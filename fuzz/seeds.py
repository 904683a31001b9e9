"""Seeds: simulated evidence of every form, and the real vectors where they lie beside the checkout."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from asn1crypto import pem
from cryptography.hazmat.primitives.asymmetric import ec

from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import TdFields, tdx_quote
from coterie.ratls.evidence import InteroperableEvidence
from coterie.ratls.issuing import issue_certificate
from coterie.ratls.messages import (
    Acceptance,
    ContractMessage,
    EvidenceMessage,
    Hello,
    Refusal,
    encode_message,
)
from coterie.ratls.voucher import Voucher
from fuzz.targets import AT, COLLATERAL, PEER, QUOTE

VECTORS = Path(__file__).parents[2] / "shared" / "attestation-vectors"


def seeds(target: str) -> Iterator[bytes]:
    """Valid and nearly valid inputs of a target."""
    return {
        "quote": _quotes,
        "certificate": _certificates,
        "evidence": _evidence,
        "claims": _claims,
        "messages": _messages,
        "collateral": _collateral,
    }[target]()


def _quotes() -> Iterator[bytes]:
    tdx = SimulatedPki(tee="TDX")
    yield QUOTE
    yield QUOTE + bytes(64)
    for size in (584, 648, 885):
        body = TdFields(mrtd=b"\3" * 48).encode(size)
        yield tdx_quote(tdx, body, version=4 if size == 584 else 5)
    for file in sorted(VECTORS.glob("*/quote.bin")):
        yield file.read_bytes()


def _certificates() -> Iterator[bytes]:
    key = ec.derive_private_key(7, ec.SECP256R1())
    for buffer in _claims():
        yield issue_certificate(
            key,
            InteroperableEvidence(QUOTE, buffer),
            node="w1",
            party="a",
            at=AT,
            lifetime=timedelta(hours=12),
            serial=1,
        )
    for file in sorted((VECTORS / "ratls_certs").glob("*")):
        data = file.read_bytes()
        if data.startswith(b"-----BEGIN CERTIFICATE"):
            yield pem.unarmor(data)[2]
        elif data.startswith(b"\x30"):
            yield data


def _evidence() -> Iterator[bytes]:
    for buffer in _claims():
        yield InteroperableEvidence(QUOTE, buffer).to_extension()
        yield InteroperableEvidence(b"\3\0", buffer).to_extension()


def _claims() -> Iterator[bytes]:
    yield PEER.to_cbor()
    yield b"\xa1" + b"\x6bpubkey-hash" + b"\x58\x25" + b"\x82\x01\x58\x20" + bytes(32) + b"\0"


def _messages() -> Iterator[bytes]:
    voucher = Voucher(bytes(32), "w1", "worker", bytes(32), 1, 1_900_000_000, bytes(64)).to_cbor()
    hello = encode_message(Hello(b"\2" * 32, wants_collateral=False))
    staple = COLLATERAL.to_json().encode()
    yield voucher
    yield hello
    yield hello + encode_message(EvidenceMessage(QUOTE, voucher, b""))
    yield encode_message(EvidenceMessage(QUOTE, b"", staple[:9000]))
    yield encode_message(ContractMessage(b"{}"))
    yield encode_message(Acceptance(4711, 1_900_000_000))
    yield encode_message(Refusal({"error": "EvidenceRefused", "what": "no"}))


def _collateral() -> Iterator[bytes]:
    yield COLLATERAL.to_json().encode()
    yield SimulatedPki(tee="TDX").collateral(AT).to_json().encode()
    for file in sorted(VECTORS.glob("*/collateral.json")):
        yield file.read_bytes()
