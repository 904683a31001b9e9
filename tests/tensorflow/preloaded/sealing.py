"""Records of TLS 1.3 as a peer could seal them that has the keys and is no release of Coterie (RFC 8446, 5.2, 5.3, 7.3)."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

DATA, HANDSHAKE = 23, 22
UPDATE, ASKING_UPDATE = bytes([24, 0, 0, 1, 0]), bytes([24, 0, 0, 1, 1])


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    named = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(named)]) + named + b"\0"
    return HKDFExpand(SHA256(), length, info).derive(secret)


class Sealer:
    """One direction of a connection.

    Args:
        secret: Its traffic secret.
    """

    def __init__(self, secret: bytes) -> None:
        self._use(secret)

    def _use(self, secret: bytes) -> None:
        self._secret, self._number = secret, 0
        self._key = AESGCM(_expand(secret, b"key", 16))
        self._iv = int.from_bytes(_expand(secret, b"iv", 12), "big")

    def record(self, content: bytes, kind: int = DATA, opening: bytes = b"\x17\3\3") -> bytes:
        """A record, of which the content may be none, and the header may open with other bytes."""
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        head = opening + (len(content) + 17).to_bytes(2, "big")
        return head + self._key.encrypt(nonce, content + bytes([kind]), head)

    def update(self, *, asking: bool = False) -> bytes:
        """A KeyUpdate; what follows is sealed with the next keys (7.2)."""
        sealed = self.record(ASKING_UPDATE if asking else UPDATE, HANDSHAKE)
        self._use(_expand(self._secret, b"traffic upd", 32))
        return sealed

    def open(self, sealed: bytes) -> tuple[int, bytes]:
        """Type and content of one record of the other side, whose secret this is."""
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        inner = self._key.decrypt(nonce, sealed[5:], sealed[:5])
        return inner[-1], inner[:-1]
