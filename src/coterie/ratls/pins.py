"""The pinned certificates: the peers that this node trusts at present, and their expiries."""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from datetime import datetime

from coterie.errors import CallRefused, EvidenceRefused
from coterie.ratls.peer import Peer

# A node's connections share its certificate; each has a session of its own.
SESSIONS_PER_CERTIFICATE = 64


class PinBoard:
    """Attested peers by certificate digest. Thread-safe.

    A newer incarnation of a node replaces the older one at once, and the older one cannot return. A
    renewed certificate of the same incarnation is kept beside the old one until that expires, so
    that calls in progress are not lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards all of the following; never held during cryptography
        self._pins: dict[bytes, Peer] = {}  # by certificate digest
        # Sessions of a certificate, oldest first.
        self._tokens: dict[bytes, dict[bytes, datetime]] = {}
        self._newest: dict[str, int] = {}  # incarnation by node; stays when pins expire
        self._version = 0

    def add(self, peer: Peer) -> None:
        """Pins a peer's certificate.

        Raises:
            EvidenceRefused: ``incarnation``: a newer incarnation of the node is known.
        """
        with self._lock:
            newest = self._newest.get(peer.node, peer.incarnation)
            if peer.incarnation < newest:
                raise EvidenceRefused(
                    "incarnation",
                    f"an older incarnation of node {peer.node} came after a newer one",
                    expected=f"at least {newest}",
                    seen=str(peer.incarnation),
                    remedy="stop the older process: of two that run one node, the newer one counts",
                )
            self._newest[peer.node] = peer.incarnation
            self._pins = {
                digest: pin
                for digest, pin in self._pins.items()
                if peer.attested_at < pin.expires_at
                and (pin.node != peer.node or pin.incarnation == peer.incarnation)
            }
            self._pins[peer.certificate_sha256] = peer
            self._tokens = {digest: self._tokens.get(digest, {}) for digest in self._pins}
            tokens = self._tokens[peer.certificate_sha256]
            tokens[peer.call_token] = peer.expires_at
            while len(tokens) > SESSIONS_PER_CERTIFICATE:
                del tokens[next(iter(tokens))]
            self._version += 1

    def lookup(self, certificate_sha256: bytes, now: datetime) -> Peer:
        """The peer behind a certificate.

        Args:
            certificate_sha256: SHA-256 of the DER certificate, 32 bytes.
            now: The time now, UTC.

        Raises:
            CallRefused: It is not pinned, a newer incarnation replaced it, or its pin has expired.
        """
        with self._lock:
            peer = self._pins.get(certificate_sha256)
        if peer is None:
            raise CallRefused(
                "the caller's certificate is not attested here",
                expected="a certificate that went through the attested handshake",
                seen=f"certificate {certificate_sha256.hex()}",
                remedy="attest again; if this process was replaced by a newer one, stop it",
            )
        if now >= peer.expires_at:
            raise CallRefused(
                f"the attestation of {peer.node} has expired",
                expected=f"a call before {peer.expires_at.isoformat()}",
                seen=now.isoformat(),
                remedy="attest again; clients do so by themselves, so check both clocks",
            )
        return peer

    def caller(self, certificate_sha256: bytes, token: bytes, now: datetime) -> Peer:
        """The peer behind a call, which has the certificate's key and an attested session's token.

        Args:
            certificate_sha256: SHA-256 of the DER certificate, 32 bytes.
            token: The call's token: `Peer.call_token` of a session that has not expired.
            now: The time now, UTC.

        Raises:
            CallRefused: As for `lookup`; or the token belongs to no valid session, as with a stolen
                key.
        """
        peer, _ = self.session(certificate_sha256, token, now)
        return peer

    def session(
        self,
        certificate_sha256: bytes,
        shown: bytes,
        now: datetime,
        *,
        made_of: Callable[[bytes], bytes] = lambda token: token,
    ) -> tuple[Peer, bytes]:
        """The peer with a certificate and a value that only the ends of a session with it can make.

        Args:
            certificate_sha256: SHA-256 of the DER certificate, 32 bytes.
            shown: The value.
            now: The time now, UTC.
            made_of: Makes the expected value from a session's token; by default the token itself.

        Returns:
            The peer, and the token.

        Raises:
            CallRefused: As for `caller`.
        """
        peer = self.lookup(certificate_sha256, now)
        with self._lock:
            tokens = tuple(self._tokens.get(certificate_sha256, {}).items())
        # Compare with all of them, so that the time reveals nothing.
        fits = [
            token
            for token, until in tokens
            if hmac.compare_digest(shown, made_of(token)) and token and now < until
        ]
        if not fits:
            raise _no_session(f"what comes with the key of {peer.node}", shown)
        return peer, fits[0]

    def holder(self, token: bytes) -> str:
        """The node whose session a token belongs to, to count a call before it is checked.

        It does not check who shows the token, nor whether the session has expired.

        Args:
            token: The call's token.

        Raises:
            CallRefused: It belongs to no known session; `caller` would refuse it too.
        """
        with self._lock:
            known = [(self._pins[pin].node, one) for pin in self._pins for one in self._tokens[pin]]
        # Compare with all of them, so that the time reveals nothing.
        fits = [node for node, one in known if hmac.compare_digest(token, one)]
        if not token or not fits:
            raise _no_session("a call", token)
        return fits[0]

    def trusted(self, now: datetime) -> tuple[Peer, ...]:
        """The peers with valid pins."""
        with self._lock:
            return tuple(peer for peer in self._pins.values() if now < peer.expires_at)

    @property
    def version(self) -> int:
        """A number that grows with every change, so that readers can skip an unchanged state."""
        with self._lock:
            return self._version


def _no_session(what: str, shown: bytes) -> CallRefused:
    return CallRefused(
        f"{what} is of no attested session",
        expected="the token of a session that was attested here and has not run out",
        seen="another one" if shown else "none",
        remedy="attest again; nodes do so by themselves, so if this goes on, a newer process runs "
        "this node, or somebody else has its key",
    )
