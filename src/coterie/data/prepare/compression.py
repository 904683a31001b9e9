"""Reads plain, gzip, xz and Zstandard files as one stream of bytes, recognised by magic bytes.

A file may hold several compressed members in a row. Its end must be the end of a member: a
truncated or damaged file is refused. Memory is bounded, whatever the file claims.
"""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import zstandard

from coterie.errors import RawDataInvalid

# Zstandard cannot stop in the middle of its input; one of its 3-byte blocks can expand to 128 KiB.
_FEED_BYTES = 1 << 12
_PLAIN_BYTES = 1 << 20
_XZ_MEMORY = 1 << 28
_ZSTD_WINDOW = 1 << 27


class _Member(Protocol):
    """The common interface of the three libraries' decompressors: one compressed member."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _new_member(magic: bytes) -> Callable[[], _Member] | None:
    """The decompressor for a file with these first bytes, or None for a plain file."""
    if magic.startswith(b"\x1f\x8b"):
        return lambda: zlib.decompressobj(wbits=31)
    if magic.startswith(b"\xfd7zXZ\0"):
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY)
    if magic.startswith(b"\x28\xb5\x2f\xfd") or (
        magic[1:4] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50
    ):
        return lambda: zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    return None


class RawSource(Protocol):
    """A source of rows: bytes of text that are read once.

    Attributes:
        name: Its name in errors.
        size: Its approximate size in bytes.
        consumed: Number of bytes read so far.
    """

    name: str
    size: int
    consumed: int

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes read so far."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """The text, in pieces of no particular size."""
        ...


class RawFile:
    """A raw file that is read once, from its beginning to its end.

    Args:
        path: The file.

    Attributes:
        path: The file.
        name: Its path, for errors.
        size: Its size in bytes, as it is on disk.
        consumed: Bytes of it that have been read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self._hasher = hashlib.sha256()
        self._feed = _FEED_BYTES
        self.consumed = 0
        try:
            self.size = path.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from error

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes read so far: of the file, once :meth:`pieces` has ended."""
        return self._hasher.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """The decompressed content, in pieces of no particular size.

        Raises:
            RawDataInvalid: The file cannot be read, is truncated or damaged, or has another format.
        """
        raw = self._raw()
        first = next(raw, b"")
        make = _new_member(first[:6])
        if make is None:
            self._feed = _PLAIN_BYTES
            if first:
                yield first
            yield from raw
            return
        member, pending = make(), first
        while True:
            yield from self._decompress(member, pending)
            if member.eof:
                # gzip and xz allow zero bytes between and after members.
                pending = member.unused_data.lstrip(b"\0")
                while not pending:
                    piece = next(raw, b"")
                    if not piece:
                        return
                    pending = piece.lstrip(b"\0")
                member = make()
            else:
                pending = next(raw, b"")
                if not pending:
                    raise self._damaged("the file ends before its compressed data do")

    def _decompress(self, member: _Member, data: bytes) -> Iterator[bytes]:
        try:
            if piece := member.decompress(data):
                yield piece
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            raise self._damaged(str(error)) from error

    def _raw(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                while piece := file.read(self._feed):
                    self._hasher.update(piece)
                    self.consumed += len(piece)
                    yield piece
        except OSError as error:
            raise self._unreadable(error) from error

    def _damaged(self, seen: str) -> RawDataInvalid:
        return RawDataInvalid(
            f"the compressed file {self.path} is truncated or damaged",
            expected="a whole .gz, .xz or .zst file",
            seen=f"{seen}, after {self.consumed} of {self.size} bytes",
            remedy="copy or download the file again",
        )

    def _unreadable(self, error: OSError) -> RawDataInvalid:
        return RawDataInvalid.unreadable(f"the raw file {self.path}", error, "a readable file")
