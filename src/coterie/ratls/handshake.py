"""The attested handshake: TLS 1.3 in which both sides judge evidence, then the session exchange.

In TLS 1.3 a client finishes before the server has judged it, so neither side holds the other for
attested before the exchange in `coterie.ratls.session` has ended.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from coterie.address import Address
from coterie.attestation.collateral_source import stapled
from coterie.errors import CoterieError, EvidenceRefused, HandshakeFailed, PeerUnreachable
from coterie.ratls.connect import Destination
from coterie.ratls.credentials import Credentials
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import Reception, Visit, unproved_key
from coterie.ratls.messages import NONCE_BYTES
from coterie.ratls.peer import Peer, Proof
from coterie.ratls.session import (
    EXPORTER_BYTES,
    EXPORTER_LABEL,
    Direction,
    Session,
    SessionInputs,
)
from coterie.ratls.tls import TlsConnection
from coterie.ratls.trust import TrustContext
from coterie.ratls.verify import (
    JudgedCertificate,
    JudgedSession,
    judge_certificate,
    judge_session,
)

HANDSHAKE_SECONDS = 10.0
_TOKEN_LABEL = b"EXPORTER-coterie-grpc-1"
_TOKEN_BYTES = 32


def dial(
    address: Address,
    expected_node: str,
    trust: TrustContext,
    *,
    seconds: float = HANDSHAKE_SECONDS,
    admit: Callable[[Peer], int] = lambda _: 0,
) -> AttestedPeer:
    """Dials a node's attestation port and does the whole handshake.

    Args:
        address: Where; an untrusted hint.
        expected_node: Who must answer.
        trust: This node's trust.
        seconds: Time for all of it, connecting included.
        admit: Told of the peer once this side accepts it; the peer may still refuse this side.
            Returns 0: a dialler serves nothing.

    Returns:
        The peer, and the credentials that it now has pinned.

    Raises:
        EnvironmentUnfit: This node's TEE makes no quote.
        PeerUnreachable: Nobody listens there, or the peer went away or was too slow.
        EvidenceRefused: The peer's evidence failed a check.
        VoucherRefused: Its voucher is missing or wrong.
        ContractMismatch: The contracts differ; the values are named.
        HandshakeFailed: TLS failed, or the peer refused this node and says why.
        MessageRefused: The peer broke the exchange's rules.
    """
    deadline = Deadline.after(seconds)
    sock = Destination(address, expected_node).connect(seconds)
    attested = _handshake(sock, trust, "dialler", expected_node, deadline=deadline, admit=admit)
    assert attested is not None  # only listeners have visitors
    return attested


def accept(
    sock: socket.socket,
    trust: TrustContext,
    admit: Callable[[Peer], int],
    *,
    seconds: float = HANDSHAKE_SECONDS,
    reception: Reception | None = None,
) -> AttestedPeer | None:
    """Does the listener's side of the handshake on an accepted connection.

    Args:
        sock: The connection; it is closed in the end.
        trust: This node's trust.
        admit: Pins the peer and returns the gRPC port; called before the peer learns that it is
            accepted. May raise a CoterieError to refuse it.
        seconds: Time for all of it.
        reception: Serves who is no node; without it such visitors are refused.

    Returns:
        The peer, and the credentials that it now has pinned; None after a visitor was served.

    Raises:
        CoterieError: As for `dial`, and what ``admit`` and the reception raise.
    """
    deadline = Deadline.after(seconds)
    return _handshake(
        sock, trust, "listener", None, deadline=deadline, admit=admit, reception=reception
    )


@dataclass(frozen=True)
class AttestedPeer:
    """Result of a handshake.

    Attributes:
        peer: The peer.
        credentials: What this node showed: the key that the peer has pinned.
    """

    peer: Peer
    credentials: Credentials


def _handshake(
    sock: socket.socket,
    trust: TrustContext,
    side: Direction,
    expected_node: str | None,
    *,
    deadline: Deadline,
    admit: Callable[[Peer], int],
    reception: Reception | None = None,
) -> AttestedPeer | None:
    try:
        handshake = _Handshake(trust, side, expected_node, at=trust.clock(), reception=reception)
        credentials = trust.credentials.current()
        connection = handshake.connect(sock, credentials, deadline)
    except BaseException:
        sock.close()
        raise
    return handshake.run(connection, credentials, admit)


@contextmanager
def _said_in(session: Session) -> Iterator[None]:
    """Marks errors in what a peer said, not in how it arrived: TLS that breaks is anybody's work."""
    try:
        yield
    except CoterieError as error:
        error.peer_proved = session.peer_proved
        raise


