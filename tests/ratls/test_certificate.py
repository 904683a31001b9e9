"""Certificates: real ones of other producers, our own, and those that nobody may have."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from asn1crypto import pem
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.errors import EvidenceRefused
from coterie.ratls.certificate import MAX_CERTIFICATE_BYTES, RatlsCertificate, read_certificate
from coterie.ratls.claims import MAX_CLAIMS_BYTES, Claims, report_data
from coterie.ratls.evidence import (
    INTEROPERABLE_OID,
    LEGACY_OIDS,
    MAX_QUOTE_BYTES,
    InteroperableEvidence,
    LegacyEvidence,
    read_interoperable,
)
from coterie.ratls.issue import dns_name, issue_certificate, spki_der
from tests.conftest import REPOSITORY

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
VECTORS = REPOSITORY.parent / "shared" / "attestation-vectors" / "ratls_certs"
KEY = ec.generate_private_key(ec.SECP256R1())
QUOTE = b"quote" * 100
REPORT_DATA = slice(368, 432)  # of an SGX quote: header 48, then report body offset 320


def vector(name: str) -> bytes:
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"real RA-TLS certificates are not at {VECTORS}")
    data = path.read_bytes()
    return pem.unarmor(data)[2] if name.endswith(".pem") else data


def evidence(key: ec.EllipticCurvePrivateKey = KEY) -> InteroperableEvidence:
    spki = hashlib.sha256(spki_der(key.public_key())).digest()
    return InteroperableEvidence(
        QUOTE,
        Claims(
            pubkey_hash=spki,
            contract_digest=bytes(32),
            node="acme-worker",
            role="worker",
            party="acme",
            incarnation=1,
        ).to_cbor(),
    )


def issued(lifetime: timedelta = timedelta(hours=12), serial: int = 1) -> bytes:
    return issue_certificate(
        KEY,
        evidence(),
        node="acme-worker",
        party="acme",
        at=AT,
        lifetime=lifetime,
        serial=serial,
    )


class TestRealCertificates:
    def test_gramines_own_carries_the_legacy_extension_under_its_odd_oid(self) -> None:
        certificate = read_certificate(vector("gramine-ratls-golang__tlscert.der"))

        assert isinstance(certificate.evidence, LegacyEvidence)
        assert certificate.evidence.oid == "0.6.9.42.840.113741.1337.6"
        expected = certificate.evidence.bound_report_data(certificate.spki_der)
        assert certificate.evidence.quote[REPORT_DATA] == expected

    @pytest.mark.parametrize(
        "name",
        ["interoperable-ra-tls__gramine-cert.pem", "interoperable-ra-tls__rats-tls-cert.pem"],
    )
    def test_interoperable_ones_of_two_producers_bind_their_keys(self, name: str) -> None:
        certificate = read_certificate(vector(name))

        assert isinstance(certificate.evidence, InteroperableEvidence)
        expected = certificate.evidence.bound_report_data(certificate.spki_der)
        assert certificate.evidence.quote[REPORT_DATA] == expected

    def test_they_hold_no_claims_of_ours(self) -> None:
        found = read_certificate(vector("interoperable-ra-tls__gramine-cert.pem")).evidence
        assert isinstance(found, InteroperableEvidence)

        with pytest.raises(EvidenceRefused) as caught:
            Claims.from_cbor(found.claims)

        assert caught.value.failed_check == "claims_encoding"

    def test_they_live_too_long_for_a_node(self) -> None:
        certificate = read_certificate(vector("gramine-ratls-golang__tlscert.der"))

        with pytest.raises(EvidenceRefused) as caught:
            certificate.check_validity(AT)

        assert caught.value.failed_check == "certificate_lifetime"
        certificate.check_validity(AT, longest=None)

    def test_pem_is_never_sniffed(self) -> None:
        der = vector("interoperable-ra-tls__gramine-cert.pem")

        with pytest.raises(EvidenceRefused) as caught:
            read_certificate(pem.armor("CERTIFICATE", der))

        assert caught.value.failed_check == "certificate_encoding"

    def test_a_flipped_bit_anywhere_is_noticed(self) -> None:
        der = vector("gramine-ratls-golang__tlscert.der")
        for at in range(0, len(der), 37):
            changed = bytearray(der)
            changed[at] ^= 1
            with pytest.raises(EvidenceRefused):
                read_certificate(bytes(changed))


class TestOurCertificates:
    def test_are_read_back_as_issued(self) -> None:
        certificate = read_certificate(issued())

        assert certificate.evidence == evidence()
        assert certificate.spki_der == spki_der(KEY.public_key())
        assert certificate.dns_names == (dns_name("acme-worker", KEY.public_key()),)
        assert certificate.sha256 == hashlib.sha256(issued_again := certificate.der).digest()
        assert issued_again == certificate.der

    def test_have_unique_subjects(self) -> None:
        subjects = {
            x509.load_der_x509_certificate(issued(serial=serial)).subject for serial in (1, 2, 3)
        }

        assert len(subjects) == 3

    def test_are_no_authorities_and_carry_non_critical_evidence(self) -> None:
        certificate = x509.load_der_x509_certificate(issued())

        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert not constraints.value.ca
        extension = certificate.extensions.get_extension_for_oid(
            ObjectIdentifier(INTEROPERABLE_OID)
        )
        assert not extension.critical

    @pytest.mark.parametrize("lifetime", [timedelta(), timedelta(hours=24, seconds=1)])
    def test_are_not_issued_for_an_impossible_time(self, lifetime: timedelta) -> None:
        with pytest.raises(ValueError, match="may live"):
            issued(lifetime)

    @given(st.timedeltas(timedelta(minutes=1), timedelta(hours=24)))
    @settings(max_examples=20, deadline=None)
    def test_are_valid_now_and_as_long_as_the_contract_says(self, lifetime: timedelta) -> None:
        certificate = read_certificate(issued(lifetime))

        certificate.check_validity(AT)
        length = certificate.not_after - certificate.not_before
        assert abs(length - lifetime) < timedelta(seconds=1)

    @pytest.mark.parametrize("shift", [timedelta(minutes=-6), timedelta(hours=12)])
    def test_are_refused_outside_of_their_validity(self, shift: timedelta) -> None:
        with pytest.raises(EvidenceRefused) as caught:
            read_certificate(issued()).check_validity(AT + shift)

        assert caught.value.failed_check == "certificate_validity"


Builder = x509.CertificateBuilder


@dataclass(frozen=True)
class Odd:
    """A certificate with one odd thing."""

    name: str
    failed_check: str
    build: Callable[[], bytes]


def certificate(
    *extensions: tuple[x509.ExtensionType, bool],
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = KEY,
    signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")])
    builder = (
        Builder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(AT)
        .not_valid_after(AT + timedelta(hours=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signed = builder.sign(signer or key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def raw(oid: str, value: bytes) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(ObjectIdentifier(oid), value), False


def signed_anew(body: asn1.TbsCertificate, algorithm: str = "sha256_ecdsa") -> bytes:
    """A certificate with a right signature, whatever else is wrong with it."""
    kind = {"sha256_ecdsa": hashes.SHA256(), "sha384_ecdsa": hashes.SHA384()}[algorithm]
    whole: bytes = asn1.Certificate(
        {
            "tbs_certificate": body,
            "signature_algorithm": {"algorithm": algorithm},
            "signature_value": KEY.sign(body.dump(force=True), ec.ECDSA(kind)),
        }
    ).dump()
    return whole


def with_compressed_key() -> bytes:
    """The same key in its other form, which some parsers take: it has another hash."""
    body = asn1.Certificate.load(issued())["tbs_certificate"]
    public = KEY.public_key()
    body["subject_public_key_info"]["public_key"] = public.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    return signed_anew(body)


def test_a_certificate_that_is_signed_anew_is_as_good_as_ours() -> None:
    body = asn1.Certificate.load(issued())["tbs_certificate"]

    assert read_certificate(signed_anew(body)).evidence == evidence()


def test_a_key_in_its_other_form_is_refused() -> None:
    with pytest.raises(EvidenceRefused) as caught:
        read_certificate(with_compressed_key())

    assert caught.value.failed_check == "certificate_key"
    assert caught.value.seen == "another form"


def test_the_signed_algorithm_must_be_the_one_that_is_used() -> None:
    body = asn1.Certificate.load(issued())["tbs_certificate"]

    with pytest.raises(EvidenceRefused) as caught:
        read_certificate(signed_anew(body, "sha384_ecdsa"))

    assert caught.value.failed_check == "certificate_signature"
    assert caught.value.seen == "two that differ"


def test_too_large_a_certificate_is_not_even_parsed() -> None:
    with pytest.raises(EvidenceRefused) as caught:
        read_certificate(bytes(MAX_CERTIFICATE_BYTES + 1))

    assert caught.value.failed_check == "certificate_encoding"
    assert caught.value.seen == f"{MAX_CERTIFICATE_BYTES + 1} bytes"


@pytest.mark.parametrize(
    ("quote", "claims", "taken"),
    [
        (MAX_QUOTE_BYTES, MAX_CLAIMS_BYTES, True),
        (MAX_QUOTE_BYTES + 1, 1, False),
        (1, MAX_CLAIMS_BYTES + 1, False),
        (0, 1, False),
    ],
)
def test_quote_and_claims_have_bounds_of_their_own(quote: int, claims: int, taken: bool) -> None:
    made = InteroperableEvidence(bytes(quote), bytes(claims))
    if taken:
        assert read_interoperable(made.to_extension()) == made
        return
    with pytest.raises(EvidenceRefused) as caught:
        read_interoperable(made.to_extension())
    assert caught.value.failed_check == "evidence_encoding"
    assert caught.value.seen == f"{quote} and {claims} bytes"


def test_legacy_evidence_is_bound_to_its_key() -> None:
    """By nothing but the key's hash, then zeros: what Gramine writes."""
    spki = spki_der(KEY.public_key())
    bound = LegacyEvidence(QUOTE, LEGACY_OIDS[0]).bound_report_data(spki)
    assert bound == hashlib.sha256(spki).digest() + bytes(32)


