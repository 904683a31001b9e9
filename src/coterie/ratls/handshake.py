"""The attested handshake: TLS 1.3 in which both sides verify evidence, then the session exchange.

In TLS 1.3 a client finishes before the server has verified it. So neither side takes the other for
attested before the exchange in `coterie.ratls.session` has ended.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from coterie.address import Address
from coterie.errors import CoterieError, EvidenceRefused
from coterie.ratls.connect import Destination
from coterie.ratls.credentials import Credentials
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import OtherProtocol
from coterie.ratls.handshake_spans import handshake_span
from coterie.ratls.peer import Peer, Proof
from coterie.ratls.request import (
    HANDSHAKE_SECONDS,
    fresh_evidence,
    tls_session,
    told_of_refusals,
)
from coterie.ratls.schema import NONCE_BYTES
from coterie.ratls.session import EXPORTER_LABEL, Session, SessionInputs
from coterie.ratls.session_binding import EXPORTER_BYTES, Direction
from coterie.ratls.tls import TlsConnection
from coterie.ratls.tokens import demanded_of, judge_tokens, own_tokens
from coterie.ratls.trust import TrustContext
from coterie.ratls.verify import CertificateJudge, JudgedCertificate, JudgedSession, judge_session

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
    """Connects to a node's attestation port and does the whole handshake.

    Args:
        address: Its address; an untrusted hint.
        expected_node: The node that must answer.
        trust: This node's trust.
        seconds: Time for all of it, connecting included.
        admit: Called with the peer once this side accepts it; the peer may still refuse this side.
            Returns 0, since a dialler serves nothing.

    Returns:
        The peer, and the credentials that it now has pinned.

    Raises:
        EnvironmentUnfit: This node's TEE cannot make a quote.
        PeerUnreachable: There is no answer, or the peer went away or was too slow.
        EvidenceRefused: The peer's evidence failed a check.
        VoucherRefused: Its voucher is missing or wrong.
        ContractMismatch: The contracts differ; the values are named.
        HandshakeFailed: TLS failed, or the peer refused this node and says why.
        MessageRefused: The peer broke the exchange's rules.
    """
    with handshake_span(trust.tracer, expected_node) as proved:
        deadline = Deadline.after(seconds)
        sock = Destination(address, expected_node).connect(seconds)
        attested = _handshake(sock, trust, "dialler", expected_node, deadline=deadline, admit=admit)
        assert attested is not None  # only listeners speak other protocols
        proved(attested.peer)
    return attested


def accept(
    sock: socket.socket,
    trust: TrustContext,
    admit: Callable[[Peer], int],
    *,
    seconds: float = HANDSHAKE_SECONDS,
    others: Sequence[OtherProtocol] = (),
) -> AttestedPeer | None:
    """Does the listener's side of the handshake on an accepted connection.

    Args:
        sock: The connection; it is closed in the end.
        trust: This node's trust.
        admit: Pins the peer and returns the gRPC port. Called before the peer is told that it is
            accepted. May raise a CoterieError to refuse it.
        seconds: Time for all of it.
        others: The protocols that this port speaks beside the handshake.

    Returns:
        The peer, and the credentials that it now has pinned; None after another protocol.

    Raises:
        CoterieError: As for `dial`; also the errors of ``admit`` and of the other protocols.
    """
    with handshake_span(trust.tracer) as proved:
        deadline = Deadline.after(seconds)
        attested = _handshake(
            sock, trust, "listener", None, deadline=deadline, admit=admit, others=others
        )
        if attested is not None:
            proved(attested.peer)
    return attested


@dataclass(frozen=True)
class AttestedPeer:
    """Result of a handshake.

    Attributes:
        peer: The peer.
        credentials: The credentials that this node showed, whose key the peer has pinned.
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
    others: Sequence[OtherProtocol] = (),
) -> AttestedPeer | None:
    with sock:  # if TLS began, it was already closed in order, or given away
        at = trust.clock()
        credentials = trust.credentials.current()
        judge = CertificateJudge(trust, expected_node=expected_node, at=at)
        visitors = {other.alpn: other.begin() for other in others}
        with tls_session(
            sock,
            credentials.identity,
            judge,
            side=side,
            at=at,
            deadline=deadline,
            peer_name=expected_node or "the peer",
            others=visitors,
            apart=[other.alpn for other in others if other.apart],
        ) as connection:
            if (visitor := visitors.get(connection.protocol)) is not None:
                visitor.serve(connection, credentials, at)
                return None
            handshake = _Handshake(trust, side, judge.judged, credentials, at=at)
            return AttestedPeer(handshake.run(connection, admit), credentials)


