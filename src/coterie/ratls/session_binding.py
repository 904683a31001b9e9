"""Binds evidence and signatures to one TLS session: by exporter, keys of both ends, and a nonce."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

EXPORTER_BYTES = 32
_LABEL = b"coterie session evidence 1\0"

Direction = Literal["dialler", "listener"]
_OTHER: dict[Direction, Direction] = {"dialler": "listener", "listener": "dialler"}


def session_report_data(
    sender: Direction, *, exporter: bytes, own_key: bytes, peer_key: bytes, peer_nonce: bytes
) -> bytes:
    """Report data of a quote for one session.

    Args:
        sender: The end that the quote belongs to.
        exporter: 32 bytes of keying material exported from the TLS session (RFC 8446, 7.5).
        own_key: SHA-256 of the sender's SubjectPublicKeyInfo.
        peer_key: SHA-256 of the receiver's SubjectPublicKeyInfo.
        peer_nonce: The receiver's nonce.

    Returns:
        64 bytes.
    """
    for part in (exporter, own_key, peer_key, peer_nonce):
        assert len(part) == 32  # fixed lengths make the concatenation unambiguous
    direction = {"dialler": b"D", "listener": b"L"}[sender]
    parts = (_LABEL, direction, exporter, own_key, peer_key, peer_nonce)
    return hashlib.sha256(b"".join(parts)).digest() + bytes(32)


@dataclass(frozen=True)
class Binding:
    """One TLS session from the view of one end.

    Attributes:
        side: This end's side.
        exporter: 32 bytes of keying material exported from the TLS session (RFC 8446, 7.5).
        own_key: SHA-256 of this end's SubjectPublicKeyInfo.
        peer_key: SHA-256 of the other end's.
    """

    side: Direction
    exporter: bytes
    own_key: bytes
    peer_key: bytes

    def own_report_data(self, peer_nonce: bytes) -> bytes:
        """The report data of this end's quote, 64 bytes.

        Args:
            peer_nonce: The nonce that the other end sent.
        """
        return session_report_data(
            self.side,
            exporter=self.exporter,
            own_key=self.own_key,
            peer_key=self.peer_key,
            peer_nonce=peer_nonce,
        )

    def peer_report_data(self, own_nonce: bytes) -> bytes:
        """The report data of the other end's quote, 64 bytes.

        Args:
            own_nonce: The nonce that this end sent.
        """
        return Binding(
            _OTHER[self.side], self.exporter, self.peer_key, self.own_key
        ).own_report_data(own_nonce)

    def statement(self, label: bytes) -> bytes:
        """The statement that a party signs to claim one end of this session.

        Args:
            label: Names the protocol and ends in a zero byte, so that the signature is valid only
                there.
        """
        listener, dialler = self.own_key, self.peer_key
        if self.side == "dialler":
            listener, dialler = dialler, listener
        for part in (self.exporter, listener, dialler):
            assert len(part) == 32  # fixed lengths make the concatenation unambiguous
        return label + self.exporter + listener + dialler
