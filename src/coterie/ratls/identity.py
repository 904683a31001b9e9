"""A node's identity: a key that exists only in this process's memory, and its certificate."""

from __future__ import annotations

import hashlib
import secrets
import ssl
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from coterie.attestation.tee.base import Tee
from coterie.contract import Contract, Node, contract_digest
from coterie.ratls.certificate import RatlsCertificate, read_certificate
from coterie.ratls.claims import Claims, report_data
from coterie.ratls.evidence import InteroperableEvidence
from coterie.ratls.issue import issue_certificate, spki_der

P256_ORDER = (
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SP 800-186, 3.2.1.3
)


@dataclass(frozen=True)
class NodeIdentity:
    """A P-256 key with its certificate; renewal makes a new one.

    The key is neither written nor shown anywhere: two identities compare by certificate, and the
    representation leaves the key out.

    Attributes:
        claims: The claims that the certificate's quote covers.
        certificate: The node's own certificate, parsed.
        private_key: The key. Pass it to TLS libraries only; use `sign` for everything else.
    """

    claims: Claims
    certificate: RatlsCertificate
    private_key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    @classmethod
    def create(
        cls, contract: Contract, node: Node, tee: Tee, *, incarnation: int, at: datetime
    ) -> NodeIdentity:
        """Makes a new key and has the TEE attest it.

        Args:
            contract: The contract that the node runs under.
            node: The node, one of the contract's.
            tee: Makes the quote.
            incarnation: Number of this start of the node, larger than those of earlier starts.
            at: The time now, UTC.

        Raises:
            EnvironmentUnfit: The TEE cannot make a quote.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        claims = Claims(
            pubkey_hash=hashlib.sha256(spki_der(key.public_key())).digest(),
            contract_digest=contract_digest(contract),
            node=node.name,
            role=node.role,
            party=node.party,
            incarnation=incarnation,
        )
        buffer = claims.to_cbor()
        der = issue_certificate(
            key,
            InteroperableEvidence(tee.quote(report_data(buffer)), buffer),
            node=node.name,
            party=node.party,
            at=at,
            lifetime=timedelta(minutes=contract.trust.certificate_minutes),
            serial=secrets.randbits(158) + 1,
        )
        return cls(claims, read_certificate(der), key)

    @property
    def certificate_der(self) -> bytes:
        """The certificate."""
        return self.certificate.der

    @property
    def spki_der(self) -> bytes:
        """The public key, DER SubjectPublicKeyInfo."""
        return self.certificate.spki_der

    @property
    def spki_digest(self) -> bytes:
        """SHA-256 of the public key, 32 bytes."""
        return self.certificate.spki_sha256

    @property
    def dns_name(self) -> str:
        """The DNS name in the certificate."""
        return self.certificate.dns_names[0]

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as gRPC takes it."""
        return ssl.DER_cert_to_PEM_cert(self.certificate.der).encode()

    def sign(self, statement: bytes) -> bytes:
        """Signs a labelled statement: ECDSA with SHA-256; r and the lower s, 32 bytes each.

        TLS signs with this key too. It signs texts that begin with 64 spaces (TLS 1.3) or with
        random numbers of both sides (TLS 1.2). So a statement must begin with a label, and be text.
        """
        der = self.private_key.sign(statement, ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")

    def private_key_pem(self) -> bytes:
        """The key as gRPC takes it: unencrypted PKCS#8. Never log or store it."""
        return self.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
