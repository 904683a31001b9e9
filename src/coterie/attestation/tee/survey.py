"""Finds what this machine has of each kind of TEE, and what is missing, without changes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from coterie.attestation.tee.azure import REPORT_INDEX
from coterie.attestation.tee.confidential_space import ConfidentialSpaceTee
from coterie.attestation.tee.gramine import ATTESTATION_FOLDER
from coterie.attestation.tee.td_quotes import TdQuotes
from coterie.attestation.tee.tpm import KernelTpm, Tpm, TpmDevice
from coterie.attestation.tee.tsm import REPORT_FOLDER
from coterie.attestation.vtpm.hcl_report import HclReport
from coterie.errors import CoterieError, EnvironmentUnfit, EvidenceRefused
from coterie.files import read_bounded
from coterie.kinds import TeeKind

_READ_LIMIT = 1 << 20
_SIMULATED_AZURE: tuple[tuple[TeeKind, str], ...] = (
    ("simulated-azure-snp", "SNP"),
    ("simulated-azure-tdx", "TDX"),
)
_AZURE: tuple[tuple[TeeKind, str, bool], ...] = (
    ("azure-snp", "SEV-SNP", False),
    ("azure-tdx", "TDX", True),
)


@dataclass(frozen=True)
class Finding:
    """One item of the survey.

    Attributes:
        name: Its name.
        present: Whether it was found.
        needed: Whether the TEE cannot be used without it.
        detail: Its place, or how to get it.
    """

    name: str
    present: bool
    needed: bool
    detail: str


@dataclass(frozen=True)
class TeeSurvey:
    """The survey of one kind of TEE.

    Attributes:
        kind: Kind of TEE.
        summary: One sentence.
        findings: The items.
    """

    kind: TeeKind
    summary: str
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """Whether a node can run in it on this machine now."""
        return all(finding.present for finding in self.findings if finding.needed)


def survey(
    root: Path = Path("/"),
    *,
    which: Callable[[str], str | None] = shutil.which,
    device: Callable[[Path], TpmDevice] = KernelTpm,
    may_write: Callable[[Path], bool] = lambda path: os.access(path, os.W_OK),
    launcher: Path | None = None,
    td_quotes: TdQuotes | None = None,
) -> tuple[TeeSurvey, ...]:
    """Surveys the machine.

    Args:
        root: Root of the file tree.
        which: Finds programs.
        device: Opens the TPM of a file tree.
        may_write: Whether this user may make something in a folder.
        launcher: Socket of a launcher that is asked for a quote, in place of the kernel.
        td_quotes: Makes quotes of the paravisor's TDREPORT, and is asked for one.
    """
    reports = _configfs_tsm(root, may_write)
    return (
        _simulated(),
        _simulated_snp(),
        *_simulated_azure(),
        _sgx(root, which),
        _tdx(root, reports) if launcher is None else _launched(launcher),
        _snp(root, reports),
        *_azure(_paravisor_report(device(root)), td_quotes),
    )


def _simulated() -> TeeSurvey:
    return TeeSurvey(
        "simulated",
        "always there; it proves nothing, and its runs are stamped SIMULATED",
        (Finding("simulated TEE", present=True, needed=True, detail="built in"),),
    )


def _simulated_snp() -> TeeSurvey:
    return TeeSurvey(
        "simulated-snp",
        "always there, for contracts with SNP guests; it proves nothing",
        (Finding("simulated SNP guest", present=True, needed=True, detail="built in"),),
    )


def _simulated_azure() -> tuple[TeeSurvey, ...]:
    return tuple(
        TeeSurvey(
            kind,
            f"always there, for contracts with Azure's guests above {below}; it proves nothing",
            (Finding("simulated Azure guest", present=True, needed=True, detail="built in"),),
        )
        for kind, below in _SIMULATED_AZURE
    )


def _paravisor_report(device: TpmDevice) -> HclReport | CoterieError:
    """What the paravisor wrote to the virtual TPM, or why it cannot be had."""
    try:
        return HclReport.parse(Tpm(device).read_nv(REPORT_INDEX))
    except (EnvironmentUnfit, EvidenceRefused) as error:
        return error


def _azure(report: HclReport | CoterieError, td_quotes: TdQuotes | None) -> Iterator[TeeSurvey]:
    for kind, below, is_tdx in _AZURE:
        if isinstance(report, HclReport):
            present = report.is_tdx is is_tdx
            detail = "in the virtual TPM, above " + ("TDX" if report.is_tdx else "SEV-SNP")
        else:
            present, detail = False, f"{report.what}: {report.seen}"
            if isinstance(report, EnvironmentUnfit):
                detail += f"; needs {report.expected}"
        found = [Finding("the paravisor's report", present=present, needed=True, detail=detail)]
        if is_tdx and td_quotes is not None and isinstance(report, HclReport) and present:
            quotes = partial(td_quotes.quote, report.hardware_report)
            found.append(_tried("the platform's service for TD quotes", quotes))
        word = "an Azure guest" if present else "no Azure guest"
        yield TeeSurvey(kind, f"this machine is {word} above {below}", tuple(found))


def _sgx(root: Path, which: Callable[[str], str | None]) -> TeeSurvey:
    flags = _cpu_flags(root)
    gramine = which("gramine-sgx")
    attestation = root / ATTESTATION_FOLDER
    kind = _first_line(attestation / "attestation_type")
    inside = _path(
        attestation / "quote",
        "quotes by Gramine",
        'start the node under gramine-sgx with sgx.remote_attestation = "dcap"',
        needed=True,
    )
    findings = (
        Finding(
            "processor with SGX",
            present="sgx" in flags,
            needed=False,
            detail="flag sgx" if "sgx" in flags else "no flag sgx: enable SGX in the firmware",
        ),
        _path(
            root / "dev/sgx_enclave", "enclave device", "needs Linux 5.11 and SGX in the firmware"
        ),
        _path(root / "dev/sgx_provision", "provisioning device", "join the group sgx_prv"),
        Finding(
            "Gramine",
            present=gramine is not None,
            needed=False,
            detail=gramine or "install gramine from its package repository",
        ),
        _path(
            root / "var/run/aesmd/aesm.socket", "quoting service (AESM)", "install sgx-aesm-service"
        ),
        Finding(
            "attestation type",
            present=kind in {None, "dcap"},
            needed=True,
            detail=kind or "not inside of Gramine",
        ),
        inside,
    )
    summary = (
        "this process runs in an SGX enclave"
        if inside.present
        else "this process runs outside of an enclave; see what this host has"
    )
    return TeeSurvey("sgx", summary, findings)


def _tdx(root: Path, reports: Finding) -> TeeSurvey:
    flags = _cpu_flags(root)
    guest = "tdx_guest" in flags
    findings = (
        Finding(
            "TDX guest",
            present=guest,
            needed=True,
            detail="flag tdx_guest" if guest else "no flag tdx_guest: start this machine as a TD",
        ),
        _path(root / "dev/tdx_guest", "guest device", "load the module tdx_guest"),
        reports,
    )
    summary = (
        "this machine is a TDX trust domain" if guest else "this machine is no TDX trust domain"
    )
    return TeeSurvey("tdx", summary, findings)


def _launched(launcher: Path) -> TeeSurvey:
    quotes = _tried(
        "quotes by the launcher", partial(ConfidentialSpaceTee(launcher).quote, bytes(64))
    )
    word = "asks" if quotes.present else "cannot ask"
    return TeeSurvey("tdx", f"this workload {word} a launcher for TDX quotes", (quotes,))


def _tried(name: str, ask: Callable[[], bytes]) -> Finding:
    """Whether a service of this machine gives a quote."""
    try:
        ask()
    except CoterieError as error:
        return Finding(name, present=False, needed=True, detail=f"{error.what}: {error.seen}")
    return Finding(name, present=True, needed=True, detail="gives one")


def _snp(root: Path, reports: Finding) -> TeeSurvey:
    # The kernel shows the feature to hosts and guests; the device is the guest's alone.
    flagged = "sev_snp" in _cpu_flags(root)
    device = _path(
        root / "dev/sev-guest",
        "guest device",
        "load the module sev-guest; a machine that is no SNP guest has none",
        needed=True,
    )
    findings = (
        Finding(
            "processor with SNP",
            present=flagged,
            needed=False,
            detail="flag sev_snp" if flagged else "no flag sev_snp (guests' kernels may hide it)",
        ),
        device,
        reports,
    )
    summary = "this machine is an SNP guest" if device.present else "this machine is no SNP guest"
    return TeeSurvey("snp", summary, findings)


def _configfs_tsm(root: Path, may_write: Callable[[Path], bool]) -> Finding:
    found = _path(
        root / REPORT_FOLDER,
        "kernel interface configfs-tsm",
        "needs Linux 6.7 with CONFIG_TSM_REPORTS, and configfs mounted on /sys/kernel/config",
        needed=True,
    )
    if found.present and not may_write(root / REPORT_FOLDER):
        detail = f"{found.detail}: this user may ask for no report: the kernel lets user 0 alone"
        return replace(found, present=False, detail=detail)
    return found


def _path(path: Path, name: str, hint: str, *, needed: bool = False) -> Finding:
    try:
        present = path.exists()
    except OSError:
        present = False
    detail = str(path) if present else f"no {path}: {hint}"
    return Finding(name, present=present, needed=needed, detail=detail)


def _cpu_flags(root: Path) -> frozenset[str]:
    for line in _read(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def _first_line(path: Path) -> str | None:
    lines = _read(path).splitlines()
    return lines[0].strip() if lines else None


def _read(path: Path) -> str:
    try:
        return read_bounded(path, _READ_LIMIT).decode("utf-8", "replace")
    except OSError:
        return ""
