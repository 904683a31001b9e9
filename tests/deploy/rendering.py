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

# Digests that no image has: only their form counts here.
DIGESTS = {"image": "a1" * 32, "psImage": "b2" * 32, "aesm": "c3" * 32}
MRENCLAVE = "d4" * 32


def paper_contract_text(mode: Mode, tee: TeeName) -> str:
    """The paper's example with keys for its parties; on SGX with a reference value in place of `own`."""
    text = (ROOT / "examples" / f"paper-{mode}.toml").read_text(encoding="utf-8")
    for number, party in enumerate(parse_contract(text.encode(), "example").parties, start=1):
        name = f'name = "{party.name}"\n'
        assert text.count(name) == 1
        text = text.replace(name, f'{name}key = "ed25519:{number:02x}{"00" * 31}"\n')
    if tee == "sgx":
        text = text.replace('tee = "simulated"', 'tee = "sgx"').replace(
            'measurement = "own"',
            f'mrenclave = ["{MRENCLAVE}"]\nminimum_tcb_evaluation_number = 17',
        )
    return text


def paper_contract(mode: Mode, tee: TeeName) -> Contract:
    """The same, parsed."""
    contract = parse_contract(paper_contract_text(mode, tee).encode(), f"paper-{mode}")
    assert contract.trust.tee == tee
    return contract


def paper_values(mode: Mode, tee: TeeName) -> Object:
    """A values file of the chart, with what the command line adds: contract, signatures, digests."""
    values: Object = yaml.safe_load((CHART / "values" / f"paper-{mode}-{tee}.yaml").read_text())
    values["contract"] = {"text": paper_contract_text(mode, tee)}
    if tee == "sgx":
        values["contract"]["signatures"] = {
            party.name: f'{{"party": "{party.name}"}}\n'
            for party in paper_contract(mode, tee).parties
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


def golden_file(mode: Mode, tee: TeeName) -> Path:
    """Where the rendered form of a values file is kept."""
    return GOLDEN / f"paper-{mode}-{tee}.yaml"


def main() -> None:
    """Writes the golden files anew."""
    GOLDEN.mkdir(exist_ok=True)
    for mode, tee in EXPERIMENTS:
        text = render_text(paper_values(mode, tee), name=f"paper-{mode}")
        golden_file(mode, tee).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
