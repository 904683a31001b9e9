"""The traffic secrets of TLS 1.3 connections, for records that another library than OpenSSL handles.

OpenSSL gives them only to a key log (the SSLKEYLOGFILE format), so it gets one, in memory. RFC 8446,
7.1 to 7.3, defines how the keys of both directions follow.
"""

from __future__ import annotations

import socket as sockets
from dataclasses import dataclass, field

from OpenSSL import SSL

_CLIENT = b"CLIENT_TRAFFIC_SECRET_0"
_SERVER = b"SERVER_TRAFFIC_SECRET_0"


@dataclass(frozen=True)
class Taken:
    """A connection after its handshake.

    Attributes:
        socket: Non-blocking; owned by the taker of the connection.
        sending: Traffic secret for sending, of TLS_AES_128_GCM_SHA256; 32 bytes.
        receiving: Traffic secret for receiving, 32 bytes.
        way_out: Where records for the peer are sent in place of ``socket``; None: there.
    """

    socket: sockets.socket
    sending: bytes = field(repr=False)
    receiving: bytes = field(repr=False)
    way_out: sockets.socket | None = None


class TrafficSecrets:
    """The traffic secrets of one connection, until somebody takes them."""

    def __init__(self) -> None:
        self._secrets: dict[bytes, bytes] = {}

    def note(self, _: SSL.Connection, line: bytes) -> None:
        """Keeps the secrets of a line of the key log."""
        label, *_rest, secret = line.split(b" ")
        if label in {_CLIENT, _SERVER}:
            self._secrets[label] = bytes.fromhex(secret.decode())

    def take(self, sock: sockets.socket, *, listener: bool) -> Taken:
        """Returns the secrets of both directions with the socket, and forgets them."""
        own, other = (_SERVER, _CLIENT) if listener else (_CLIENT, _SERVER)
        return Taken(sock, self._secrets.pop(own), self._secrets.pop(other))

    def forget(self) -> None:
        """Forgets the secrets."""
        self._secrets.clear()