@contextmanager
def _said_in(session: Session) -> Iterator[None]:
    """Marks errors in the peer's own messages; broken TLS may be an attacker's work instead."""
    try:
        yield
    except CoterieError as error:
        error.peer_proved = session.peer_proved
        raise


class _Handshake:
    """One handshake of one side, from the end of TLS on."""

    def __init__(
        self,
        trust: TrustContext,
        side: Direction,
        judged: JudgedCertificate,
        credentials: Credentials,
        *,
        at: datetime,
    ) -> None:
        self._trust = trust
        self._side = side
        self._judged = judged
        self._credentials = credentials
        self._at = at
        self._fresh: JudgedSession | None = None
        self._quote = b""
        self._tokens = b""

    def run(self, connection: TlsConnection, admit: Callable[[Peer], int]) -> Peer:
        session = self._session(connection)
        peer: Peer | None = None
        with told_of_refusals(connection):
            connection.send(session.start())
            while session.state != "done":
                received = connection.receive()
                with _said_in(session):
                    answer = session.receive(received)
                connection.send(answer)
                if session.state == "ready":
                    with _said_in(session):
                        token = connection.exporter(_TOKEN_LABEL, _TOKEN_BYTES)
                        peer = replace(self._peer(session), call_token=token)
                        port = admit(peer)
                    connection.send(
                        session.acknowledge(grpc_port=port, valid_until=peer.expires_at)
                    )
        assert peer is not None
        acceptance = session.peer_acceptance
        until = datetime.fromtimestamp(acceptance.valid_until, UTC)
        return replace(peer, grpc_port=acceptance.grpc_port, expires_at=min(peer.expires_at, until))

    def _session(self, connection: TlsConnection) -> Session:
        source, at = self._trust.collateral, self._at
        return Session(
            SessionInputs(
                side=self._side,
                contract=self._trust.contract,
                own=self._credentials.identity.claims,
                peer=self._judged.claims,
                exporter=connection.exporter(EXPORTER_LABEL, EXPORTER_BYTES),
                nonce=secrets.token_bytes(NONCE_BYTES),
                voucher=self._credentials.voucher.to_cbor(),
                at=at,
                wants_collateral=self._judged.collateral is None,
                prove=partial(fresh_evidence, self._trust.tee, source, at=at),
                judge=self._judge_session,
                judge_tokens=self._judge_tokens,
                wants_tokens=bool(demanded_of(self._judged.claims, self._trust)),
                tokens=own_tokens(self._trust.tokens, self._credentials.identity),
            )
        )

    def _judge_session(self, quote: bytes, report_data: bytes, stapled: bytes) -> None:
        self._quote = quote
        self._fresh = judge_session(
            self._judged, quote, report_data, stapled, trust=self._trust, at=self._at
        )

    def _judge_tokens(self, tokens: bytes) -> None:
        assert self._fresh is not None  # the session judges quotes first
        self._tokens = tokens
        self._fresh = judge_tokens(
            self._fresh, self._judged, tokens, trust=self._trust, at=self._at
        )

    def _peer(self, session: Session) -> Peer:
        judged, fresh = self._judged, self._fresh
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
                own_key=self._credentials.identity.spki_digest,
                collateral=fresh.collateral,
                tokens=self._tokens if demanded_of(claims, self._trust) else b"",
            ),
        )
