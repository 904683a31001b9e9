"""TLS 1.3 of which OpenSSL does the handshake, and somebody else the records that follow.

OpenSSL tells the traffic secrets to nobody but a key log (the SSLKEYLOGFILE format), so it gets one, in memory.
RFC 8446, 7.1 to 7.3, says how the keys of both directions follow. Records are counted from 0 in each
direction, so nothing may be sent or read beyond the handshake: OpenSSL works in memory here, is given
one record at a time, and the tickets that a listener of it makes at the end stay unsent.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from OpenSSL import SSL

from coterie.errors import PeerUnreachable
from coterie.ratls.tls import TlsConnection

T = TypeVar("T")

_CLIENT = b"CLIENT_TRAFFIC_SECRET_0"
_SERVER = b"SERVER_TRAFFIC_SECRET_0"
_SUITE = b"TLS_AES_128_GCM_SHA256"
_HEAD_BYTES = 5
_RECORD_TYPES = range(20, 24)  # RFC 8446, 5.1
_MAX_RECORD_BYTES = (1 << 14) + 256
_FLIGHT_BYTES = 1 << 16


@dataclass(frozen=True)
class Taken:
    """A connection after its handshake.

    Attributes:
        socket: Non-blocking; belongs to who took the connection.
        sending: Traffic secret of what this side sends, of TLS_AES_128_GCM_SHA256; 32 bytes.
        receiving: Of what it receives, 32 bytes.
    """

    socket: socket.socket
    sending: bytes = field(repr=False)
    receiving: bytes = field(repr=False)


class TlsHandshake(TlsConnection):
    """One side of a handshake; arguments as of ``TlsConnection``, of which nothing else works here."""

    def _begin(self, context: SSL.Context) -> SSL.Connection:
        self._secrets: dict[bytes, bytes] = {}
        context.set_tls13_ciphersuites(_SUITE)
        context.set_keylog_callback(self._note)
        return SSL.Connection(context)

    def _note(self, _: SSL.Connection, line: bytes) -> None:
        label, *_rest, secret = line.split(b" ")
        if label in {_CLIENT, _SERVER}:
            self._secrets[label] = bytes.fromhex(secret.decode())

    def handshake(self) -> None:
        """Does the handshake, as ``TlsConnection`` does."""
        try:
            super().handshake()
        except BaseException:
            with suppress(PeerUnreachable):
                self._send_flight()  # the alert
            raise
        if not self._listener:
            self._send_flight()

    def take(self) -> Taken:
        """What goes on after the handshake; this object has no part in it any more, and forgets the secrets.

        OpenSSL overwrites its own when its objects are freed, which is now and not when the collector comes.
        """
        own, other = (_SERVER, _CLIENT) if self._listener else (_CLIENT, _SERVER)
        self._socket.settimeout(0)
        taken = Taken(self._socket, self._secrets[own], self._secrets[other])
        self._secrets.clear()
        del self._connection
        return taken

    def _more_input(self) -> bool:
        self._send_flight()
        self._connection.bio_write(self._record())
        return True

    def _send_flight(self) -> None:
        with suppress(SSL.WantReadError):  # there is no more of it
            while True:
                flight = self._connection.bio_read(_FLIGHT_BYTES)
                self._in_time(partial(self._socket.sendall, flight))

    def _record(self) -> bytes:
        head = self._exactly(_HEAD_BYTES)
        length = int.from_bytes(head[3:])
        if head[0] not in _RECORD_TYPES or head[1] != 3 or length > _MAX_RECORD_BYTES:
            raise self._failed("something that is not TLS")
        return head + self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            more = self._in_time(partial(self._socket.recv, length - len(data)))
            if not more:
                raise self._gone("it closed the connection")
            data += more
        return data

    def _in_time(self, step: Callable[[], T]) -> T:
        try:
            self._socket.settimeout(self._deadline.remaining())
            return step()
        except (TimeoutError, BlockingIOError) as error:
            raise self._gone("it did not answer in time") from error
        except OSError as error:
            raise self._gone(error.strerror or type(error).__name__) from error
