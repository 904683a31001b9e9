"""Azure's confidential VMs: evidence from the virtual TPM that the paravisor gives its guest.

The paravisor's report and data stand in an NV index; its attestation key is persistent. The SNP report
in them lacks its signing key's certificates, which come from AMD or from a folder; the TDREPORT is made
into a quote by a service of the platform.

Source: Microsoft, "Guest attestation for confidential VMs: design details".
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Literal

from coterie.attestation.quote import parse_quote
from coterie.attestation.snp.endorsements import EndorsementSource, completed
from coterie.attestation.snp.quote import encode_snp_quote
from coterie.attestation.snp.report import parse_report
from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.checking import require_report_data
from coterie.attestation.tee.td_quotes import TdQuotes
from coterie.attestation.tee.tpm import KernelTpm, Quoted, Tpm, TpmDevice
from coterie.attestation.verdict import CheckList
from coterie.attestation.vtpm.authenticity import verify_tpm
from coterie.attestation.vtpm.hcl_report import HclReport
from coterie.attestation.vtpm.quote import encode_vtpm_quote, parse_vtpm_quote, qualifying_data
from coterie.attestation.vtpm.tpm_quote import TpmQuote
from coterie.errors import EnvironmentUnfit, EvidenceRefused
from coterie.kinds import TeeKind

REPORT_INDEX = 0x01400001
ATTESTATION_KEY = 0x81000003
SOURCE = "the virtual TPM"
_ATTEMPTS = 5


class AzureTee:
    """The Azure guest that this machine is.

    Args:
        kind: ``azure-snp`` or ``azure-tdx``.
        pcrs: The PCRs that are quoted: those of the contract.
        device: The virtual TPM; the kernel's by default.
        root: Root of the file tree.
        endorsements: Source of the SNP signing key's certificates.
        td_quotes: Makes TD quotes.
    """

    def __init__(
        self,
        kind: Literal["azure-snp", "azure-tdx"],
        *,
        pcrs: tuple[int, ...],
        device: TpmDevice | None = None,
        root: Path = Path("/"),
        endorsements: EndorsementSource | None = None,
        td_quotes: TdQuotes | None = None,
    ) -> None:
        self._kind: TeeKind = kind
        self._pcrs = pcrs
        self._tpm = Tpm(device or KernelTpm(root))
        self._endorsements = endorsements
        self._td_quotes = td_quotes
        self._lock = threading.Lock()  # guards the hardware's evidence
        self._hardware: tuple[bytes, bytes] | None = None

    @property
    def kind(self) -> TeeKind:
        """``azure-snp`` or ``azure-tdx``."""
        return self._kind

    def quote(self, report_data: bytes) -> bytes:
        """Returns evidence over ``report_data`` (64 bytes).

        Raises:
            EnvironmentUnfit: The TPM is missing or fails, is of another kind of guest, or its PCRs
                change again and again; or a certificate or the TD quote cannot be had.
        """
        require_report_data(report_data)
        try:
            report = HclReport.parse(self._tpm.read_nv(REPORT_INDEX))
            self._check_kind(report)
            hardware = self._evidence_of(report)
            quoted, pcrs = self._quoted(qualifying_data(report_data))
            data = encode_vtpm_quote(
                hardware,
                runtime=report.runtime,
                message=quoted.message,
                signature=quoted.signature,
                pcrs=pcrs,
                report_data=report_data,
            )
            # Peers would refuse it; here the error is on the machine at fault.
            verify_tpm(parse_vtpm_quote(data), CheckList())
        except EvidenceRefused as error:
            what = f"{SOURCE} gave no usable evidence: {error.what}"
            remedy = (
                "run the node on an Azure confidential VM, and let nobody else write to its TPM"
            )
            raise EnvironmentUnfit.because_of(error, what, remedy) from error
        return data

    def describe(self) -> TeeDescription:
        """Describes the guest for people."""
        return TeeDescription(
            kind=self._kind,
            measurement=None,
            details="an Azure confidential VM; its virtual TPM's PCRs show in each quote",
        )

    def _check_kind(self, report: HclReport) -> None:
        seen = "azure-tdx" if report.is_tdx else "azure-snp"
        if seen != self._kind:
            raise EnvironmentUnfit(
                "this guest is of another kind than the contract demands",
                expected=self._kind,
                seen=seen,
                remedy="use the contract that is made for this TEE, or another machine",
            )

    def _evidence_of(self, report: HclReport) -> bytes:
        """Evidence of the hardware below; kept as long as its report stays."""
        with self._lock:
            if self._hardware is None or self._hardware[0] != report.hardware_report:
                evidence = self._of_tdx(report) if report.is_tdx else self._of_snp(report)
                self._hardware = (report.hardware_report, evidence)
            return self._hardware[1]

    def _of_snp(self, report: HclReport) -> bytes:
        read = parse_report(report.hardware_report)
        chain = completed(read, b"", self._endorsements)
        return encode_snp_quote(report.hardware_report, read.signing_key, chain)

    def _of_tdx(self, report: HclReport) -> bytes:
        if self._td_quotes is None:
            raise EnvironmentUnfit(
                "this guest cannot make TD quotes itself",
                expected="--td-quote-url, the address of the platform's service for them",
                seen="none",
                remedy="give the address that the cloud documents for its guests (docs/platforms/azure.md)",
            )
        return parse_quote(self._td_quotes.quote(report.hardware_report)).canonical

    def _quoted(self, data: bytes) -> tuple[Quoted, dict[int, bytes]]:
        """A quote, and the PCRs as they were when it was made."""
        for _ in range(_ATTEMPTS):
            quoted = self._tpm.quote(ATTESTATION_KEY, data, self._pcrs)
            pcrs = self._tpm.read_pcrs(self._pcrs)
            digest = hashlib.sha256(b"".join(pcrs.values())).digest()
            if TpmQuote.parse(quoted.message).pcr_digest == digest:
                return quoted, pcrs
        raise EnvironmentUnfit(
            f"PCRs changed {_ATTEMPTS} times between the quote and their reading",
            expected="PCRs that stay as they were measured at boot",
            seen=f"PCRs {', '.join(map(str, self._pcrs))}",
            remedy="agree on PCRs that nothing extends any more once the guest runs",
        )
