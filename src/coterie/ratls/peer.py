"""The record of an attested peer."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import datetime

from coterie.attestation.authentic import AnyCollateral
from coterie.attestation.verdict import Verdict
from coterie.kinds import Role


@dataclass(frozen=True)
class Proof:
    """A peer's evidence beside its certificate, sufficient for a third party to verify it again.

    The exporter is a digest of the ended session's secret for one label (RFC 8446, 7.5). It
    decrypts nothing, and no other session has it.

    Attributes:
        voucher: Its party's voucher, CBOR.
        quote: Its session quote.
        exporter: Keying material exported from the session, 32 bytes.
        nonce: This side's nonce, which the quote covers; 32 bytes.
        dialled: Whether the peer was the dialler.
        own_key: SHA-256 of the key that this side showed, 32 bytes.
        collateral: The collateral by which certificate and quote were verified.
        tokens: Tokens of attestation services, one a line, where the contract demands them.
    """

    voucher: bytes
    quote: bytes
    exporter: bytes
    nonce: bytes
    dialled: bool
    own_key: bytes
    collateral: AnyCollateral
    tokens: bytes = b""


@dataclass(frozen=True)
class Peer:
    """A node that passed the whole handshake.

    Attributes:
        node: Its name in the contract.
        role: Its role.
        party: The party that vouches for it.
        incarnation: Number of this start of the node; the larger of two is valid.
        certificate_der: The pinned certificate.
        certificate_sha256: Its SHA-256, 32 bytes.
        spki_sha256: SHA-256 of its public key, 32 bytes.
        dns_name: The DNS name in the certificate.
        verdict: The verdict on its session evidence.
        attested_at: Time of attestation, UTC.
        expires_at: Expiry of the pin, UTC: the earliest of the re-attestation time and the expiries
            of certificate, voucher and collateral.
        grpc_port: Port of its gRPC server; 0 for a peer that dialled.
        proof: Its evidence; absent if only the verdict is needed.
        call_token: Exported from the attested session (RFC 8446, 7.5), 32 bytes: the dialler shows it
            with every call. A secret of both ends.
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
    proof: Proof | None = field(default=None, repr=False, compare=False)
    call_token: bytes = field(default=b"", repr=False, compare=False)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as gRPC takes it."""
        return ssl.DER_cert_to_PEM_cert(self.certificate_der).encode()
