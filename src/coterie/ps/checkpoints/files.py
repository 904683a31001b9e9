"""Small files of a checkpoint folder, in the casing of all that lies there."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from coterie.files import reading, write_whole
from coterie.ps.checkpoints.codec import FileCodec


@dataclass(frozen=True)
class SmallFiles:
    """Reads and writes files whole, in a casing that ties them to their names.

    Attributes:
        casing: Between content and file.
    """

    casing: FileCodec

    def write(self, path: Path, octets: bytes) -> None:
        """Writes a file durably, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        whole = io.BytesIO()
        target = self.casing.writer(whole, len(octets), path.name)
        target.write(octets)
        target.finish()
        write_whole(path, whole.getvalue())

    def read(self, path: Path, most: int) -> bytes:
        """Reads a file, at most so many bytes of it.

        Raises:
            SealBroken: It is not what was written under this name.
            EnvironmentUnfit: The disk does not give it.
        """
        with reading(path), path.open("rb") as file:
            return self.casing.reader(file, path.name).read(most)
