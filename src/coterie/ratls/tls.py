"""TLS 1.3 over one non-blocking socket, with a deadline on everything.

Both sides present certificates. OpenSSL's chain building says nothing about self-signed leaves, so
the verify callback lets exactly two of its findings pass, at depth 0 only: 0 (fine) and 18
(self-signed leaf); each certificate is then judged by the function that the caller passes. Tickets
and the session cache are off, since a resumed session would skip all of this.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL, crypto

from coterie.errors import CoterieError, EvidenceRefused, HandshakeFailed, PeerUnreachable
from coterie.ratls.issuing import spki_der
from coterie.text import printable

ALPN = b"coterie-ra-tls/1"
_ACCEPTED_ERRORS = frozenset({0, 18})  # X509_V_OK, X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
_READ_BYTES = 1 << 16
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1 << 22

T = TypeVar("T")
Judge = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock by which something must be done."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self.at - time.monotonic())


class Shown(Protocol):
    """What one side shows: a certificate and the key that it is for."""

    @property
    def certificate_der(self) -> bytes:
        """The certificate."""
        ...

    @property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """The key."""
        ...


class TlsConnection:
    """One side of one TLS connection.

    Args:
        sock: A connected socket; it becomes non-blocking and belongs to this object.
        identity: What this side shows.
        judge: Called once with the peer's DER certificate; raises to refuse it, or returns the
            DER SubjectPublicKeyInfo that it judged.
        listener: Whether this side accepted the connection.
        at: The time at which certificates must be valid, UTC.
        deadline: By when everything must be done.
        peer_name: How errors call the peer.
        alpn: Name of the exchange that follows.
        others: Judges of further exchanges that a listener offers, by name.
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
        sock.settimeout(0)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = self._begin(_context(identity, judges, listener=listener, at=at))
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
        if self.protocol not in self._protocols:
            raise HandshakeFailed(
                f"{self._peer_name} does not speak Coterie's attested handshake",
                expected=f"application protocol {_names(self._protocols)}",
                seen=printable(repr(self.protocol), 80),
                remedy="check the port: the attestation port is the one in the contract",
            )

    @property
    def protocol(self) -> bytes:
        """Name of the exchange that both sides agreed on."""
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

    def receive(self) -> bytes:
        """The next bytes, at least one.

        Raises:
            PeerUnreachable: The peer went away or was too slow.
            HandshakeFailed: TLS failed, or the peer refused this side's certificate.
        """
        return self._run(partial(self._connection.recv, _READ_BYTES))

    def close(self) -> None:
        """Closes after what was sent, without waiting for the peer."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            pass
        finally:
            self._socket.close()

    def close_with_last_word(self) -> None:
        """Closes after a refusal, such that the peer can still read it.

        A socket that is closed with unread input resets the connection, and the reset overtakes
        what was sent: so what the peer still sends is read and dropped, within bounds.
        """
        with contextlib.suppress(SSL.Error):
            self._connection.shutdown()
        try:
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
        return SSL.Connection(context, self._socket)

    def _more_input(self) -> bool:
        """Waits for it; False when the deadline has passed."""
        return _wait(self._socket, select.POLLIN, self._deadline)

    def _run(self, step: Callable[[], T]) -> T:
        while True:
            try:
                return step()
            except SSL.WantReadError:
                ready = self._more_input()
            except SSL.WantWriteError:
                ready = _wait(self._socket, select.POLLOUT, self._deadline)
            except SSL.ZeroReturnError as error:
                raise self._gone("it closed the connection") from error
            except SSL.SysCallError as error:
                raise self._gone(str(error.args[-1])) from error
            except SSL.Error as error:
                raise self._tls_error(error) from error
            if not ready:
                raise self._gone("it did not answer in time")

    def _gone(self, seen: str) -> PeerUnreachable:
        return PeerUnreachable(
            f"{self._peer_name} broke the handshake off",
            expected="an attested handshake, in time",
            seen=printable(seen, 200),
            remedy="see the peer's own log for its reason; dialling again may help",
        )

    def _tls_error(self, error: SSL.Error) -> CoterieError:
        reasons = [str(item[-1]) for item in (error.args[0] if error.args else ()) or ()]
        seen = printable(", ".join(reasons) or "TLS failed", 200)
        if "unexpected eof" in seen:
            return self._gone("it closed the connection")
        if "peer did not return a certificate" in seen:
            return EvidenceRefused(
                "certificate_missing",
                f"{self._peer_name} shows no certificate",
                expected="a node's certificate with evidence",
                seen="none",
                remedy="only attested nodes may connect: start the peer with `coterie node`",
            )
        if "alert" in seen and ("certificate" in seen or "unknown ca" in seen):
            # Inside of TLS there is room for an alert only; the check's name stays on that side.
            return HandshakeFailed(
                f"{self._peer_name} refused this node's certificate or evidence",
                expected="a certificate with evidence that passes all of the peer's checks",
                seen=f"a TLS alert, which gives no reason ({seen})",
                remedy=f"read the log of {self._peer_name}: its refusal names the check, what it "
                "expected and what it saw; most often the two run different versions, or one "
                "clock is wrong",
            )
        return self._failed(seen)

    def _failed(self, seen: str) -> HandshakeFailed:
        return HandshakeFailed(
            f"TLS with {self._peer_name} failed",
            expected="mutual TLS 1.3",
            seen=seen,
            remedy="check that the port is the attestation port (gRPC has the next one)",
        )


def _wait(sock: socket.socket, events: int, deadline: Deadline) -> bool:
    """Waits for the socket; False when the deadline has passed."""
    poll = select.poll()
    poll.register(sock, events)
    return bool(poll.poll(deadline.remaining() * 1000))


def _context(
    identity: Shown, judges: Mapping[bytes, Judge], *, listener: bool, at: datetime
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_certificate(x509.load_der_x509_certificate(identity.certificate_der))
    context.use_privatekey(identity.private_key)
    store = context.get_cert_store()
    assert store is not None
    store.set_time(at)
    if listener:
        context.set_alpn_select_callback(partial(_select_alpn, tuple(judges)))
    else:
        context.set_alpn_protos(list(judges))
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verifier(judges))
    return context


def _verifier(
    judges: Mapping[bytes, Judge],
) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    judged: list[bytes] = []
    first = next(iter(judges.values()))

    def verify(
        connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, _: int
    ) -> bool:
        if error not in _ACCEPTED_ERRORS or depth != 0:
            raise _chain_refused(error, depth)
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        if der in judged:  # OpenSSL calls for its finding and again for the result
            return True
        if judged:
            raise _chain_refused(error, depth)
        # The names were exchanged before the certificates (RFC 8446, 4.3.1 and 4.4.2).
        # Without a name it is judged like any node, and refused when the handshake is done.
        judge = judges.get(connection.get_alpn_proto_negotiated(), first)
        if judge(der) != _public_key(certificate):
            raise _chain_refused(error, depth)  # two parsers see two keys: somebody is playing
        judged.append(der)
        return True

    return verify


def _public_key(certificate: crypto.X509) -> bytes:
    key = certificate.get_pubkey().to_cryptography_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # the judge lets no other key pass
    return spki_der(key)


def _chain_refused(error: int, depth: int) -> EvidenceRefused:
    expired = error in {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
    return EvidenceRefused(
        "certificate_validity" if expired else "certificate_chain",
        "the peer's certificate is not valid at this time"
        if expired
        else "the peer's certificate is not a single self-signed one",
        expected="one self-signed certificate, valid now",
        seen=f"OpenSSL's verify error {error} at depth {depth}",
        remedy="set both machines' clocks; nodes make their certificates themselves",
    )


def _names(protocols: tuple[bytes, ...]) -> str:
    return " or ".join(name.decode() for name in protocols)


def _select_alpn(known: tuple[bytes, ...], _: SSL.Connection, offered: list[bytes]) -> bytes:
    for alpn in known:
        if alpn in offered:
            return alpn
    raise HandshakeFailed(
        "the peer does not speak Coterie's attested handshake",
        expected=f"application protocol {_names(known)}",
        seen=printable(repr(offered), 80),
        remedy="something else than a Coterie node dialled this port",
    )
