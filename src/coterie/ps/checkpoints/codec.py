"""How checkpoint files lie on the disk: as they are, or sealed (``keys/sealed_checkpoints.py``)."""

from __future__ import annotations

from typing import BinaryIO, Protocol

from typing_extensions import override


class Target(Protocol):
    """What a file's content is written to."""

    def write(self, octets: bytes, /) -> object:
        """Takes the next bytes."""
        ...

    def finish(self) -> None:
        """Must be called once all is written."""
        ...


class Source(Protocol):
    """What a file's content is read from."""

    @property
    def size(self) -> int:
        """Bytes of the content."""
        ...

    def seek(self, place: int) -> object:
        """Goes to a place of the content."""
        ...

    def read(self, count: int) -> bytes:
        """The next bytes, fewer at the end; raises CoterieError if they were altered."""
        ...


class FileCodec(Protocol):
    """Between a checkpoint's content and its file.

    Attributes:
        sealed: Whether it keeps the content secret.
    """

    @property
    def sealed(self) -> bool:
        """Whether it keeps the content secret."""
        ...

    def name_of(self, digest: bytes) -> str:
        """What a file is called by whose content has this SHA-256; 64 hex digits."""
        ...

    def writer(self, file: BinaryIO, size: int, name: str) -> Target:
        """Takes content of so many bytes; ``name`` says what it is: nothing else opens it."""
        ...

    def reader(self, file: BinaryIO, name: str) -> Source:
        """Gives content back.

        Raises:
            SealBroken: The file is not what was written under this name.
        """
        ...


class PlainFileCodec(FileCodec):
    """Files hold their content as it is."""

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
        """Nothing is held back."""


class _OpenSource:
    def __init__(self, file: BinaryIO) -> None:
        self.size = file.seek(0, 2)
        file.seek(0)
        self.read = file.read
        self.seek = file.seek
