"""``coterie contract show`` and ``diff``: what parties read before they sign."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.contract import contract_digest, load_contract
from tests.cli.conftest import Run
from tests.conftest import REPOSITORY
from tests.contract.test_alternatives import TEXT as ALTERNATIVES

EXAMPLES = REPOSITORY / "examples"
HFL = EXAMPLES / "hfl.toml"


def edited(folder: Path, *edits: tuple[str, str]) -> Path:
    text = HFL.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "edited.toml"
    path.write_text(text)
    return path


WORSE = (
    ('accepted_tcb_statuses = ["UpToDate"]', 'accepted_tcb_statuses = ["UpToDate", "OutOfDate"]'),
    ("batch = 128", "batch = 1"),
    ("[results]", '[results]\nmodel_parties = ["acme"]'),
    ("[trust]", "[limits]\nevaluation_minimum = 1\n[trust]"),
)


def test_show_says_everything_that_concerns_trust_and_release(run: Run, tmp_path: Path) -> None:
    ran = run("contract", "show", edited(tmp_path, *WORSE))
    assert ran.code == 0
    said = {tuple(line.split(maxsplit=1)) for line in ran.out.splitlines()}
    assert {
        ("trust.roles.ps.accepted_tcb_statuses", "UpToDate, OutOfDate"),
        ("trust.roles.worker.accepted_tcb_statuses", "UpToDate"),
        ("trust.roles.ps.accepted_advisories", "none"),
        ("trust.roles.ps.fmspc", "any platform"),
        ("training.batch", "1"),
        ("training.update_norm", "not set"),
        ("training.party_weight", "1.0"),
        ("limits.evaluation_minimum", "1"),
        ("limits.quorum", "not set"),
        ("limits.step_seconds", "300.0"),
        ("checkpoints", "IN THE CLEAR"),
        ("signatures", "not demanded"),
    } <= said
    assert "results (recipients)                         acme\n" in ran.out
    assert (
        ran.out.index("trust: who") < ran.out.index("release: what") < ran.out.index("\ntraining\n")
    )


def test_no_measurement_or_machine_is_left_out_of_what_people_read(
    run: Run, tmp_path: Path
) -> None:
    machines = [f"{i:032x}" for i in range(40)]
    line = f"ppid = {machines}".replace("'", '"')
    path = edited(tmp_path, ("[trust.roles.ps]", f"[trust.roles.ps]\n{line}"))
    text = run("contract", "show", path).out
    assert [machine for machine in machines if machine not in text] == []


def test_show_names_the_layers_of_a_model_of_ones_own(run: Run) -> None:
    text = run("contract", "show", EXAMPLES / "dcn-hfl.toml").out
    (line,) = (line for line in text.splitlines() if "model.layers (order)" in line)
    assert "deep_0" in line


def test_show_as_json_holds_every_term(run: Run) -> None:
    value = run("contract", "show", HFL, "--json").value
    assert value["contract_digest"] == contract_digest(load_contract(HFL)).hex()
    assert (value["signatures_demanded"], value["checkpoints_sealed"]) == (False, False)
    terms = value["terms"]
    assert isinstance(terms, dict)
    assert list(terms) == ["trust", "release", "training", "data", "limits"]
    assert terms["release"]["results (recipients)"] == ["acme", "bolt", "corn", "dune"]
    assert terms["trust"]["trust.roles.worker.refuse_smt"] is False
    assert len(terms["data"]["data.categorical"]) == 26


def test_show_says_which_kinds_nodes_run_in(run: Run, tmp_path: Path) -> None:
    contract = tmp_path / "mixed.toml"
    contract.write_text(ALTERNATIVES)
    lines = run("contract", "show", contract).out.splitlines()
    assert lines[0] == (
        "contract mixed: mode hfl, tee ps simulated, worker simulated-snp or simulated-azure-snp"
    )
    assert [line.split()[-1] for line in lines if line.startswith("node   w")] == [
        "simulated-snp",
        "simulated-azure-snp",
    ]
    nodes = run("contract", "show", contract, "--json").value["nodes"]
    assert isinstance(nodes, list)
    assert [node["tee"] for node in nodes] == ["simulated", "simulated-snp", "simulated-azure-snp"]


def test_diff_says_what_changed_the_dangerous_first(run: Run, tmp_path: Path) -> None:
    ran = run("contract", "diff", HFL, edited(tmp_path, *WORSE, ("seed = 7", "seed = 8")))
    assert (ran.code, ran.err) == (4, "")
    lines = [line.strip() for line in ran.out.splitlines()]
    order = [
        "LOOSER  trust.roles.ps.accepted_tcb_statuses: also OutOfDate",
        "LOOSER  training.batch: 128 -> 1",
        "LOOSER  limits.evaluation_minimum: 100 -> 1",
        "tighter results (recipients): no longer bolt, corn, dune",
        "training.seed: 7 -> 8",
    ]
    assert sorted(order, key=lines.index) == order
    assert "Platform states that are accepted" in lines


def test_diff_as_json(run: Run, tmp_path: Path) -> None:
    ran = run("contract", "diff", HFL, edited(tmp_path, ("batch = 128", "batch = 1")), "--json")
    assert ran.code == 4
    assert ran.value["same"] is False
    assert ran.value["changes"] == [
        {
            "group": "release",
            "key": "training.batch",
            "old": 128,
            "new": 1,
            "what": "128 -> 1",
            "effect": "looser",
            "meaning": "Examples per worker and batch, on average",
        }
    ]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_the_same_contract_is_no_difference(
    form: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    other = edited(tmp_path, ("[trust]", "# a comment\n[trust]"), ("127.0.0.1:7440", "10.0.0.1:1"))
    ran = run("contract", "diff", HFL, other, *form)
    assert ran.code == 0
    if form:
        assert ran.value["same"] is True
        changes = ran.value["changes"]
        assert isinstance(changes, list)
        assert [change["key"] for change in changes] == ["nodes[ps0].address"]
    else:
        assert "the same" in ran.out


def test_a_contract_that_is_none_is_an_error(run: Run, tmp_path: Path) -> None:
    ran = run("contract", "diff", HFL, tmp_path / "none.toml", "--json")
    assert (ran.code, ran.value["error"]) == (4, "ContractInvalid")
