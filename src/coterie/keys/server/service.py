"""The key server's side of one connection: judge the node, decide, note it down, answer."""

from __future__ import annotations

import hashlib
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from coterie.contract.moments import check_in_force
from coterie.errors import CoterieError, HandshakeFailed, MessageRefused, PeerUnreachable
from coterie.keys.key_shares import party_share
from coterie.keys.server.journal import Journal
from coterie.keys.server.messages import (
    ALPN,
    PLAIN,
    Grant,
    KeyRequest,
    ServerHello,
    decode_message,
    encode_message,
    request_bytes,
)
from coterie.keys.server.policy import KeyPolicy
from coterie.keys.server.session import EXPORTER_LABEL, request_report_data, sign_session
from coterie.ratls.claims import Claims
from coterie.ratls.deadline import Deadline
from coterie.ratls.issue import spki_der
from coterie.ratls.messages import NONCE_BYTES, FrameReader, Refusal
from coterie.ratls.session import EXPORTER_BYTES
from coterie.ratls.tls import TlsConnection
from coterie.ratls.trust import RelyingParty
from coterie.ratls.verify import JudgedCertificate, judge_certificate, judge_session
from coterie.ratls.voucher import VOUCHER_LIFETIME, sign_voucher

_CERTIFICATE_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True)
class ServerIdentity:
    """A throw-away TLS key; the party's signature on each session says whose it is.

    Attributes:
        certificate_der: Self-signed; it says nothing.
        private_key: In this process's memory only.
    """

    certificate_der: bytes
    private_key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"ServerIdentity({self.spki_sha256.hex()})"

    @property
    def spki_sha256(self) -> bytes:
        """SHA-256 of the public key, 32 bytes."""
        return hashlib.sha256(spki_der(self.private_key.public_key())).digest()

    @classmethod
    def create(cls, at: datetime) -> ServerIdentity:
        """Makes a key and a certificate that is valid from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - timedelta(minutes=5))
            .not_valid_after(at + _CERTIFICATE_LIFETIME)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName("keys.coterie.invalid")]), critical=True
            )
            .sign(key, hashes.SHA256())
        )
        return cls(certificate.public_bytes(Encoding.DER), key)


class KeyService:
    """Answers one request per connection.

    Args:
        policy: Who gets what.
        key: The party's private key.
        trust: Judges nodes, by the policy's rules.
        journal: Every answer is in it before it is given.
        decided: Told of every request: claims, what was wanted, and the refusal, if it was one.
    """

    def __init__(
        self,
        policy: KeyPolicy,
        key: Ed25519PrivateKey,
        trust: RelyingParty,
        journal: Journal,
        decided: Callable[[Claims, str, CoterieError | None], None] = lambda *_: None,
    ) -> None:
        self._policy = policy
        self._key = key
        self._trust = trust
        self._journal = journal
        self._decided = decided

    def handle(self, sock: socket.socket, seconds: float) -> None:
        """Serves a connection; it is closed in the end.

        Raises:
            CoterieError: Why the node got nothing; it was told, if it still listened.
        """
        try:
            conversation = _Conversation(self._trust, sock, Deadline.after(seconds))
        except BaseException:
            sock.close()
            raise
        conversation.run(self._key, self._answer)

    def _answer(self, judged: JudgedCertificate, request: KeyRequest, at: datetime) -> bytes:
        claims = judged.claims
        refusal: CoterieError | None = None
        content = b""
        try:
            content = self._decide(claims, request, at)
        except CoterieError as error:
            refusal = error
        self._journal.add(
            {
                "at": at.isoformat(timespec="seconds"),
                "node": claims.node,
                "role": claims.role,
                "party": claims.party,
                "incarnation": claims.incarnation,
                "key": claims.pubkey_hash.hex(),
                "contract": claims.contract_digest.hex(),
                "wanted": request.wanted,
                "set_id": request.set_id.hex(),
                "outcome": type(refusal).__name__ if refusal else "granted",
            }
        )
        self._decided(claims, request.wanted, refusal)
        if refusal is not None:
            raise refusal
        return content

    def _decide(self, claims: Claims, request: KeyRequest, at: datetime) -> bytes:
        policy = self._policy
        check_in_force(policy.contract, at)
        match request.wanted:
            case "voucher":
                policy.check_voucher(claims)
                return sign_voucher(self._key, claims, expiry=at + VOUCHER_LIFETIME).to_cbor()
            case "data":
                return policy.data_key(claims, request)
            case "model":
                key = policy.model_key(claims)
                return PLAIN if key == "plain" else key.set_id + key.key
            case "share":
                policy.check_share(claims, request.voucher, at=at)
                return party_share(self._key, policy.contract)
            case _:
                assert_never(request.wanted)


class _Conversation:
    """One connection."""

    def __init__(self, trust: RelyingParty, sock: socket.socket, deadline: Deadline) -> None:
        self._trust = trust
        self._at = trust.clock()
        self._identity = ServerIdentity.create(self._at)
        self._judged: JudgedCertificate | None = None
        self._connection = TlsConnection(
            sock,
            self._identity,
            self._judge,
            listener=True,
            at=self._at,
            deadline=deadline,
            peer_name="the node",
            alpn=ALPN,
        )

    def run(
        self,
        key: Ed25519PrivateKey,
        answer: Callable[[JudgedCertificate, KeyRequest, datetime], bytes],
    ) -> None:
        try:
            self._connection.handshake()
            content = self._converse(key, answer)
            self._connection.send(encode_message(Grant(content)))
        except (PeerUnreachable, HandshakeFailed):
            self._connection.close_with_last_word()
            raise  # the node is gone, or TLS has said all there is to say
        except CoterieError as error:
            self._refuse(error)
            raise
        except BaseException:
            self._connection.close_with_last_word()
            raise
        self._connection.close()

    def _judge(self, der: bytes) -> bytes:
        self._judged = judge_certificate(der, self._trust, expected_node=None, at=self._at)
        return self._judged.certificate.spki_der

    def _converse(
        self,
        key: Ed25519PrivateKey,
        answer: Callable[[JudgedCertificate, KeyRequest, datetime], bytes],
    ) -> bytes:
        judged = self._judged
        assert judged is not None  # TLS does not complete without the callback
        exporter = self._connection.exporter(EXPORTER_LABEL, EXPORTER_BYTES)
        nonce = secrets.token_bytes(NONCE_BYTES)
        keys = {
            "server_key": self._identity.spki_sha256,
            "node_key": judged.certificate.spki_sha256,
        }
        signature = sign_session(key, exporter=exporter, **keys)
        hello = ServerHello(nonce, signature, wants_collateral=judged.collateral is None)
        self._connection.send(encode_message(hello))
        request = self._receive(stapled=hello.wants_collateral)
        expected = request_report_data(exporter=exporter, nonce=nonce, **keys)
        judge_session(
            judged, request.quote, expected, request.collateral, trust=self._trust, at=self._at
        )
        return answer(judged, request, self._at)

    def _receive(self, *, stapled: bool) -> KeyRequest:
        frames = FrameReader(decode_message, request_bytes(stapled=stapled))
        message = frames.read_message(self._connection.receive)
        if not isinstance(message, KeyRequest):
            raise MessageRefused(
                "the node sent a message out of order",
                expected="a request",
                seen=type(message).__name__,
                remedy="run the same version of Coterie on both sides",
            )
        return message

    def _refuse(self, error: CoterieError) -> None:
        try:
            self._connection.send(encode_message(Refusal(error.to_dict())))
        except CoterieError:
            pass  # the node went away; the refusal stands all the same
        finally:
            self._connection.close_with_last_word()
