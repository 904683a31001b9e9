"""Real evidence of Azure's confidential VMs."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import pytest

from coterie.attestation.vtpm.hcl_report import HclReport
from coterie.attestation.vtpm.runtime_data import RuntimeData
from coterie.attestation.vtpm.tpm_quote import TpmQuote
from tests.conftest import REPOSITORY

VECTORS = REPOSITORY.parent / "shared" / "attestation-vectors-cloud"
NAMES = ("azure_snp_vtpm", "azure_tdx_vtpm")
CHALLENGE = b"challenge"


@dataclass(frozen=True)
class Vector:
    """One VM's evidence.

    Attributes:
        nv_index: The HCL report as the NV index holds it.
        report: The same, read.
        runtime: The paravisor's data.
        report_data: What the hardware's report signs.
        quote: The TPM's quote.
        signature: Its signature.
        values: The PCRs.
    """

    nv_index: bytes
    report: HclReport
    runtime: RuntimeData
    report_data: bytes
    quote: TpmQuote
    signature: bytes
    values: dict[int, bytes]


def vector(name: str) -> Vector:
    """Reads a vector, or skips the test."""
    file = VECTORS / name / "evidence-v1.json"
    if not file.exists():
        pytest.skip(f"no real evidence at {file.parent}")
    evidence = json.loads(file.read_text())
    nv_index = base64.urlsafe_b64decode(evidence["hcl_report"] + "==")
    report = HclReport.parse(nv_index)
    start = 128 if report.is_tdx else 80  # of the report data
    said = evidence["tpm_quote"]
    return Vector(
        nv_index,
        report,
        RuntimeData.parse(report.runtime),
        report.hardware_report[start : start + 64],
        TpmQuote.parse(bytes.fromhex(said["message"])),
        bytes.fromhex(said["signature"]),
        {number: bytes.fromhex(value) for number, value in enumerate(said["pcrs"])},
    )
