"""A certificate's size beside its evidence, from a few lengths, before anything parses it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import EvidenceRefused
from coterie.ratls.certificate import MAX_BESIDE_BYTES, read_certificate
from coterie.ratls.evidence import EVIDENCE_OIDS, INTEROPERABLE_OID, LEGACY_OIDS
from coterie.ratls.outline import MOST_EXTENSIONS, OutlineBroken, bytes_beside

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(
    extensions: list[tuple[str, bytes]], *, names: int = 0, critical: bool = False
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")] * names)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(AT)
        .not_valid_after(AT + timedelta(hours=1))
    )
    for oid, value in extensions:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("oid", [INTEROPERABLE_OID, *LEGACY_OIDS])
@pytest.mark.parametrize("critical", [False, True])
def test_the_evidence_is_not_counted(oid: str, critical: bool) -> None:
    short, long = (certificate([(oid, bytes(size))], critical=critical) for size in (5000, 9000))
    assert bytes_beside(short, EVIDENCE_OIDS) == len(short) - 5000
    assert bytes_beside(long, EVIDENCE_OIDS) == len(long) - 9000
    assert bytes_beside(short, EVIDENCE_OIDS) < 400


def test_whatever_else_is() -> None:
    der = certificate([("1.2.3", bytes(5000))])
    assert bytes_beside(der, EVIDENCE_OIDS) == len(der)
    without = certificate([])
    assert bytes_beside(without, EVIDENCE_OIDS) == len(without)


@pytest.mark.parametrize(
    ("der", "seen"),
    [
        (certificate([(INTEROPERABLE_OID, bytes(100))], names=200), "bytes"),
        (certificate([("1.2.3", bytes(MAX_BESIDE_BYTES))]), "bytes"),
        (certificate([(f"1.2.{i}", b"") for i in range(MOST_EXTENSIONS + 1)]), "16 extensions"),
        (bytes(200), "tag"),
        (b"\x30\x84\x00\x00\x00\x00", "a length"),
        (b"\x30\x80", "a length"),
        (b"", "cut short"),
        (b"\x30\x82\x10", "cut short"),
    ],
)
def test_a_certificate_with_many_parts_is_not_parsed(
    der: bytes, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(_: bytes) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr("coterie.ratls.certificate._read", parse)
    with pytest.raises(EvidenceRefused) as refused:
        read_certificate(der)
    assert refused.value.failed_check == "certificate_encoding"
    assert seen in refused.value.seen


def test_parts_cannot_be_hidden_in_the_evidence() -> None:
    der = certificate([(INTEROPERABLE_OID, bytes(200))])
    at = der.index(EVIDENCE_OIDS[0]) + len(EVIDENCE_OIDS[0])
    assert der[at] == 0x04
    with pytest.raises(OutlineBroken):  # an octet string that ends before its extension does
        bytes_beside(der[: at + 2] + bytes([der[at + 2] - 10]) + der[at + 3 :], EVIDENCE_OIDS)


@given(st.binary(max_size=400))
def test_any_bytes_have_an_outline_or_none(data: bytes) -> None:
    try:
        beside = bytes_beside(data, EVIDENCE_OIDS)
    except OutlineBroken:
        return
    assert 0 <= beside <= len(data)
