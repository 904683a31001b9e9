"""Reads a TPM's structures from the front: integers are big-endian, and lengths come first (TPM2B)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from coterie.errors import CoterieError


class TpmReader:
    """What is left to read.

    Args:
        octets: All of it.
        malformed: The error of octets that end too early, given what was expected and seen.

    Attributes:
        octets: What was not read yet.
    """

    def __init__(self, octets: bytes, malformed: Callable[[str, str], CoterieError]) -> None:
        self.octets = octets
        self._malformed = malformed

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if len(self.octets) < size:
            raise self._malformed(f"{size} more bytes", f"{len(self.octets)} bytes")
        taken, self.octets = self.octets[:size], self.octets[size:]
        return taken

    def unpack(self, layout: str) -> tuple[int, ...]:
        """The next integers, by a layout of ``struct``."""
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def sized(self) -> bytes:
        """A structure with its length in two bytes before it (TPM2B)."""
        (size,) = self.unpack(">H")
        return self.take(size)
