"""TLS 1.3 of which OpenSSL does the handshake, and somebody else the records that follow.

OpenSSL tells the traffic secrets to nobody but a key log (the SSLKEYLOGFILE format), so it gets one, in memory.
RFC 8446, 7.1 to 7.3, says how the keys of both directions follow. Records are counted from 0 in each
direction, so nothing may be sent or read beyond the handshake: OpenSSL is given one record at a time
(`coterie.ratls.records`), and the tickets that a listener of it makes at the end stay unsent. What the two
sides have to say before the first record (`TlsHandshake.tell`) has a record's shape, but no place in that count.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from OpenSSL import SSL

from coterie.ratls.records import tls_failed
from coterie.ratls.tls import TlsConnection

_CLIENT = b"CLIENT_TRAFFIC_SECRET_0"
_SERVER = b"SERVER_TRAFFIC_SECRET_0"
_SUITE = b"TLS_AES_128_GCM_SHA256"
_DATA_HEAD = b"\x17\x03\x03"  # application data (RFC 8446, 5.2), and two bytes of length follow


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
    """One side of a handshake; as ``TlsConnection``, of which sending and receiving do not work here."""

    def _begin(self, context: SSL.Context) -> SSL.Connection:
        self._secrets: dict[bytes, bytes] = {}
        context.set_tls13_ciphersuites(_SUITE)
        context.set_keylog_callback(self._note)
        return super()._begin(context)

    def _note(self, _: SSL.Connection, line: bytes) -> None:
        label, *_rest, secret = line.split(b" ")
        if label in {_CLIENT, _SERVER}:
            self._secrets[label] = bytes.fromhex(secret.decode())

    def _end_handshake(self) -> None:
        if not self._listener:
            self._flush()

    def close(self) -> None:
        """Closes the socket; OpenSSL has no more to say."""
        self._socket.close()

    def tell(self, data: bytes) -> None:
        """Sends something short that everybody may read, between the handshake and the records.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
        """
        self._records.write(_head_of(len(data)) + data)

    def hear(self, length: int) -> bytes:
        """What the other side told: so many bytes.

        Raises:
            HandshakeFailed: It said something else.
            PeerUnreachable: It went away or was too slow.
        """
        record, head = self._records.read(), _head_of(length)
        if not record.startswith(head):
            raise tls_failed(self._peer_name, "something else than was due after the handshake")
        return record.removeprefix(head)

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


def _head_of(length: int) -> bytes:
    return _DATA_HEAD + length.to_bytes(2)
