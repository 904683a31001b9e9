"""Linux's configfs-tsm: reports over ``/sys/kernel/config/tsm/report``, by whatever TEE provides them.

Each report has a directory of its own. The kernel counts writes to it in ``generation``. If the count
is not exactly that of our own writes after the report was read, another process wrote in between and
the report is over other data. Source: Linux, Documentation/ABI/testing/configfs-tsm.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from coterie.attestation.tee.checking import (
    READ_LIMIT,
    REPORT_DATA_BYTES,
    partly_taken,
    require_report_data,
    unfit,
)
from coterie.attestation.tee.files import KernelFiles, SystemFiles
from coterie.errors import EnvironmentUnfit

REPORT_FOLDER = "sys/kernel/config/tsm/report"
SOURCE = "the kernel's configfs-tsm"
_ATTEMPTS = 5
_TEXT_LIMIT = 64
_RACES = frozenset({errno.EBUSY, errno.EAGAIN, errno.EEXIST, errno.EINTR})


@dataclass(frozen=True)
class TsmReport:
    """What the kernel gave.

    Attributes:
        report: The report or quote.
        auxiliary: What the host gave along with it; empty unless it was asked for.
    """

    report: bytes
    auxiliary: bytes


class TsmReports:
    """The kernel's reports.

    Args:
        provider: The TEE that must provide them, as the kernel names it.
        where: What this machine must be, for remedies.
        root: Root of the file tree.
        files: Operations on its files.
        new_name: Makes unique names for report directories.
    """

    def __init__(
        self,
        provider: str,
        where: str,
        root: Path,
        *,
        files: KernelFiles | None = None,
        new_name: Callable[[], str] = lambda: f"coterie-{secrets.token_hex(8)}",
    ) -> None:
        self._provider = provider
        self._where = where
        self._folder = root / REPORT_FOLDER
        self._files = files or SystemFiles()
        self._new_name = new_name

    def report(
        self, report_data: bytes, *, levels: Sequence[int] = (), auxiliary: bool = False
    ) -> TsmReport:
        """Returns a report over ``report_data`` (64 bytes).

        Args:
            report_data: The data.
            levels: Privilege levels that are accepted. The report is for the lowest one that the
                kernel allows; without any, for the kernel's own default.
            auxiliary: Whether to read what the host gives along with it.

        Raises:
            EnvironmentUnfit: The kernel's files are missing, fail, belong to another kind of TEE,
                or other processes interfere again and again; or it allows none of the levels.
        """
        require_report_data(report_data)
        for _ in range(_ATTEMPTS):
            found = self._attempt(report_data, levels, auxiliary=auxiliary)
            if found is not None:
                return found
        raise EnvironmentUnfit(
            f"{SOURCE} was busy {_ATTEMPTS} times",
            expected="one report at a time",
            seen="other writers between the request and the quote",
            remedy="stop the other programs that ask for quotes, or try again",
        )

    def _attempt(
        self, report_data: bytes, levels: Sequence[int], *, auxiliary: bool
    ) -> TsmReport | None:
        """Tries once; returns None if another process interfered."""
        entry = self._folder / self._new_name()
        try:
            self._files.make_directory(entry)
        except OSError as error:
            if error.errno in _RACES:
                return None
            raise unfit(SOURCE, "open a report", error) from error
        try:
            return self._exchange(entry, report_data, levels, auxiliary=auxiliary)
        except OSError as error:
            if error.errno in _RACES:
                return None
            raise unfit(SOURCE, "make a quote", error) from error
        finally:
            # A failure to remove the directory does not affect the quote.
            with suppress(OSError):
                self._files.remove_directory(entry)

    def _exchange(
        self, entry: Path, report_data: bytes, levels: Sequence[int], *, auxiliary: bool
    ) -> TsmReport | None:
        provider = self._files.read(entry / "provider", _TEXT_LIMIT).strip()
        if provider != self._provider.encode():
            raise EnvironmentUnfit(
                f"{SOURCE} reports for another kind of TEE",
                expected=f"provider {self._provider}",
                seen=provider.decode("ascii", "replace"),
                remedy=f"run in {self._where}, or choose the TEE that this machine has",
            )
        before = self._number(entry, "generation")
        writes = 1
        if levels:
            level = str(self._level(entry, levels)).encode()
            if (taken := self._files.write(entry / "privlevel", level)) != len(level):
                raise partly_taken(SOURCE, taken, "update the kernel")
            writes += 1
        taken = self._files.write(entry / "inblob", report_data)
        if taken != REPORT_DATA_BYTES:
            raise partly_taken(SOURCE, taken, "update the kernel")
        report = self._files.read(entry / "outblob", READ_LIMIT)
        beside = self._files.read(entry / "auxblob", READ_LIMIT) if auxiliary else b""
        whole = self._number(entry, "generation") == before + writes
        return TsmReport(report, beside) if whole else None

    def _level(self, entry: Path, levels: Sequence[int]) -> int:
        floor = self._number(entry, "privlevel_floor")
        allowed = [level for level in levels if level >= floor]
        if not allowed:
            raise EnvironmentUnfit(
                f"{SOURCE} gives no report for a privilege level that the contract accepts",
                expected=" or ".join(f"VMPL {level}" for level in levels),
                seen=f"VMPL {floor} and above",
                remedy="agree on a contract that lists this level, or start the guest without SVSM",
            )
        return min(allowed)

    def _number(self, entry: Path, name: str) -> int:
        text = self._files.read(entry / name, _TEXT_LIMIT).strip()
        if not text.isdigit():
            raise EnvironmentUnfit(
                f"{SOURCE} gave no {name}",
                expected="a number",
                seen=text.decode("ascii", "replace"),
                remedy="update the kernel",
            )
        return int(text)
