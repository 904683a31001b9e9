"""A sealed file: AES-256-GCM in chunks, so that it can be neither altered, cut, nor rearranged.

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
the salt and the file's name (HKDF-SHA256, RFC 5869), so files cannot stand for each other, and the
nonce, which is the chunk's number, never comes twice under one key (NIST SP 800-38D, 8.2.1).
Associated data are the header, the chunk's number and the number of chunks. An empty file has one
empty chunk: no header counts without a tag.
"""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Callable
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
    """What a file is sealed under.

    Attributes:
        key: Of the set of files, 32 bytes.
        set_id: Of the set of files, 32 bytes.
        name: The file's name in the set.
    """

    key: bytes
    set_id: bytes
    name: str

    def __repr__(self) -> str:
        return f"Seal(set_id={self.set_id.hex()}, name={self.name!r})"


def seal(source: BinaryIO, size: int, target: BinaryIO, under: Seal) -> None:
    """Seals a file.

    Args:
        source: The plaintext.
        size: Its bytes.
        target: Gets the sealed file.
        under: Key, set and name.

    Raises:
        SealBroken: The source has another size.
    """
    salt = secrets.token_bytes(ID_BYTES)
    header = _HEADER.pack(_MAGIC, CHUNK_BYTES, size, bytes(8), under.set_id, salt)
    cipher, count = _cipher(under, salt), _chunks(size)
    target.write(header)
    for index in range(count):
        plain = source.read(CHUNK_BYTES)
        if len(plain) != min(CHUNK_BYTES, size - index * CHUNK_BYTES):
            raise _broken(under.name, f"{size} bytes to seal", "fewer")
        target.write(cipher.encrypt(_nonce(index), plain, header + _PLACE.pack(index, count)))
    if source.read(1):
        raise _broken(under.name, f"{size} bytes to seal", "more")


def unseal(source: BinaryIO, sealed_size: int, under: Seal) -> memoryview:
    """Opens a sealed file into memory, and nowhere else.

    Args:
        source: The sealed file.
        sealed_size: Its bytes; memory for the plaintext is taken at once, and is less.
        under: Key, set and name.

    Returns:
        The plaintext, read-only.

    Raises:
        SealBroken: Another key, set or name; or a bit was altered, a chunk moved, added or cut.
    """
    header = source.read(HEADER_BYTES)
    if len(header) != HEADER_BYTES:
        raise _broken(under.name, f"a header of {HEADER_BYTES} bytes", f"{len(header)} bytes")
    magic, chunk_bytes, size, zero, set_id, salt = _HEADER.unpack(header)
    if (magic, chunk_bytes, zero) != (_MAGIC, CHUNK_BYTES, bytes(8)):
        raise _broken(under.name, "a sealed file of this format", "another header")
    if not hmac.compare_digest(set_id, under.set_id):
        raise _broken(under.name, f"set {under.set_id.hex()}", f"set {set_id.hex()}")
    count = _chunks(size)
    if sealed_size != HEADER_BYTES + size + count * TAG_BYTES:
        raise _broken(under.name, f"{count} chunks with {size} bytes", f"{sealed_size} bytes")
    plain = bytearray(size)
    open_chunk = _opener(_cipher(under, salt), header, count, under.name)
    for index in range(count):
        start = index * CHUNK_BYTES
        length = min(CHUNK_BYTES, size - start)
        plain[start : start + length] = open_chunk(index, source.read(length + TAG_BYTES))
    if source.read(1):
        raise _broken(under.name, f"{count} chunks", "more")
    return memoryview(plain).toreadonly()


def _opener(cipher: AESGCM, header: bytes, count: int, name: str) -> Callable[[int, bytes], bytes]:
    def open_chunk(index: int, sealed: bytes) -> bytes:
        try:
            return cipher.decrypt(_nonce(index), sealed, header + _PLACE.pack(index, count))
        except InvalidTag as error:
            raise _broken(
                name, "what was sealed under this key", f"another chunk {index}"
            ) from error

    return open_chunk


def _cipher(under: Seal, salt: bytes) -> AESGCM:
    info = _INFO + under.set_id + under.name.encode()
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, info).derive(under.key))


def _chunks(size: int) -> int:
    return max(1, -(-size // CHUNK_BYTES))


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")


def _broken(name: str, expected: str, seen: str) -> SealBroken:
    return SealBroken(
        f"the sealed file {name} cannot be opened",
        expected=expected,
        seen=seen,
        remedy="it was altered on its way, or sealed under another key: copy it anew, or seal the "
        "data anew with `coterie seal`",
    )
