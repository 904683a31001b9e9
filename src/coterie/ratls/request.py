"""One attested question over TLS: the common part of handshake, key server and status.

Each end of a connection authenticates itself in one of two ways. A node shows a certificate with
evidence, which the other end verifies inside the TLS handshake, and then a quote made for this
session. A party shows a temporary key, and signs the session with the key that the contract names.

The messages inside belong to one protocol, and each is bounded by the longest allowed one. One
deadline covers everything from the connection on.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from coterie.attestation.collateral_source import CollateralSource, stapled
from coterie.attestation.tee.base import Tee
from coterie.errors import CoterieError, HandshakeFailed, MessageRefused, PeerUnreachable
from coterie.ratls.connect import Destination
from coterie.ratls.deadline import Deadline
from coterie.ratls.frames import FrameReader, frame
from coterie.ratls.messages import Refusal
from coterie.ratls.schema import ITEMS, Codec, Message
from coterie.ratls.session_binding import EXPORTER_BYTES, Binding, Direction
from coterie.ratls.tls import ALPN, TlsConnection
from coterie.ratls.tls_context import Judge, Shown
from coterie.ratls.tokens import judge_tokens
from coterie.ratls.trust import RelyingParty
from coterie.ratls.verify import JudgedCertificate, JudgedSession, judge_session

HANDSHAKE_SECONDS = 10.0
Due = TypeVar("Due", bound=Message)


@dataclass(frozen=True)
class Protocol:
    """A protocol inside TLS.

    Attributes:
        alpn: Its name in TLS.
        exporter_label: Label of the keying material that binds evidence and signatures to the
            session.
        label: First part of a party's signed statement on the session; it ends in a zero byte.
        codec: Its messages.
    """

    alpn: bytes
    exporter_label: bytes
    label: bytes
    codec: Codec


@contextmanager
def tls_session(
    sock: socket.socket,
    identity: Shown,
    judge: Judge,
    *,
    side: Direction,
    at: datetime,
    deadline: Deadline,
    peer_name: str,
    alpn: bytes = ALPN,
    others: Mapping[bytes, Judge] | None = None,
    apart: Collection[bytes] = (),
) -> Iterator[TlsConnection]:
    """Does the TLS handshake on a connection, and closes it in order at the end.

    Args:
        sock: The connection.
        identity: Shown to the other side.
        judge: As in ``TlsConnection``.
        side: This end's side.
        at: The time now, UTC.
        deadline: Time limit of everything.
        peer_name: The other side's name in errors.
        alpn: Name of the protocol.
        others: As in ``TlsConnection``.
        apart: As in ``TlsConnection``.

    Raises:
        HandshakeFailed: TLS failed.
        PeerUnreachable: The other side went away or was too slow.
        CoterieError: An error of ``judge``.
    """
    try:
        connection = TlsConnection(
            sock,
            identity,
            judge,
            listener=side == "listener",
            at=at,
            deadline=deadline,
            peer_name=peer_name,
            alpn=alpn,
            others=others,
            apart=apart,
        )
    except BaseException:
        sock.close()
        raise
    try:
        connection.handshake()
        yield connection
    except BaseException:
        connection.close_with_last_word()
        raise
    connection.close()


@contextmanager
def dialled(
    destination: Destination,
    identity: Shown,
    judge: Judge,
    *,
    alpn: bytes,
    at: datetime,
    seconds: float = HANDSHAKE_SECONDS,
) -> Iterator[TlsConnection]:
    """Connects to an attestation port; otherwise like `tls_session`.

    Args:
        destination: The destination.
        identity: Shown to the other side.
        judge: As in ``TlsConnection``.
        alpn: Name of the protocol.
        at: The time now, UTC.
        seconds: Time for all of it, connecting included.

    Raises:
        PeerUnreachable: There is no answer, or the other side went away or was too slow.
        HandshakeFailed: TLS failed.
    """
    deadline = Deadline.after(seconds)
    with tls_session(
        destination.connect(seconds),
        identity,
        judge,
        side="dialler",
        at=at,
        deadline=deadline,
        peer_name=destination.name,
        alpn=alpn,
    ) as connection:
        yield connection


@contextmanager
def told_of_refusals(connection: TlsConnection) -> Iterator[None]:
    """Sends the peer the reason of its refusal, if possible; raises the error again."""
    try:
        yield
    except (PeerUnreachable, HandshakeFailed):
        raise  # the peer is gone, or TLS or the peer has already reported the error
    except CoterieError as error:
        with suppress(CoterieError):  # the peer went away; raise the refusal nevertheless
            connection.send(frame(Refusal.of(error)))
        raise


def fresh_evidence(
    tee: Tee, source: CollateralSource, report_data: bytes, *, staple: bool, at: datetime
) -> tuple[bytes, bytes]:
    """A quote over a session's report data, and collateral for it in JSON.

    Args:
        tee: Makes the quote.
        source: Source of the collateral.
        report_data: Report data of the quote, 64 bytes.
        staple: Whether the peer asked for collateral; otherwise it is empty.
        at: The time now, UTC.

    Raises:
        EnvironmentUnfit: The TEE cannot make a quote.
    """
    quote = tee.quote(report_data)
    return quote, stapled(source, quote, at) if staple else b""


class Exchange:
    """The messages of one protocol over one TLS session.

    Args:
        connection: The connection after its handshake.
        protocol: The protocol.
        side: This end's side.
        own_key: SHA-256 of this end's SubjectPublicKeyInfo.
        peer_key: SHA-256 of the other end's.
        peer_name: The other end's name in errors.

    Attributes:
        binding: Binds evidence and signatures to the session.
        peer_proved: Set it once the other end is authenticated; refusals are then its own.
    """

    def __init__(
        self,
        connection: TlsConnection,
        protocol: Protocol,
        *,
        side: Direction,
        own_key: bytes,
        peer_key: bytes,
        peer_name: str,
    ) -> None:
        exporter = connection.exporter(protocol.exporter_label, EXPORTER_BYTES)
        self.binding = Binding(side, exporter, own_key, peer_key)
        self.peer_proved = False
        self._connection = connection
        self._protocol = protocol
        self._peer_name = peer_name
        self._frames = FrameReader(protocol.codec, 0)

    @property
    def statement(self) -> bytes:
        """The statement on this session that a party signs."""
        return self.binding.statement(self._protocol.label)

    def send(self, message: Message) -> None:
        """Sends a message.

        Raises:
            PeerUnreachable: The other end went away or was too slow.
            HandshakeFailed: TLS failed.
        """
        self._connection.send(frame(message))

    def receive(self, due: type[Due], *, most: int, items: int = ITEMS) -> Due:
        """Waits for a message.

        Args:
            due: Kind of the expected message.
            most: Longest encoding of it, or of a refusal in its place.
            items: Largest number of its items.

        Raises:
            HandshakeFailed: The listener refused this end and says why; or TLS failed.
            MessageRefused: It is another message, or malformed.
            PeerUnreachable: The other end went away or was too slow.
        """
        self._frames.most, self._frames.items = most, items
        message = self._frames.read_message(self._connection.receive)
        if isinstance(message, due):
            return message
        if isinstance(message, Refusal) and self.binding.side == "dialler":
            refusal = message.as_error(self._peer_name)
            refusal.peer_proved = self.peer_proved
            raise refusal
        raise MessageRefused(
            f"{self._peer_name} sent a message out of order",
            expected=f"the message {due.KIND}",
            seen=f"the message {message.KIND}",
        )

    def judge(
        self,
        judged: JudgedCertificate,
        quote: bytes,
        collateral: bytes,
        tokens: bytes,
        *,
        nonce: bytes,
        trust: RelyingParty,
        at: datetime,
    ) -> JudgedSession:
        """Verifies the other end's evidence for this session.

        Args:
            judged: Its certificate.
            quote: Its quote.
            collateral: Its stapled collateral, JSON.
            tokens: Its tokens, one a line.
            nonce: The nonce that this end sent.
            trust: This end's trust.
            at: Time as of which to verify, UTC.

        Raises:
            EvidenceRefused: A check failed.
        """
        expected = self.binding.peer_report_data(nonce)
        fresh = judge_session(judged, quote, expected, collateral, trust=trust, at=at)
        return judge_tokens(fresh, judged, tokens, trust=trust, at=at)