def twice(oid: str) -> bytes:
    """A certificate with one extension twice: libraries do not make one, so rename another."""
    other = "2.23.133.5.4.8"
    der = certificate(
        raw(oid, evidence().to_extension()), raw(other, evidence().to_extension()), signer=KEY
    )
    old = x509.ObjectIdentifier(other)
    assert old
    from asn1crypto import core

    changed = der.replace(core.ObjectIdentifier(other).dump(), core.ObjectIdentifier(oid).dump())
    assert changed != der
    return changed


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


GOOD = raw(INTEROPERABLE_OID, evidence().to_extension())
ODD = [
    Odd("no extension at all", "evidence_extension", lambda: certificate(
        (x509.BasicConstraints(ca=False, path_length=None), True))),
    Odd("both legacy spellings", "evidence_extension", lambda: certificate(
        raw(LEGACY_OIDS[0], QUOTE), raw(LEGACY_OIDS[1], QUOTE))),
    Odd("both legacy spellings beside a good one", "evidence_extension", lambda: certificate(
        GOOD, raw(LEGACY_OIDS[0], QUOTE), raw(LEGACY_OIDS[1], QUOTE))),
    Odd("one extension twice", "certificate_extensions", lambda: twice(INTEROPERABLE_OID)),
    Odd("an unknown critical extension", "certificate_extensions", lambda: certificate(
        GOOD, (x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True))),
    Odd("an unknown extension", "certificate_extensions", lambda: certificate(
        GOOD, raw("1.2.3.4", b"\x05\x00"))),
    Odd("a critical identifier of a key", "certificate_extensions", lambda: certificate(
        GOOD, (x509.SubjectKeyIdentifier(bytes(20)), True))),
    Odd("critical evidence", "certificate_extensions", lambda: certificate(
        (x509.UnrecognizedExtension(ObjectIdentifier(INTEROPERABLE_OID), b"\x05\x00"), True))),
    Odd("an authority", "certificate_ca", lambda: certificate(
        GOOD, (x509.BasicConstraints(ca=True, path_length=None), True))),
    Odd("an RSA key", "certificate_key", lambda: certificate(GOOD, key=rsa_key())),
    Odd("a P-521 key", "certificate_key", lambda: certificate(
        GOOD, key=ec.generate_private_key(ec.SECP521R1()))),
    Odd("a key on another curve", "certificate_key", lambda: certificate(
        GOOD, key=ec.generate_private_key(ec.SECP256K1()))),
    Odd("another signer", "certificate_signature", lambda: certificate(
        GOOD, signer=ec.generate_private_key(ec.SECP256R1()))),
    Odd("an RSA signature", "certificate_signature", lambda: certificate(GOOD, signer=rsa_key())),
    Odd("another evidence format", "evidence_encoding", lambda: certificate(
        raw(INTEROPERABLE_OID, b"\xd9\xea\x61" + evidence().to_extension()[3:]))),
    Odd("no evidence format", "evidence_encoding", lambda: certificate(
        raw(INTEROPERABLE_OID, evidence().to_extension()[3:]))),
    Odd("an empty legacy quote", "evidence_encoding", lambda: certificate(raw(LEGACY_OIDS[1], b""))),
    Odd("bytes after the certificate", "certificate_encoding", lambda: issued() + b"\0"),
    Odd("half a certificate", "certificate_encoding", lambda: issued()[:500]),
    Odd("nothing", "certificate_encoding", lambda: b""),
    Odd("too much", "certificate_encoding", lambda: bytes(MAX_CERTIFICATE_BYTES + 1)),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_an_odd_certificate_is_refused_by_name(odd: Odd) -> None:
    with pytest.raises(EvidenceRefused) as caught:
        read_certificate(odd.build())

    assert caught.value.failed_check == odd.failed_check
    assert caught.value.remedy


def test_gramines_oid_in_its_intended_spelling_is_read_too() -> None:
    found = read_certificate(certificate(raw(LEGACY_OIDS[1], QUOTE)))

    assert found.evidence == LegacyEvidence(QUOTE, LEGACY_OIDS[1])


def test_a_p384_key_is_read() -> None:
    key = ec.generate_private_key(ec.SECP384R1())

    assert read_certificate(certificate(GOOD, key=key)).spki_der == spki_der(key.public_key())


def test_evidence_for_another_key_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    found: RatlsCertificate = read_certificate(certificate(GOOD, key=other))

    with pytest.raises(EvidenceRefused) as caught:
        found.evidence.bound_report_data(found.spki_der)

    assert caught.value.failed_check == "pubkey_hash"


def test_report_data_binds_the_claims() -> None:
    found = evidence()

    assert found.bound_report_data(spki_der(KEY.public_key())) == report_data(found.claims)


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(EvidenceRefused):
        read_certificate(data)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_certificate_is_refused(data: st.DataObject) -> None:
    der = bytearray(CERTIFICATE)
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(EvidenceRefused):
        read_certificate(bytes(der))


def test_a_signature_with_unused_bits_is_refused() -> None:
    contents = asn1.Certificate.load(CERTIFICATE)["signature_value"].contents
    der = bytearray(CERTIFICATE)
    der[CERTIFICATE.rindex(contents)] = 1

    with pytest.raises(EvidenceRefused) as refused:
        read_certificate(bytes(der))
    assert (refused.value.failed_check, refused.value.seen) == (
        "certificate_signature",
        "unused bits",
    )


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=300))
def test_the_interoperable_extension_has_one_encoding(quote: bytes, claims: bytes) -> None:
    original = InteroperableEvidence(quote, claims)

    assert read_interoperable(original.to_extension()) == original
    with pytest.raises(EvidenceRefused):
        read_interoperable(original.to_extension() + b"\0")


CERTIFICATE = issued()
