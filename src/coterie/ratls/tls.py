"""TLS 1.3 over one socket, with a deadline on everything; `coterie.ratls.tls_context` says with what.

OpenSSL works in memory and gets one record at a time (`coterie.ratls.records`). Of some protocols it
does the handshake only, and another library seals and opens the records that follow: `TlsConnection.take`
gives socket and traffic secrets to it. Records are counted from 0 in each direction (RFC 8446, 5.3), so
OpenSSL sends and reads none after such a handshake: the tickets that a listener makes at its end are not
sent, and the messages of both sides before the first record (`TlsConnection.tell`) have a record's form,
but are neither encrypted nor counted.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from typing import TypeVar

from OpenSSL import SSL

from coterie.errors import CoterieError, EvidenceRefused, HandshakeFailed
from coterie.ratls.deadline import Deadline
from coterie.ratls.record_protection import record_head
from coterie.ratls.records import Records, broken_off, tls_failed
from coterie.ratls.tls_context import Judge, Shown, names, tls_context
from coterie.ratls.traffic_secrets import Taken, TrafficSecrets
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
        apart: Names of the protocols whose records another library handles.
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
        apart: Collection[bytes] = (),
    ) -> None:
        judges = {alpn: judge, **(others or {})}
        self._protocols = tuple(judges)
        self._socket = sock
        self._deadline = deadline
        self._listener = listener
        self._peer_name = peer_name
        self._apart = apart
        self._secrets = TrafficSecrets()
        # Name of the negotiated protocol, after the handshake.
        self.protocol = b""
        self._records = Records(sock, deadline, peer_name)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = tls_context(identity, judges, listener=listener, at=at)
        if apart:
            context.set_keylog_callback(self._secrets.note)
        self._connection = SSL.Connection(context)
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
        self.protocol = self._connection.get_alpn_proto_negotiated()
        if self.protocol not in self._apart:
            self._secrets.forget()
        if not (self._listener and self.protocol in self._apart):
            self._flush()
        if self.protocol not in self._protocols:
            raise HandshakeFailed(
                f"{self._peer_name} does not speak Coterie's attested handshake",
                expected=f"application protocol {names(self._protocols)}",
                seen=first_octets(self.protocol)[:80],
                remedy="check the port: the attestation port is the one in the contract",
            )

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
        """Sends a short public message between the handshake and the records of another library.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
        """
        self._records.write(record_head(len(data)) + data)

    def hear(self, length: int) -> bytes:
        """Receives the other side's message of ``length`` bytes.

        Raises:
            HandshakeFailed: It sent something else, such as the alert that it refused this side.
            PeerUnreachable: It went away or was too slow.
        """
        record, head = self._records.read(), record_head(length)
        if record.startswith(head):
            return record.removeprefix(head)
        self._connection.bio_write(record)
        try:
            self._connection.recv(1)
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            raise self._tls_error(error) from error
        raise tls_failed(self._peer_name, "something else than was due after the handshake")

    def take(self) -> Taken:
        """Gives socket and traffic secrets away, after the handshake of a protocol apart.

        OpenSSL overwrites its own secrets when its objects are freed, which happens now and not at
        garbage collection.
        """
        assert self.protocol in self._apart
        sock = socket.socket(fileno=self._socket.detach())
        sock.settimeout(0)
        del self._connection
        return self._secrets.take(sock, listener=self._listener)

    def close(self) -> None:
        """Closes after all sent bytes, without waiting for the peer; nothing after ``take``."""
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

    def _say_goodbye(self) -> None:
        if self.protocol in self._apart:  # OpenSSL's records are not counted by the peer
            return
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
