"""A node loads the code of the kinds of TEE that its contract lists, and of no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.attestation.collateral_source import SimulatedCollateral
from coterie.attestation.evidence import parse_evidence
from coterie.attestation.recognition import MAGIC, REPORT_DATA_BYTES, Family, family_of
from coterie.attestation.tee.base import Tee
from coterie.attestation.tee.simulated.azure import SimulatedAzureTee, SimulatedVm
from coterie.attestation.tee.simulated.enclave import SimulatedTee
from coterie.attestation.tee.simulated.snp import SimulatedSnpTee
from tests.attestation.test_recognition import EVIDENCE
from tests.attestation.vtpm.forgeries import AT, DATA
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.system

OWN = b"\x11" * 32
TEES: dict[Family, Tee] = {
    "dcap": SimulatedTee(OWN),
    "snp": SimulatedSnpTee(OWN),
    "vtpm-snp": SimulatedAzureTee(OWN),
    "vtpm-dcap": SimulatedAzureTee(OWN, vm=SimulatedVm(tdx=True)),
}
OF_DCAP = (
    *(
        "attributes",
        "chains",
        "collateral",
        "dcap",
        "dcap_contracted",
        "dcap_evidence",
        "dcap_reader",
    ),
    *("freshness", "paravisor", "platforms", "quote", "quote_signatures", "reports", "roots"),
    *("screening", "statements", "tee.simulated.pki"),
)
OF_SNP, OF_VTPM = ("snp", "tee.simulated.snp_vendor"), ("vtpm",)
# What evidence of a family needs no code of.
FOREIGN: dict[Family, tuple[str, ...]] = {
    "dcap": ("paravisor", *OF_SNP, *OF_VTPM),
    "snp": (*OF_DCAP, *OF_VTPM),
    "vtpm-snp": OF_DCAP,
    "vtpm-dcap": OF_SNP,
}

# Hardware that is none, that begins like another family's, or that ends before it does.
BROKEN = tuple(
    part + hardware + bytes(12)  # three empty parts follow
    for hardware in (b"", b"\0" * 4, b"\1\0\2\0" + bytes(99), b"\3\0\2\0", b"\3\0\0\0" * 9)
    for part in (
        b"",
        MAGIC + bytes(REPORT_DATA_BYTES) + len(hardware).to_bytes(4),
        MAGIC + bytes(REPORT_DATA_BYTES) + bytes(4),
    )
)


def loaded(family: Family, tmp_path: Path) -> set[str]:
    """What a relying party of one kind loads, which is also shown evidence of all others and broken ones."""
    tee = TEES[family]
    evidence = tee.quote(DATA)
    collateral = SimulatedCollateral().collateral_for(parse_evidence(evidence), AT)
    table = {"measurement": "own"} | (
        {} if "snp" in family else {"accepted_tcb_statuses": ["UpToDate"]}
    )
    file = tmp_path / "shown.json"
    file.write_text(
        json.dumps(
            {
                "trust": {"tee": tee.kind, "roles": {"ps": table}},
                "own": OWN.hex(),
                "at": AT.isoformat(),
                "report_data": DATA.hex(),
                "evidence": evidence.hex(),
                "collateral": collateral.to_json(),
                "broken": [data.hex() for data in BROKEN],
                "others": [data.hex() for name, data in EVIDENCE.items() if name != family],
            }
        )
    )
    command = (sys.executable, "-m", "tests.attestation.loading", str(file))
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.removeprefix("coterie.attestation.") for name in done.stdout.split()}


@pytest.mark.parametrize("family", FOREIGN)
def test_code_of_other_kinds_is_not_loaded(family: Family, tmp_path: Path) -> None:
    found = loaded(family, tmp_path)
    assert "appraiser" in found
    assert family_of(TEES[family].kind) == family
    foreign = FOREIGN[family]
    assert [
        name for name in sorted(found) if name.split(".")[0] in foreign or name in foreign
    ] == []
