"""Opens connections to ports that attest, with one error where nobody answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from coterie.address import Address
from coterie.errors import PeerUnreachable
from coterie.ratls.deadline import Deadline
from coterie.ratls.tls import Judge, Shown, TlsConnection


@dataclass(frozen=True)
class Destination:
    """Who is dialled.

    Attributes:
        address: Where: an untrusted hint.
        name: Who should answer, for errors.
        expected: What should listen there, for errors.
        remedy: What to do if nobody does.
    """

    address: Address
    name: str
    expected: str = "its attestation port"
    remedy: str = "start that node, or correct its address"

    def connect(self, seconds: float) -> socket.socket:
        """Connects within so many seconds.

        Raises:
            PeerUnreachable: Nobody answers.
        """
        try:
            return socket.create_connection((self.address.host, self.address.port), timeout=seconds)
        except OSError as error:
            raise PeerUnreachable(
                f"{self.name} does not answer at {self.address}",
                expected=self.expected,
                seen=error.strerror or str(error) or type(error).__name__,
                remedy=self.remedy,
            ) from error

    @contextmanager
    def conversation(
        self, identity: Shown, judge: Judge, *, alpn: bytes, at: datetime, seconds: float
    ) -> Iterator[TlsConnection]:
        """Connects, does the dialler's side of the TLS handshake, and closes in good order.

        Args:
            identity: Shown to the other side.
            judge: As in ``TlsConnection``.
            alpn: The protocol that is spoken inside.
            at: The time now, UTC.
            seconds: For connecting, and again for all that follows.

        Raises:
            PeerUnreachable: Nobody answers, or the other side went away.
            HandshakeFailed: TLS failed.
        """
        sock = self.connect(seconds)
        try:
            connection = TlsConnection(
                sock,
                identity,
                judge,
                listener=False,
                at=at,
                deadline=Deadline.after(seconds),
                peer_name=self.name,
                alpn=alpn,
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
