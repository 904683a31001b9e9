"""Sealed files: AES-256-GCM in chunks, which detects changed, cut and rearranged chunks.

A header of 96 bytes, all little-endian, and then chunk after chunk:

=======  =======  ==========================================================================
bytes    type     what
=======  =======  ==========================================================================
0 - 7    bytes    magic ``COTSEAL1``
8 - 15   uint64   bytes of plaintext in a chunk; the last one may have fewer
16 - 23  uint64   bytes of plaintext in all
24 - 31  bytes    zero
32 - 63  bytes    id of the set of files that it belongs to
64 - 95  bytes    salt, random
=======  =======  ==========================================================================

A chunk is its ciphertext and a tag of 16 bytes. The file's key is derived from the set's key with
the salt and the file's name (HKDF-SHA256, RFC 5869). So no file can replace another, and the nonce,
which is the chunk's number, never repeats under one key (NIST SP 800-38D, 8.2.1). Associated data
are the header, the chunk's number and the number of chunks. An empty file has one empty chunk, so
that a tag always covers the header.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from coterie.errors import SealBroken

KEY_BYTES = 32
ID_BYTES = 32
CHUNK_BYTES = 1 << 20
HEADER_BYTES = 96
TAG_BYTES = 16
_MAGIC = b"COTSEAL1"
_HEADER = struct.Struct("<8sQQ8s32s32s")
_PLACE = struct.Struct("<QQ")
_INFO = b"coterie sealed file 1\0"


@dataclass(frozen=True)
class Seal:
    """The key and names under which a file is sealed.

    Attributes:
        key: Key of the set of files, 32 bytes.
        set_id: Id of the set of files, 32 bytes.
        name: The file's name in the set.
    """

    key: bytes
    set_id: bytes
    name: str

    def __repr__(self) -> str:
        return f"Seal(set_id={self.set_id.hex()}, name={self.name!r})"


class SealWriter:
    """Seals a file piece by piece.

    Args:
        target: Receives the sealed file.
        size: Bytes of plaintext that will be written.
        under: Key, set and name.
    """

    def __init__(self, target: BinaryIO, size: int, under: Seal) -> None:
        salt = secrets.token_bytes(ID_BYTES)
        self._header = _HEADER.pack(_MAGIC, CHUNK_BYTES, size, bytes(8), under.set_id, salt)
        self._cipher = _cipher(under, salt)
        self._count = _chunks(size)
        self._target = target
        self._under = under
        self._size = self._missing = size
        self._index = 0
        self._held = bytearray()
        target.write(self._header)

    def write(self, octets: bytes | memoryview, /) -> None:
        """Takes the next bytes.

        Raises:
            SealBroken: They exceed the announced size.
        """
        self._missing -= len(octets)
        if self._missing < 0:
            raise _broken(self._under.name, f"{self._size} bytes to seal", "more")
        self._held += octets
        while len(self._held) > CHUNK_BYTES:
            self._seal(bytes(self._held[:CHUNK_BYTES]))
            del self._held[:CHUNK_BYTES]

    def finish(self) -> None:
        """Seals the last chunk.

        Raises:
            SealBroken: Less was written than announced.
        """
        if self._missing:
            raise _broken(self._under.name, f"{self._size} bytes to seal", "fewer")
        self._seal(bytes(self._held))

    def _seal(self, plain: bytes) -> None:
        bound = _bound(self._header, self._index, self._count)
        self._target.write(self._cipher.encrypt(_nonce(self._index), plain, bound))
        self._index += 1


class SealReader:
    """Opens a sealed file chunk by chunk, with random access.

    Args:
        source: The sealed file.
        sealed_size: Its size in bytes.
        under: Key, set and name.

    Attributes:
        size: Bytes of plaintext.

    Raises:
        SealBroken: It is not a sealed file of this set, or its size is wrong.
    """

    def __init__(self, source: BinaryIO, sealed_size: int, under: Seal) -> None:
        header = source.read(HEADER_BYTES)
        if len(header) != HEADER_BYTES:
            raise _broken(under.name, f"a header of {HEADER_BYTES} bytes", f"{len(header)} bytes")
        magic, chunk_bytes, size, zero, set_id, salt = _HEADER.unpack(header)
        if (magic, chunk_bytes, zero) != (_MAGIC, CHUNK_BYTES, bytes(8)):
            raise _broken(under.name, "a sealed file of this format", "another header")
        if not hmac.compare_digest(set_id, under.set_id):
            raise _broken(
                under.name,
                f"set {under.set_id.hex()}",
                f"set {set_id.hex()}",
                f"it is sealed under another key: give that one, whose id begins {set_id.hex()[:16]}",
            )
        self._count = _chunks(size)
        if sealed_size != HEADER_BYTES + size + self._count * TAG_BYTES:
            expected = f"{self._count} chunks with {size} bytes"
            raise _broken(under.name, expected, f"{sealed_size} bytes")
        self.size: int = size
        self._header = header
        self._cipher = _cipher(under, salt)
        self._source = source
        self._name = under.name
        self._place = 0
        self._opened: tuple[int, bytes] = (-1, b"")

    def seek(self, place: int) -> None:
        """Sets the position in the plaintext."""
        self._place = place

    def read(self, count: int) -> bytes:
        """Reads the next bytes of the plaintext, fewer at its end.

        Raises:
            SealBroken: A bit was altered, or a chunk moved or cut.
        """
        parts: list[bytes] = []
        stop = min(self._place + count, self.size)
        while self._place < stop:
            index, start = divmod(self._place, CHUNK_BYTES)
            part = self.chunk(index)[start : start + stop - self._place]
            parts.append(part)
            self._place += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def chunk(self, index: int) -> bytes:
        """The plaintext of a chunk.

        Raises:
            SealBroken: A bit was altered, or a chunk moved or cut.
        """
        if self._opened[0] != index:
            self._source.seek(HEADER_BYTES + index * (CHUNK_BYTES + TAG_BYTES))
            length = min(CHUNK_BYTES, self.size - index * CHUNK_BYTES) + TAG_BYTES
            self._opened = (index, self._open(index, self._source.read(length)))
        return self._opened[1]

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return self._count

    def _open(self, index: int, sealed: bytes) -> bytes:
        bound = _bound(self._header, index, self._count)
        try:
            return self._cipher.decrypt(_nonce(index), sealed, bound)
        except InvalidTag as error:
            raise _broken(
                self._name,
                "what was sealed under this key",
                f"another chunk {index}",
                "it was altered on its way, or its key is another one: copy it again from where it was sealed, and "
                "look which key is given",
            ) from error


def set_of(source: BinaryIO, name: str) -> bytes:
    """The set id in a sealed file's header, 32 bytes; only a hint until the file was opened.

    Args:
        source: The sealed file, at its beginning; it is left there.
        name: The file's name in the set, for errors.

    Raises:
        SealBroken: It is not a sealed file.
    """
    header = source.read(HEADER_BYTES)
    source.seek(0)
    if len(header) != HEADER_BYTES or not header.startswith(_MAGIC):
        raise _broken(name, "a sealed file of this format", "another header")
    set_id: bytes = _HEADER.unpack(header)[4]
    return set_id


def seal(source: BinaryIO, size: int, target: BinaryIO, under: Seal) -> None:
    """Seals a file.

    Args:
        source: The plaintext.
        size: Its size in bytes.
        target: Receives the sealed file.
        under: Key, set and name.

    Raises:
        SealBroken: The source has another size.
    """
    writer = SealWriter(target, size, under)
    while plain := source.read(CHUNK_BYTES):
        writer.write(plain)
    writer.finish()


def unseal(source: BinaryIO, sealed_size: int, under: Seal) -> memoryview:
    """Opens a sealed file into memory only.

    Args:
        source: The sealed file.
        sealed_size: Its size in bytes, which bounds the memory for the plaintext.
        under: Key, set and name.

    Returns:
        The plaintext, read-only.

    Raises:
        SealBroken: Key, set or name differ; or a bit was altered, a chunk moved, added or cut.
    """
    reader = SealReader(source, sealed_size, under)
    plain = bytearray(reader.size)
    for index in range(reader.chunks):
        start = index * CHUNK_BYTES
        opened = reader.chunk(index)
        plain[start : start + len(opened)] = opened
    if source.read(1):
        raise _broken(under.name, f"{reader.chunks} chunks", "more")
    return memoryview(plain).toreadonly()


def _cipher(under: Seal, salt: bytes) -> AESGCM:
    info = _INFO + under.set_id + under.name.encode()
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, info).derive(under.key))


def _chunks(size: int) -> int:
    return max(1, -(-size // CHUNK_BYTES))


def _bound(header: bytes, index: int, count: int) -> bytes:
    """The associated data of a chunk."""
    return header + _PLACE.pack(index, count)


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")


def _broken(
    name: str,
    expected: str,
    seen: str,
    remedy: str = "it was altered or cut on its way: copy it again from where it was sealed",
) -> SealBroken:
    return SealBroken(f"the sealed file {name} cannot be opened", expected, seen, remedy=remedy)