class _Handshake:
    """One handshake of one side."""

    def __init__(
        self,
        trust: TrustContext,
        side: Direction,
        expected_node: str | None,
        *,
        at: datetime,
        reception: Reception | None,
    ) -> None:
        self._trust = trust
        self._side = side
        self._expected_node = expected_node
        self._at = at
        self._judged: JudgedCertificate | None = None
        self._reception = reception
        self._visitor = b""
        self._fresh: JudgedSession | None = None
        self._quote = b""

    def connect(
        self, sock: socket.socket, credentials: Credentials, deadline: Deadline
    ) -> TlsConnection:
        return TlsConnection(
            sock,
            credentials.identity,
            self._judge_certificate,
            listener=self._side == "listener",
            at=self._at,
            deadline=deadline,
            peer_name=self._expected_node or "the peer",
            others={self._reception.alpn: self._judge_visitor} if self._reception else None,
        )

    def run(
        self, connection: TlsConnection, credentials: Credentials, admit: Callable[[Peer], int]
    ) -> AttestedPeer | None:
        try:
            connection.handshake()
            if self._reception is not None and connection.protocol == self._reception.alpn:
                visit = Visit(connection, credentials, self._visitor, self._at)
                self._reception.serve(visit)
                connection.close()
                return None
            session = self._session(connection, credentials)
            peer = self._exchange(connection, session, credentials, admit)
        except BaseException:
            connection.close_with_last_word()
            raise
        connection.close()
        return AttestedPeer(peer, credentials)

    def _judge_certificate(self, der: bytes) -> bytes:
        self._judged = judge_certificate(
            der, self._trust, expected_node=self._expected_node, at=self._at
        )
        return self._judged.certificate.spki_der

    def _judge_visitor(self, der: bytes) -> bytes:
        spki = unproved_key(der, "the visitor")
        self._visitor = hashlib.sha256(spki).digest()
        return spki

    def _session(self, connection: TlsConnection, credentials: Credentials) -> Session:
        judged = self._judged
        assert judged is not None  # TLS does not complete without the callback
        return Session(
            SessionInputs(
                side=self._side,
                contract=self._trust.contract,
                own=credentials.identity.claims,
                peer=judged.claims,
                exporter=connection.exporter(EXPORTER_LABEL, EXPORTER_BYTES),
                nonce=secrets.token_bytes(NONCE_BYTES),
                voucher=credentials.voucher.to_cbor(),
                at=self._at,
                wants_collateral=judged.collateral is None,
                quote=self._trust.tee.quote,
                staple=self._staple,
                judge=self._judge_session,
            )
        )

    def _staple(self, quote: bytes) -> bytes:
        return stapled(self._trust.collateral, quote, self._at)

    def _judge_session(self, quote: bytes, report_data: bytes, stapled: bytes) -> None:
        assert self._judged is not None
        self._quote = quote
        self._fresh = judge_session(
            self._judged, quote, report_data, stapled, trust=self._trust, at=self._at
        )

    def _exchange(
        self,
        connection: TlsConnection,
        session: Session,
        credentials: Credentials,
        admit: Callable[[Peer], int],
    ) -> Peer:
        peer: Peer | None = None
        try:
            connection.send(session.start())
            while session.state != "done":
                received = connection.receive()
                with _said_in(session):
                    answer = session.receive(received)
                connection.send(answer)
                if session.state == "ready":
                    with _said_in(session):
                        token = connection.exporter(_TOKEN_LABEL, _TOKEN_BYTES)
                        peer = replace(self._peer(session, credentials), call_token=token)
                        port = admit(peer)
                    connection.send(
                        session.acknowledge(grpc_port=port, valid_until=peer.expires_at)
                    )
        except (PeerUnreachable, HandshakeFailed):
            raise  # the peer is gone, or spoke the last word
        except CoterieError as error:
            self._tell(connection, session, error)
            raise
        assert peer is not None
        acceptance = session.peer_acceptance
        until = datetime.fromtimestamp(acceptance.valid_until, UTC)
        return replace(peer, grpc_port=acceptance.grpc_port, expires_at=min(peer.expires_at, until))

    @staticmethod
    def _tell(connection: TlsConnection, session: Session, error: CoterieError) -> None:
        try:
            connection.send(session.refusal(error))
        except CoterieError:
            return  # the peer went away; the refusal stands all the same

    def _peer(self, session: Session, credentials: Credentials) -> Peer:
        judged, fresh = self._judged, self._fresh
        assert judged is not None
        assert fresh is not None
        verdict = fresh.verdict
        claims, certificate = judged.claims, judged.certificate
        ends = [
            self._at + self._trust.reattestation,
            certificate.not_after,
            session.peer_voucher.expires_at,
            verdict.expiry,
        ]
        if judged.verdict is not None:
            ends.append(judged.verdict.expiry)
        if min(ends) <= self._at:
            raise EvidenceRefused(
                "certificate_validity",
                f"what {claims.node} shows runs out at this very moment",
                expected=f"an end after {self._at.isoformat()}",
                seen=min(ends).isoformat(),
                remedy="dial again; the node renews its certificate by itself",
            )
        return Peer(
            node=claims.node,
            role=claims.role,
            party=claims.party,
            incarnation=claims.incarnation,
            certificate_der=certificate.der,
            certificate_sha256=certificate.sha256,
            spki_sha256=certificate.spki_sha256,
            dns_name=certificate.dns_names[0],
            verdict=verdict,
            attested_at=self._at,
            expires_at=min(ends),
            grpc_port=0,
            proof=Proof(
                voucher=session.peer_voucher.to_cbor(),
                quote=self._quote,
                exporter=session.exporter,
                nonce=session.nonce,
                dialled=self._side == "listener",
                own_key=credentials.identity.spki_digest,
                collateral=fresh.collateral,
            ),
        )
