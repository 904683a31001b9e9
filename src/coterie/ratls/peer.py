"""What is known of an attested peer."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime

from coterie.attestation.verdict import Verdict
from coterie.contract import Role


@dataclass(frozen=True)
class Peer:
    """A node that passed the whole handshake.

    Attributes:
        node: Its name in the contract.
        role: Its role.
        party: The company that vouches for it.
        incarnation: Number of this start of the node; of two, the larger one counts.
        certificate_der: The certificate that is pinned.
        certificate_sha256: Its SHA-256, 32 bytes.
        spki_sha256: SHA-256 of its public key, 32 bytes.
        dns_name: The DNS name in the certificate.
        verdict: How its session evidence was judged.
        attested_at: When, UTC.
        expires_at: The least of re-attestation time and the ends of certificate, voucher and
            collateral, UTC; the pin is good until then.
        grpc_port: Where its gRPC server listens; 0 for a peer that dialled.
    """

    node: str
    role: Role
    party: str
    incarnation: int
    certificate_der: bytes
    certificate_sha256: bytes
    spki_sha256: bytes
    dns_name: str
    verdict: Verdict
    attested_at: datetime
    expires_at: datetime
    grpc_port: int

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as gRPC takes it."""
        return ssl.DER_cert_to_PEM_cert(self.certificate_der).encode()
