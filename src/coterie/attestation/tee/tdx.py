"""Intel TDX through Linux's configfs-tsm: quotes of the trust domain that this machine is."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.checking import checked_quote
from coterie.attestation.tee.files import KernelFiles
from coterie.attestation.tee.tsm import SOURCE, TsmReports
from coterie.kinds import TeeKind

PROVIDER = "tdx_guest"


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
        self._reports = TsmReports(PROVIDER, "a TDX guest", root, files=files, new_name=new_name)

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
        return checked_quote(self._reports.report(report_data).report, report_data, SOURCE)

    def describe(self) -> TeeDescription:
        """Describes the trust domain for people."""
        return TeeDescription(
            kind="tdx",
            measurement=None,
            details="Intel TDX through Linux configfs-tsm; MRTD and RTMRs show in each quote",
        )
