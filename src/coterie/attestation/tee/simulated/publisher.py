"""The simulated publisher of firmware: launch endorsements by public keys, which prove nothing.

Every field of :class:`SimulatedPublisher` is one property of a document, so a forged one is
``dataclasses.replace(SimulatedPublisher(), svn=0)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from coterie.attestation.endorsed.launch_endorsement_pb2 import (
    SignedEndorsement,
    SnpFirmware,
    Statement,
    TdxFirmware,
)
from coterie.attestation.tee.simulated.rsa import publisher_key

Span = tuple[datetime, datetime]
_WIDE: Span = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC))
_SCHEME = padding.PSS(padding.MGF1(SHA256()), SHA256().digest_size)


@dataclass(frozen=True)
class SimulatedPublisher:
    """A simulated publisher and the one document that it signs.

    Attributes:
        root_key: Label of the root's key.
        signer_key: Label of the signer's key.
        root_signs_by: Label of the key that signs the signer's certificate, if another one.
        statement_by: Label of the key that signs the statement, if another one.
        root_is_ca: Whether the root's certificate says that it is an authority.
        signer_is_ca: Whether the signer's says so.
        root_span: Validity of the root's certificate.
        signer_span: Validity of the signer's.
        country: Country in names.
        issued: Time of issue.
        changelist: From which the firmware was built.
        commit: From which it was built.
        svn: Security version of the firmware.
        snp: Measurements in SEV-SNP, by number of virtual processors.
        tdx: Measurements in TDX, each with GiB of memory.
    """

    root_key: str = "publisher root"
    signer_key: str = "publisher signer"
    root_signs_by: str | None = None
    statement_by: str | None = None
    root_is_ca: bool = True
    signer_is_ca: bool = False
    root_span: Span = _WIDE
    signer_span: Span = _WIDE
    country: str = ""
    issued: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    changelist: int = 4711
    commit: bytes = b"\x21" * 20
    svn: int = 3
    snp: tuple[tuple[int, bytes], ...] = ()
    tdx: tuple[tuple[int, bytes], ...] = ()

    @property
    def root(self) -> x509.Certificate:
        """The root's certificate."""
        key = publisher_key(self.root_key)
        span = self.root_span
        return _certificate("Root", key, key, ca=self.root_is_ca, span=span, country=self.country)

    @property
    def signer(self) -> x509.Certificate:
        """The signer's certificate."""
        key = publisher_key(self.signer_key)
        by = publisher_key(self.root_signs_by or self.root_key)
        span = self.signer_span
        return _certificate(
            "Signer", key, by, ca=self.signer_is_ca, span=span, country=self.country
        )

    def statement(self) -> Statement:
        """What it signs."""
        said = Statement(
            changelist=self.changelist,
            commit=self.commit,
            certificate=self.signer.public_bytes(Encoding.DER),
            issuers=self.root.public_bytes(Encoding.PEM),
        )
        said.issued.seconds = int(self.issued.timestamp())
        if self.snp:
            known = [SnpFirmware.Measured(vcpus=size, measurement=one) for size, one in self.snp]
            said.snp.CopyFrom(SnpFirmware(svn=self.svn, measurements=known))
        if self.tdx:
            measured = [TdxFirmware.Measured(ram_gib=size, mrtd=mrtd) for size, mrtd in self.tdx]
            said.tdx.CopyFrom(TdxFirmware(svn=self.svn, measurements=measured))
        return said

    def document(self) -> bytes:
        """The signed document."""
        return self.signed(self.statement().SerializeToString(deterministic=True))

    def signed(self, statement: bytes) -> bytes:
        """A document of any statement."""
        key = publisher_key(self.statement_by or self.signer_key)
        signature = key.sign(statement, _SCHEME, SHA256())
        return SignedEndorsement(statement=statement, signature=signature).SerializeToString()


def _certificate(
    name: str,
    key: rsa.RSAPrivateKey,
    by: rsa.RSAPrivateKey,
    *,
    ca: bool,
    span: Span,
    country: str,
) -> x509.Certificate:
    usage = x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name, country))
        .issuer_name(_name("Root", country))
        .public_key(key.public_key())
        .serial_number(1 if name == "Root" else 2)
        .not_valid_before(span[0])
        .not_valid_after(span[1])
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(usage, critical=True)
        .sign(by, SHA256(), rsa_padding=_SCHEME)
    )


def _name(part: str, country: str) -> x509.Name:
    organization = "Coterie Simulation (insecure by design)"
    return x509.Name(
        [
            *(
                (x509.NameAttribute(NameOID.COUNTRY_NAME, country, _validate=False),)
                if country
                else ()
            ),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Coterie Simulated Publisher {part}"),
        ]
    )
