"""Small files of a checkpoint folder, in the folder's encoding."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

from coterie.files import reading, write_whole
from coterie.ps.checkpoints.codec import FileCodec


@dataclass(frozen=True)
class SmallFiles:
    """Reads and writes complete files, in an encoding that binds them to their names.

    Attributes:
        casing: The encoding.
    """

    casing: FileCodec

    def write(self, path: Path, octets: bytes) -> None:
        """Writes a file durably and atomically.

        Raises:
            OSError: It cannot be written.
        """
        whole = io.BytesIO()
        target = self.casing.writer(whole, len(octets), path.name)
        target.write(octets)
        target.finish()
        write_whole(path, whole.getvalue())

    def read(self, path: Path, most: int) -> bytes:
        """Reads a file up to a size.

        Raises:
            SealBroken: It is not the file that was written under this name.
            EnvironmentUnfit: It cannot be read.
        """
        with reading(path), path.open("rb") as file:
            return self.casing.reader(file, path.name).read(most)
