"""TLS 1.3 over one socket, with a deadline on everything; `coterie.ratls.tls_context` says with what."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TypeVar

from OpenSSL import SSL

from coterie.errors import CoterieError, EvidenceRefused, HandshakeFailed
from coterie.ratls.deadline import Deadline
from coterie.ratls.records import Records, broken_off, tls_failed
from coterie.ratls.tls_context import Judge, Shown, names, tls_context
from coterie.ratls.tls_stream import TlsStream
from coterie.text import first_octets, printable

ALPN = b"coterie-ra-tls/1"
_READ_BYTES = 1 << 16
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1 << 22

T = TypeVar("T")


class TlsConnection:
    """One side of one TLS connection.

    Args:
        sock: A connected socket, which this object owns.
        identity: The identity that this side shows.
        judge: Called once with the peer's DER certificate; raises to refuse it, or returns the
            verified DER SubjectPublicKeyInfo.
        listener: Whether this side accepted the connection.
        at: The time at which certificates must be valid, UTC.
        deadline: Time limit of everything.
        peer_name: The peer's name in errors.
        alpn: Name of the protocol that follows.
        others: Judges of further protocols that a listener offers, by name.
    """

    def __init__(
        self,
        sock: socket.socket,
        identity: Shown,
        judge: Judge,
        *,
        listener: bool,
        at: datetime,
        deadline: Deadline,
        peer_name: str,
        alpn: bytes = ALPN,
        others: Mapping[bytes, Judge] | None = None,
    ) -> None:
        judges = {alpn: judge, **(others or {})}
        self._protocols = tuple(judges)
        self._socket = sock
        self._deadline = deadline
        self._listener = listener
        self._peer_name = peer_name
        self._taken = False
        self._records = Records(sock, deadline, peer_name)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = self._begin(tls_context(identity, judges, listener=listener, at=at))
        if listener:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()

    def handshake(self) -> None:
        """Does the handshake.

        Raises:
            EvidenceRefused: The judge refused the peer's certificate, or there was none.
            HandshakeFailed: TLS failed, or the peer refused this side's certificate.
            PeerUnreachable: The peer went away or was too slow.
        """
        self._run(self._connection.do_handshake)
        self._end_handshake()
        if self.protocol not in self._protocols:
            raise HandshakeFailed(
                f"{self._peer_name} does not speak Coterie's attested handshake",
                expected=f"application protocol {names(self._protocols)}",
                seen=first_octets(self.protocol)[:80],
                remedy="check the port: the attestation port is the one in the contract",
            )

    @property
    def protocol(self) -> bytes:
        """Name of the negotiated protocol."""
        return self._connection.get_alpn_proto_negotiated()

    def exporter(self, label: bytes, length: int) -> bytes:
        """Keying material of this session (RFC 8446, 7.5)."""
        return self._connection.export_keying_material(label, length)

    def send(self, data: bytes) -> None:
        """Sends all of ``data``.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
            HandshakeFailed: TLS failed.
        """
        view = memoryview(data)
        while view:
            chunk = bytes(view[:_READ_BYTES])
            view = view[self._run(partial(self._connection.send, chunk)) :]
            self._flush()

    def receive(self) -> bytes:
        """Receives the next bytes, at least one.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
            HandshakeFailed: TLS failed, or the peer refused this side's certificate.
        """
        data = self._run(partial(self._connection.recv, _READ_BYTES))
        self._records.had_data()
        return data

    def tell(self, data: bytes) -> None:
        """Sends a short message of known length, before those of the protocol.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
        """
        self.send(data)

    def hear(self, length: int) -> bytes:
        """Receives the other side's message of ``length`` bytes, and nothing behind it.

        Raises:
            HandshakeFailed: TLS failed, or it sent something else.
            PeerUnreachable: It went away or was too slow.
        """
        heard = b""
        while len(heard) < length:
            heard += self._run(partial(self._connection.recv, length - len(heard)))
            self._records.had_data()
        return heard

    def stream(self) -> TlsStream:
        """Gives the connection away, as a stream without this object's deadline."""
        sock = socket.socket(fileno=self._socket.detach())
        self._taken = True
        return TlsStream(self._connection, sock, self._peer_name)

    def close(self) -> None:
        """Closes after all sent bytes, without waiting for the peer; nothing after ``stream``."""
        if self._taken:
            return
        try:
            self._say_goodbye()
        finally:
            self._socket.close()

    def close_with_last_word(self) -> None:
        """Closes after a refusal, so that the peer can still read it.

        A socket that is closed with unread input resets the connection, and the reset overtakes
        sent data. So further input from the peer is read and dropped, within bounds.
        """
        try:
            self._say_goodbye()
            self._socket.shutdown(socket.SHUT_WR)
            self._drain()
        except OSError:
            pass
        finally:
            self._socket.close()

    def _drain(self) -> None:
        until = Deadline.after(min(_LINGER_SECONDS, self._deadline.remaining()))
        drained = 0
        while drained < _LINGER_BYTES and _wait(self._socket, select.POLLIN, until):
            data = self._socket.recv(_READ_BYTES)
            if not data:
                return
            drained += len(data)

    def _begin(self, context: SSL.Context) -> SSL.Connection:
        return SSL.Connection(context)

    def _end_handshake(self) -> None:
        self._flush()

    def _say_goodbye(self) -> None:
        with contextlib.suppress(SSL.Error):
            self._connection.shutdown()
        self._records.write_at_once(self._unsent())

    def _flush(self) -> None:
        self._records.write(self._unsent())

    def _unsent(self) -> bytes:
        """The bytes that OpenSSL has to send."""
        unsent = b""
        with contextlib.suppress(SSL.WantReadError):  # nothing left
            while True:
                unsent += self._connection.bio_read(_READ_BYTES)
        return unsent

    def _run(self, step: Callable[[], T]) -> T:
        """Does a step of OpenSSL with as many records as it needs; output may be left unsent."""
        while True:
            try:
                return step()
            except SSL.WantReadError:
                self._flush()
            except (SSL.ZeroReturnError, SSL.SysCallError) as error:
                raise broken_off(self._peer_name, "it closed the connection") from error
            except BaseException as error:
                self._records.write_at_once(self._unsent())  # the alert
                if isinstance(error, SSL.Error):
                    raise self._tls_error(error) from error
                raise
            self._connection.bio_write(self._records.read())

    def _tls_error(self, error: SSL.Error) -> CoterieError:
        reasons = [str(item[-1]) for item in (error.args[0] if error.args else ()) or ()]
        seen = printable(", ".join(reasons) or "TLS failed", 200)
        if "unexpected eof" in seen:
            return broken_off(self._peer_name, "it closed the connection")
        if "peer did not return a certificate" in seen:
            return EvidenceRefused(
                "certificate_missing",
                f"{self._peer_name} shows no certificate",
                expected="a node's certificate with evidence",
                seen="none",
                remedy="only attested nodes may connect: start the peer with `coterie node`",
            )
        if "alert" in seen and ("certificate" in seen or "unknown ca" in seen):
            # TLS can send only an alert; the name of the failed check stays on that side.
            return HandshakeFailed(
                f"{self._peer_name} refused this node's certificate or evidence",
                expected="a certificate with evidence that passes all of the peer's checks",
                seen=f"a TLS alert, which gives no reason ({seen})",
                remedy=f"read the log of {self._peer_name}: its refusal names the check, what it "
                "expected and what it saw; most often the two run different versions, or one "
                "clock is wrong",
            )
        return tls_failed(self._peer_name, seen)


def _wait(sock: socket.socket, events: int, deadline: Deadline) -> bool:
    """Waits for the socket; False when the deadline has passed."""
    poll = select.poll()
    poll.register(sock, events)
    return bool(poll.poll(deadline.remaining() * 1000))
