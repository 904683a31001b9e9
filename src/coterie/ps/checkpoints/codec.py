"""Encodings of checkpoint files on the disk: plain, or sealed (``sealed/sealed_checkpoints.py``)."""

from __future__ import annotations

from typing import BinaryIO, Protocol

from typing_extensions import override


class Target(Protocol):
    """The object that a file's content is written to."""

    def write(self, octets: bytes, /) -> object:
        """Takes the next bytes."""
        ...

    def finish(self) -> None:
        """Call it after everything is written."""
        ...


class Source(Protocol):
    """The object that a file's content is read from."""

    @property
    def size(self) -> int:
        """Size of the content in bytes."""
        ...

    def seek(self, place: int) -> object:
        """Sets the position in the content."""
        ...

    def read(self, count: int) -> bytes:
        """Reads the next bytes, fewer at the end; raises CoterieError if they were altered."""
        ...


class FileCodec(Protocol):
    """The encoding of checkpoint files.

    Attributes:
        sealed: Whether it keeps the content secret.
    """

    @property
    def sealed(self) -> bool:
        """Whether it keeps the content secret."""
        ...

    def name_of(self, digest: bytes) -> str:
        """Name of the file whose content has this SHA-256; 64 hex digits."""
        ...

    def writer(self, file: BinaryIO, size: int, name: str) -> Target:
        """Makes a writer for ``size`` bytes; the file can be read only under the same ``name``."""
        ...

    def reader(self, file: BinaryIO, name: str) -> Source:
        """Makes a reader of the content.

        Raises:
            SealBroken: The file is not what was written under this name.
        """
        ...


class PlainFileCodec(FileCodec):
    """Plain files, without sealing."""

    sealed = False

    @override
    def name_of(self, digest: bytes) -> str:
        return digest.hex()

    @override
    def writer(self, file: BinaryIO, _size: int, _name: str) -> Target:
        return _OpenTarget(file)

    @override
    def reader(self, file: BinaryIO, _name: str) -> Source:
        return _OpenSource(file)


class _OpenTarget:
    def __init__(self, file: BinaryIO) -> None:
        self.write = file.write

    def finish(self) -> None:
        """Does nothing: all bytes were written."""


class _OpenSource:
    def __init__(self, file: BinaryIO) -> None:
        self.size = file.seek(0, 2)
        file.seek(0)
        self.read = file.read
        self.seek = file.seek
