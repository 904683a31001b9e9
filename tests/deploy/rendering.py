"""The paper's contracts as a deployment has them, and the chart as Helm's own engine renders it.

``python -m tests.deploy.rendering`` writes the golden files anew: look at the difference, then commit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import helm_python
import yaml

from coterie.contract import Contract, parse_contract
from tests.conftest import REPOSITORY

ROOT = REPOSITORY
CHART = ROOT / "deploy" / "helm" / "coterie"
GOLDEN = Path(__file__).parent / "golden"

Mode = Literal["hfl", "sdt"]
TeeName = Literal["simulated", "sgx"]
Object = dict[str, Any]
EXPERIMENTS: tuple[tuple[Mode, TeeName], ...] = (
    ("hfl", "simulated"),
    ("hfl", "sgx"),
    ("sdt", "simulated"),
    ("sdt", "sgx"),
)

# Clusters of confidential virtual machines: the kind of the parameter server, and that of the workers.
Cloud = Literal["gke", "aks"]
CLOUDS: dict[Cloud, tuple[str, str]] = {"gke": ("tdx", "snp"), "aks": ("azure-tdx", "azure-snp")}

# Digests that no image has: only their form counts here.
DIGESTS = {"image": "a1" * 32, "psImage": "b2" * 32, "aesm": "c3" * 32, "workerImage": "e5" * 32}
MRENCLAVE = "d4" * 32

TDX_VALUES = "\n".join(
    (
        "minimum_tcb_evaluation_number = 17",
        *(
            f'{register} = ["{"22" * 48}"]'
            for register in ("mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
        ),
        f'td_attributes = ["{"00" * 8}"]\nxfam = ["{"00" * 8}"]',
        'accepted_tcb_statuses = ["UpToDate"]',
    )
)
_SNP = f"""snp.launch_measurement = ["{"33" * 48}"]
snp.guest_policy = ["0000000000030000"]
snp.vmpl = [0]
snp.signing_key = ["vcek"]
snp.minimum_firmware = "1.55.22"
snp.minimum_tcb.milan = {{bootloader = 3, tee = 0, snp = 8, microcode = 115}}
"""
_VTPM = f"""vtpm.secure_boot = [true]
vtpm.console = [false]
vtpm.pcrs.4 = ["{"44" * 32}"]
"""


def paper_contract_text(mode: Mode, tee: TeeName) -> str:
    """The paper's example with keys for its parties; on SGX with a reference value in place of `own`."""
    text = _with_keys(mode)
    if tee == "sgx":
        text = text.replace('tee = "simulated"', 'tee = "sgx"').replace(
            'measurement = "own"',
            f'mrenclave = ["{MRENCLAVE}"]\nminimum_tcb_evaluation_number = 17',
        )
    return text


def _with_keys(mode: Mode) -> str:
    text = (ROOT / "examples" / f"paper-{mode}.toml").read_text(encoding="utf-8")
    for number, party in enumerate(parse_contract(text.encode(), "example").parties, start=1):
        name = f'name = "{party.name}"\n'
        assert text.count(name) == 1
        text = text.replace(name, f'{name}key = "ed25519:{number:02x}{"00" * 31}"\n')
    return text


def cloud_contract_text(cloud: Cloud) -> str:
    """The HFL example with the parameter server above TDX and workers above SEV-SNP."""
    ps, worker = CLOUDS[cloud]
    vtpm = _VTPM if cloud == "aks" else ""
    text, _ = _with_keys("hfl").split("\n[trust]\n")
    return (
        f'{text}\n[trust]\ntee = "{worker}"\n\n[trust.roles.ps]\ntee = "{ps}"\n{TDX_VALUES}\n{vtpm}'
        f"\n[trust.roles.worker]\n{_SNP}{vtpm}"
    )


def cloud_values(cloud: Cloud) -> Object:
    """The values file of a cloud, with what the command line adds: contract, signatures, digest."""
    values: Object = yaml.safe_load((CHART / "values" / f"paper-hfl-{cloud}.yaml").read_text())
    text = cloud_contract_text(cloud)
    return _completed(values, text, parse_contract(text.encode(), cloud))


def paper_contract(mode: Mode, tee: TeeName) -> Contract:
    """The same, parsed."""
    contract = parse_contract(paper_contract_text(mode, tee).encode(), f"paper-{mode}")
    assert contract.trust.tee == tee
    return contract


def paper_values(mode: Mode, tee: TeeName) -> Object:
    """A values file of the chart, with what the command line adds: contract, signatures, digests."""
    values: Object = yaml.safe_load((CHART / "values" / f"paper-{mode}-{tee}.yaml").read_text())
    return _completed(values, paper_contract_text(mode, tee), paper_contract(mode, tee))


def _completed(values: Object, text: str, contract: Contract) -> Object:
    values["contract"] = {"text": text}
    if not contract.trust.simulated:
        values["contract"]["signatures"] = {
            party.name: f'{{"party": "{party.name}"}}\n' for party in contract.parties
        }
    for image, digest in DIGESTS.items():
        if image in values:
            values[image]["digest"] = f"sha256:{digest}"
    return values


def render_text(values: Object, *, name: str) -> str:
    """What ``helm template NAME deploy/helm/coterie --namespace training`` prints for these values.

    Raises:
        helm_python.HelmError: A value is refused, by the schema or by a template.
    """
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(values)
        rendered = chart.render(values, name=name, namespace="training")
    return "".join(
        f"---\n# Source: {path}\n{text.strip()}\n"
        for path, text in sorted(rendered.items())
        if text.strip()
    )


def render(values: Object, *, name: str = "run") -> list[Object]:
    """The same as objects."""
    return [found for found in yaml.safe_load_all(render_text(values, name=name)) if found]


def golden_file(mode: Mode, tee: TeeName | Cloud) -> Path:
    """Where the rendered form of a values file is kept."""
    return GOLDEN / f"paper-{mode}-{tee}.yaml"


def write_golden(mode: Mode, tee: TeeName | Cloud, values: Object) -> None:
    """Writes one of them anew."""
    golden_file(mode, tee).write_text(render_text(values, name=f"paper-{mode}"), encoding="utf-8")


def main() -> None:
    """Writes the golden files anew."""
    GOLDEN.mkdir(exist_ok=True)
    for mode, tee in EXPERIMENTS:
        write_golden(mode, tee, paper_values(mode, tee))
    for cloud in CLOUDS:
        write_golden("hfl", cloud, cloud_values(cloud))


if __name__ == "__main__":
    main()
