"""The receipt's file on the parameter server: append-only, gone on with after a restart.

Of a torn last line the entry that the next process writes first says how much was lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from coterie.chained_log import AppendOnlyFile
from coterie.files import writing
from coterie.receipts.entries import Entry
from coterie.receipts.reading import read_entries


class ReceiptFile:
    """Appends lines.

    Args:
        path: The file; made if absent, in a folder that exists.

    Attributes:
        holds: Octets that were in it.
        lost: Octets of a torn last line that were cut off.

    Raises:
        EnvironmentUnfit: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._what = f"the receipt {path}"
        with writing(self._what):
            self._file = AppendOnlyFile(path, mode=0o644)
            try:
                self.holds = self._file.whole()
                self.lost = self._file.cut(self.holds)
            except OSError:
                self._file.close()
                raise

    def entries(self) -> Iterator[Entry]:
        """Reads and checks its entries.

        Raises:
            ReceiptRefused: It was altered.
        """
        return read_entries(self._path)

    def clear(self) -> None:
        """Empties the file.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        with writing(self._what):
            self._file.cut(0)

    def append(self, line: bytes, *, durably: bool) -> None:
        """Appends a line.

        Args:
            line: Without its end.
            durably: Whether to wait until the line is on the disk.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        with writing(self._what):
            self._file.append(line, durably=durably)

    def sync(self) -> None:
        """Waits until all of it is on the disk.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        with writing(self._what):
            self._file.sync()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
