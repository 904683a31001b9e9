"""TLS 1.3 with OpenSSL's handshake, for records that another library reads and writes.

OpenSSL gives the traffic secrets only to a key log (the SSLKEYLOGFILE format), so it gets one, in
memory. RFC 8446, 7.1 to 7.3, defines how the keys of both directions follow. Records are counted
from 0 in each direction, so nothing may be sent or read beyond the handshake. OpenSSL gets one
record at a time (`coterie.ratls.records`), and the tickets that a listener makes at the end are not
sent. The messages of both sides before the first record (`TlsHandshake.tell`) have a record's form,
but are not counted.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from OpenSSL import SSL

from coterie.ratls.records import tls_failed
from coterie.ratls.tls import TlsConnection

_CLIENT = b"CLIENT_TRAFFIC_SECRET_0"
_SERVER = b"SERVER_TRAFFIC_SECRET_0"
# Header of application data (RFC 8446, 5.2); two bytes of length follow.
_DATA_HEAD = b"\x17\x03\x03"


@dataclass(frozen=True)
class Taken:
    """A connection after its handshake.

    Attributes:
        socket: Non-blocking; owned by the taker of the connection.
        sending: Traffic secret for sending, of TLS_AES_128_GCM_SHA256; 32 bytes.
        receiving: Traffic secret for receiving, 32 bytes.
    """

    socket: socket.socket
    sending: bytes = field(repr=False)
    receiving: bytes = field(repr=False)


class TlsHandshake(TlsConnection):
    """One side of a handshake: a ``TlsConnection`` that can neither send nor receive."""

    def _begin(self, context: SSL.Context) -> SSL.Connection:
        self._secrets: dict[bytes, bytes] = {}
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
        """Closes the socket without a message from OpenSSL."""
        self._socket.close()

    def tell(self, data: bytes) -> None:
        """Sends a short public message between the handshake and the records.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
        """
        self._records.write(_head_of(len(data)) + data)

    def hear(self, length: int) -> bytes:
        """Receives the other side's message of ``length`` bytes.

        Raises:
            HandshakeFailed: It sent something else.
            PeerUnreachable: It went away or was too slow.
        """
        record, head = self._records.read(), _head_of(length)
        if not record.startswith(head):
            raise tls_failed(self._peer_name, "something else than was due after the handshake")
        return record.removeprefix(head)

    def take(self) -> Taken:
        """Returns socket and secrets after the handshake; this object drops the secrets.

        OpenSSL overwrites its own secrets when its objects are freed, which happens now and not at
        garbage collection.
        """
        own, other = (_SERVER, _CLIENT) if self._listener else (_CLIENT, _SERVER)
        self._socket.settimeout(0)
        taken = Taken(self._socket, self._secrets[own], self._secrets[other])
        self._secrets.clear()
        del self._connection
        return taken


def _head_of(length: int) -> bytes:
    return _DATA_HEAD + length.to_bytes(2)
