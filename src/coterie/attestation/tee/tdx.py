"""Intel TDX through Linux's configfs-tsm: quotes over ``/sys/kernel/config/tsm/report``.

Each quote has a directory of its own. The kernel counts writes to it in ``generation``. If the
count is not exactly one higher after the quote was read, another process wrote in between and the
quote is over other data. Source: Linux, Documentation/ABI/testing/configfs-tsm.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.checking import (
    READ_LIMIT,
    REPORT_DATA_BYTES,
    checked_quote,
    partly_taken,
    require_report_data,
    unfit,
)
from coterie.attestation.tee.files import KernelFiles, SystemFiles
from coterie.errors import EnvironmentUnfit
from coterie.kinds import TeeKind

REPORT_FOLDER = "sys/kernel/config/tsm/report"
PROVIDER = "tdx_guest"
_SOURCE = "the kernel's configfs-tsm"
_ATTEMPTS = 5
_TEXT_LIMIT = 64
_RACES = frozenset({errno.EBUSY, errno.EAGAIN, errno.EEXIST, errno.EINTR})


class TdxTee:
    """The TDX trust domain that this machine is.

    Args:
        root: Root of the file tree.
        files: Operations on its files.
        new_name: Makes unique names for report directories.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        files: KernelFiles | None = None,
        new_name: Callable[[], str] = lambda: f"coterie-{secrets.token_hex(8)}",
    ) -> None:
        self._folder = root / REPORT_FOLDER
        self._files = files or SystemFiles()
        self._new_name = new_name

    @property
    def kind(self) -> TeeKind:
        """Always ``tdx``."""
        return "tdx"

    def quote(self, report_data: bytes) -> bytes:
        """Returns a quote v4 or v5 over ``report_data`` (64 bytes).

        Raises:
            EnvironmentUnfit: The kernel's files are missing, fail, belong to another kind of TEE,
                or other processes interfere again and again.
        """
        require_report_data(report_data)
        for _ in range(_ATTEMPTS):
            data = self._attempt(report_data)
            if data is not None:
                return checked_quote(data, report_data, _SOURCE)
        raise EnvironmentUnfit(
            f"{_SOURCE} was busy {_ATTEMPTS} times",
            expected="one report at a time",
            seen="other writers between the request and the quote",
            remedy="stop the other programs that ask for quotes, or try again",
        )

    def describe(self) -> TeeDescription:
        """Describes the trust domain for people."""
        return TeeDescription(
            kind="tdx",
            measurement=None,
            details="Intel TDX through Linux configfs-tsm; MRTD and RTMRs show in each quote",
        )

    def _attempt(self, report_data: bytes) -> bytes | None:
        """Tries once; returns None if another process interfered."""
        entry = self._folder / self._new_name()
        try:
            self._files.make_directory(entry)
        except OSError as error:
            if error.errno in _RACES:
                return None
            raise unfit(_SOURCE, "open a report", error) from error
        try:
            return self._exchange(entry, report_data)
        except OSError as error:
            if error.errno in _RACES:
                return None
            raise unfit(_SOURCE, "make a quote", error) from error
        finally:
            # A failure to remove the directory does not affect the quote.
            with suppress(OSError):
                self._files.remove_directory(entry)

    def _exchange(self, entry: Path, report_data: bytes) -> bytes | None:
        provider = self._files.read(entry / "provider", _TEXT_LIMIT).strip()
        if provider != PROVIDER.encode():
            raise EnvironmentUnfit(
                f"{_SOURCE} reports for another kind of TEE",
                expected=f"provider {PROVIDER}",
                seen=provider.decode("ascii", "replace"),
                remedy="run in a TDX guest, or choose the TEE that this machine has",
            )
        before = self._generation(entry)
        taken = self._files.write(entry / "inblob", report_data)
        if taken != REPORT_DATA_BYTES:
            raise partly_taken(_SOURCE, taken, "update the kernel")
        data = self._files.read(entry / "outblob", READ_LIMIT)
        return data if self._generation(entry) == before + 1 else None

    def _generation(self, entry: Path) -> int:
        text = self._files.read(entry / "generation", _TEXT_LIMIT).strip()
        if not text.isdigit():
            raise EnvironmentUnfit(
                f"{_SOURCE} gave no generation",
                expected="a number",
                seen=text.decode("ascii", "replace"),
                remedy="update the kernel",
            )
        return int(text)
