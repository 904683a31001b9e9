"""Protection of the records of a connection: TLS 1.3 with AES-128-GCM, by `cryptography`.

The handshake is OpenSSL's (`coterie.ratls.tls`). pyOpenSSL's calls let go of the interpreter's lock
at every record and wait for it again, which costs more than the encryption (decision 49).

On data connections a node sends application data and one close_notify, and nothing else: no padding,
no record without data, no update of keys. So nothing else is accepted. TensorFlow's connections last
longer, and update their keys (`coterie.ratls.key_updates`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from coterie.errors import MessageRefused

Octets = bytes | memoryview

HEAD_BYTES = 5
MOST_DATA_BYTES = 1 << 14
MOST_INNER_BYTES = MOST_DATA_BYTES + 1  # the type follows the data (RFC 8446, 5.2)
# AES-GCM protects 2^24.5 full records under one key (RFC 8446, 5.5).
MOST_RECORDS = 1 << 24
_TAG_BYTES = 16
MOST_RECORD_BYTES = HEAD_BYTES + MOST_INNER_BYTES + _TAG_BYTES
_OVERHEAD_BYTES = HEAD_BYTES + 1 + _TAG_BYTES
_SHORTEST = _OVERHEAD_BYTES + 1
_CHUNK_BYTES = 1 << 18
_DATA, _ALERT = 23, 21
_OPENING = bytes([_DATA, 3, 3])
_CLOSE_NOTIFY = bytes([1, 0])


class _Direction:
    """Key, nonce and number of the records of one direction (RFC 8446, 5.3 and 7.3).

    Attributes:
        records: Number of the records so far.
    """

    def __init__(self, secret: bytes) -> None:
        self._use(secret)

    def _use(self, secret: bytes) -> None:
        self._cipher = AESGCM(expand(secret, b"key", 16))
        self._iv = int.from_bytes(expand(secret, b"iv", 12))
        self.records = 0

    def _nonce(self) -> bytes:
        number = self.records
        if number == MOST_RECORDS:
            raise refused(f"more than {MOST_RECORDS} records under one key")
        self.records = number + 1
        return (self._iv ^ number).to_bytes(12)


class Sealing(_Direction):
    """Makes the records that this side sends.

    Args:
        secret: Traffic secret for sending, 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self._inner = memoryview(bytearray(MOST_INNER_BYTES))
        self._sealed = memoryview(bytearray(_CHUNK_BYTES))

    def message(self, parts: Iterable[Octets]) -> Iterator[memoryview]:
        """Seals the parts, one after the other; all records but the last one are full.

        Yields:
            Records, up to 256 KiB at a time; the memory is used again for those that follow.

        Raises:
            MessageRefused: The key has sealed ``MOST_RECORDS`` records.
        """
        inner, held, end = self._inner, 0, 0
        for part in parts:
            data = memoryview(part)
            while data:
                if held == MOST_DATA_BYTES:
                    end += self._seal(held, _DATA, self._sealed[end:])
                    held = 0
                    if end > _CHUNK_BYTES - MOST_RECORD_BYTES:
                        yield self._sealed[:end]
                        end = 0
                taken = min(len(data), MOST_DATA_BYTES - held)
                inner[held : held + taken] = data[:taken]
                held += taken
                data = data[taken:]
        if held:
            end += self._seal(held, _DATA, self._sealed[end:])
            yield self._sealed[:end]

    def close_notify(self) -> bytes:
        """The record that says that no further one follows."""
        return self._record(_CLOSE_NOTIFY, _ALERT)

    def _record(self, content: bytes, kind: int) -> bytes:
        """A record with a short content of any type."""
        self._inner[: len(content)] = content
        return bytes(self._sealed[: self._seal(len(content), kind, self._sealed)])

    def _seal(self, held: int, kind: int, target: memoryview) -> int:
        """Seals the first bytes of ``_inner`` into one record; returns its length."""
        inner = self._inner[: held + 1]
        inner[held] = kind
        end = held + _OVERHEAD_BYTES
        head = record_head(end - HEAD_BYTES)
        target[:HEAD_BYTES] = head
        self._cipher.encrypt_into(self._nonce(), inner, head, target[HEAD_BYTES:end])
        return end


class Opening(_Direction):
    """Opens the records that the other side sends.

    Args:
        secret: Traffic secret for receiving, 32 bytes.
    """

    def open(self, record: memoryview, inner: memoryview) -> int:
        """Opens a record.

        Args:
            record: The whole record, whose header `record_bytes` has accepted.
            inner: Gets the data, and its type behind it; ``inner_bytes(record)`` bytes.

        Returns:
            Number of bytes of data, at least 1; or 0 for a close_notify.

        Raises:
            MessageRefused: It is not the next record of this connection, or one that no node sends.
        """
        return self._judged(self._opened(record, inner), inner)

    def _judged(self, kind: int, inner: memoryview) -> int:
        if kind == _DATA:
            return len(inner) - 1
        if kind == _ALERT and inner[:-1] == _CLOSE_NOTIFY:
            return 0
        raise refused("a record that no node sends")

    def _opened(self, record: memoryview, inner: memoryview) -> int:
        """Opens a record; returns the type of its content."""
        head, sealed = record[:HEAD_BYTES], record[HEAD_BYTES:]
        try:
            self._cipher.decrypt_into(self._nonce(), sealed, head, inner)
        except InvalidTag as error:
            raise refused("a record that is not the next one of this connection") from error
        return inner[-1]


def record_bytes(octets: memoryview) -> int:
    """Length of the record that begins with these bytes, at least ``HEAD_BYTES``.

    Raises:
        MessageRefused: No node sends such a record.
    """
    length = HEAD_BYTES + (octets[3] << 8 | octets[4])
    if octets[:3] != _OPENING or not _SHORTEST <= length <= MOST_RECORD_BYTES:
        raise refused("something else than a record of a node")
    return length


def inner_bytes(record: memoryview) -> int:
    """Length of data and type of a whole record."""
    return len(record) - HEAD_BYTES - _TAG_BYTES


def record_head(length: int) -> bytes:
    """Header of application data, behind which ``length`` bytes follow (RFC 8446, 5.2)."""
    return _OPENING + length.to_bytes(2)


def expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446, 7.1) with an empty context."""
    named = b"tls13 " + label
    info = length.to_bytes(2) + bytes([len(named)]) + named + b"\0"
    return HKDFExpand(SHA256(), length, info).derive(secret)


def refused(seen: str) -> MessageRefused:
    """The error for a record, or a header, that no node sends."""
    return MessageRefused(
        "a data connection is broken",
        expected="the records of a node, one after the other",
        seen=seen,
        remedy="nodes connect again by themselves; if this goes on, somebody changes the traffic",
    )
