"""The peers that are attested at present: pins, and the last handshake with each node.

Connections outlive the certificates that they were made with, since TensorFlow does not tolerate
the loss of a connection. A connection is therefore bound to its peer's *incarnation*. It stays as
long as that process is attested again and again (same node, incarnation, measurements, platform).
It is cut when the peer's last pin expires or a newer incarnation appears.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from coterie.errors import EvidenceRefused
from coterie.ratls.credentials import Clock
from coterie.ratls.handshake import AttestedPeer
from coterie.ratls.peer import Peer
from coterie.ratls.pins import PinBoard


class AttestedPeers:
    """Attested peers. Thread-safe.

    Args:
        clock: The time now, UTC.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pins = PinBoard()
        self._lock = threading.Lock()  # guards both dictionaries; taken before the pins' own lock
        self._admitted: dict[str, Peer] = {}  # last pinned peer by node
        self._last: dict[str, AttestedPeer] = {}  # last finished handshake by node

    def admit(self, peer: Peer) -> None:
        """Pins a peer. Called in the handshake, before the peer is told that it is accepted.

        Raises:
            EvidenceRefused: ``incarnation``: a newer incarnation is known, or the same one on another
                platform or of another program.
        """
        with self._lock:
            known = self._admitted.get(peer.node)
            if known is not None and known.incarnation == peer.incarnation:
                expected = (known.verdict.ppid, known.verdict.measurements)
                seen = (peer.verdict.ppid, peer.verdict.measurements)
                if expected != seen:
                    raise EvidenceRefused(
                        "incarnation",
                        f"two processes say that they are one incarnation of node {peer.node}",
                        expected=f"platform and program {expected}"[:500],
                        seen=f"platform and program {seen}"[:500],
                        remedy="somebody runs the node twice: stop one of the two",
                    )
            self._pins.add(peer)
            self._admitted[peer.node] = peer

    def record(self, attested: AttestedPeer) -> None:
        """Records a successful handshake, unless a newer one with the node is known."""
        peer = attested.peer
        with self._lock:
            last = self._last.get(peer.node)
            if last is None or (last.peer.incarnation, last.peer.attested_at) <= (
                peer.incarnation,
                peer.attested_at,
            ):
                self._last[peer.node] = attested

    def standing(self, node: str) -> AttestedPeer | None:
        """The last handshake with a node, if its pin is still valid."""
        with self._lock:
            last = self._last.get(node)
        return last if last is not None and self._clock() < last.peer.expires_at else None

    def judge(self, certificate_der: bytes) -> Peer:
        """The peer behind a certificate.

        Raises:
            CallRefused: It is not pinned, a newer incarnation replaced it, or its pin has expired.
        """
        return self._pins.lookup(hashlib.sha256(certificate_der).digest(), self._clock())

    def session(
        self, certificate_der: bytes, shown: bytes, made_of: Callable[[bytes], bytes]
    ) -> tuple[Peer, bytes]:
        """The peer behind a certificate and a proof, and the session's token, as `PinBoard.session`.

        Raises:
            CallRefused: As for `judge`; or the proof is of no valid session.
        """
        digest = hashlib.sha256(certificate_der).digest()
        return self._pins.session(digest, shown, self._clock(), made_of=made_of)

    def trusted(self) -> tuple[Peer, ...]:
        """The peers that have a pin now."""
        return self._pins.trusted(self._clock())

    def live_incarnation(self, node: str) -> int:
        """The incarnation of a node that has a pin now; 0 if none has."""
        return max((peer.incarnation for peer in self.trusted() if peer.node == node), default=0)
