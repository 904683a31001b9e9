"""Proofs, on a further TLS connection, of the attested session between its two ends.

Attestation takes place in the attested handshake (`coterie.ratls.handshake`). Data connections use
the keys that it pinned: the dialler accepts the certificate that it has pinned, and the listener
looks the dialler's up among its pins, both within the TLS handshake.

A key can be stolen. So after the TLS handshake each side proves that it knows the token of an
attested session between the two, as gRPC calls do. The proof is an HMAC, under the token, of keying
material exported from this TLS session (RFC 8446, 7.5). An observed proof is useless, since no other
TLS session exports the same.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import partial

from coterie.errors import CoterieError, HandshakeFailed
from coterie.ratls.certificate import MAX_CERTIFICATE_BYTES
from coterie.ratls.guests import unproved_key
from coterie.ratls.peer import Peer
from coterie.ratls.tls import TlsConnection
from coterie.ratls.tls_context import Judge

PROOF_BYTES = 32

Find = Callable[[bytes, Callable[[bytes], bytes]], bytes]


class SessionProof:
    """The proofs of one connection.

    Args:
        tls: The connection after its TLS handshake.
        label: The exporter's label, which names the protocol.
        peer_name: The peer's name in errors.
    """

    def __init__(self, tls: TlsConnection, label: bytes, peer_name: str) -> None:
        self._tls = tls
        self._label = label
        self._peer_name = peer_name

    def prove(self, token: bytes) -> None:
        """Proves knowledge of a session's token to the listener, and checks the listener's proof.

        Raises:
            HandshakeFailed: The listener does not know it.
            PeerUnreachable: It went away, has no place for another connection, or was too slow.
        """
        self._tls.tell(self._proof(b"dialler", token))
        answer = self._tls.hear(PROOF_BYTES)
        if not hmac.compare_digest(answer, self._proof(b"listener", token)):
            raise _no_proof(self._peer_name)

    def demand(self, find: Find) -> None:
        """Checks the dialler's proof, and answers with this side's.

        Args:
            find: Finds the token behind a proof, given the proof and the function that makes a
                proof from a token; raises to refuse it.

        Raises:
            CoterieError: The reason of ``find``.
            HandshakeFailed: The dialler sent something else.
            PeerUnreachable: It went away or was too slow.
        """
        shown = self._tls.hear(PROOF_BYTES)
        token = find(shown, partial(self._proof, b"dialler"))
        self._tls.tell(self._proof(b"listener", token))

    def _proof(self, side: bytes, token: bytes) -> bytes:
        exported = self._tls.exporter(self._label, PROOF_BYTES)
        return hmac.digest(token, side + exported, "sha256")


def showing_only(certificate_der: bytes, refusal: Callable[[], CoterieError]) -> Judge:
    """A judge that accepts one certificate and raises ``refusal`` for any other."""

    def judge(shown: bytes) -> bytes:
        if not hmac.compare_digest(shown, certificate_der):
            raise refusal()
        return unproved_key(
            certificate_der, "the pinned certificate's owner", most=MAX_CERTIFICATE_BYTES
        )

    return judge


def other_certificate(peer: Peer, port: str) -> HandshakeFailed:
    """The error for another certificate than the pinned one.

    Args:
        peer: The peer that was pinned.
        port: Name of the port that showed it.
    """
    return HandshakeFailed(
        f"the {port} of {peer.node} does not show the certificate that was attested",
        expected=f"certificate {peer.certificate_sha256.hex()}",
        seen="another one",
        remedy="a node that was started anew is attested again by itself; else find out who answers",
    )


def _no_proof(node: str) -> HandshakeFailed:
    return HandshakeFailed(
        f"who answers with the key of {node} knows of no attested session with this node",
        expected="a proof by the token of the last handshake",
        seen="another one",
        remedy="nodes attest each other again by themselves; if this goes on, somebody else has that node's key",
    )
