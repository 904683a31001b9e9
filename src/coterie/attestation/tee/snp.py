"""AMD SEV-SNP through Linux's configfs-tsm: reports of the guest that this machine is.

The kernel gives the report, and what the host has given of its signing key's certificates: all of
them, the signing key's alone, or none. What is missing comes from AMD or from a folder, once for each
chip and TCB.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path

from coterie.attestation.snp.endorsements import EndorsementSource, completed
from coterie.attestation.snp.quote import encode_snp_quote, parse_snp_quote
from coterie.attestation.snp.report import SnpReport, parse_report
from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.checking import over_something_else
from coterie.attestation.tee.files import KernelFiles
from coterie.attestation.tee.tsm import SOURCE, TsmReports
from coterie.errors import EnvironmentUnfit, EvidenceRefused
from coterie.kinds import TeeKind

PROVIDER = "sev_guest"


class SnpTee:
    """The SNP guest that this machine is.

    Args:
        root: Root of the file tree.
        vmpls: Privilege levels that the contract accepts; the kernel's default if empty.
        endorsements: Source of certificates that the host does not give.
        files: Operations on the kernel's files.
        new_name: Makes unique names for report directories.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        vmpls: tuple[int, ...] = (),
        endorsements: EndorsementSource | None = None,
        files: KernelFiles | None = None,
        new_name: Callable[[], str] = lambda: f"coterie-{secrets.token_hex(8)}",
    ) -> None:
        self._reports = TsmReports(PROVIDER, "an SNP guest", root, files=files, new_name=new_name)
        self._vmpls = vmpls
        self._endorsements = endorsements
        self._lock = threading.Lock()  # guards the chain
        self._chain: tuple[tuple[bytes, ...], tuple[bytes, bytes, bytes]] | None = None

    @property
    def kind(self) -> TeeKind:
        """Always ``snp``."""
        return "snp"

    def quote(self, report_data: bytes) -> bytes:
        """Returns evidence over ``report_data`` (64 bytes): a report and its signing key's chain.

        Raises:
            EnvironmentUnfit: The kernel's files are missing, fail, belong to another kind of TEE, or
                other processes interfere again and again; the kernel allows no privilege level of the
                contract's; or a certificate is missing.
        """
        found = self._reports.report(report_data, levels=self._vmpls, auxiliary=True)
        try:
            report = parse_report(found.report)
            chain = self._chain_of(report, found.auxiliary)
            quote = parse_snp_quote(encode_snp_quote(found.report, report.signing_key, chain))
        except EvidenceRefused as error:
            what = f"{SOURCE} gave no usable report: {error.what}"
            remedy = "update the platform's firmware, or have the host give AMD's certificates"
            raise EnvironmentUnfit.because_of(error, what, remedy) from error
        if quote.report_data != report_data:
            raise over_something_else(SOURCE, report_data, quote.report_data)
        return quote.canonical

    def describe(self) -> TeeDescription:
        """Describes the guest for people."""
        return TeeDescription(
            kind="snp",
            measurement=None,
            details="AMD SEV-SNP through Linux configfs-tsm; the launch digest shows in each report",
        )

    def _chain_of(self, report: SnpReport, table: bytes) -> tuple[bytes, bytes, bytes]:
        """The chain of a report's signing key; kept as long as chip, TCB and what the host gives stay.

        A cloud provider may get another VLEK for the same TCB: the host's table has it then.
        """
        key = (report.chip_id, report.reported_tcb, table)
        with self._lock:
            if self._chain is None or self._chain[0] != key:
                self._chain = (key, completed(report, table, self._endorsements))
            return self._chain[1]
