"""Reference values from a file: they replace what says which program is meant, and nothing else."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import pytest

from coterie.contract import Contract, contract_digest, parse_contract
from coterie.contract.pinning import with_references
from coterie.contract.references import MAX_BYTES, read_references
from coterie.errors import ContractInvalid
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
ONE, OTHER = "11" * 32, "22" * 32
SGX = f"""
format = 1
name = "tiny"
mode = "hfl"
parties = [{{name = "a", key = "ed25519:{"ab" * 32}"}}, {{name = "b", key = "ed25519:{"cd" * 32}"}}]
nodes = [
  {{name = "ps", role = "ps", party = "a", address = "127.0.0.1:7440"}},
  {{name = "w1", role = "worker", party = "a"}},
  {{name = "w2", role = "worker", party = "b"}},
]
[trust]
tee = "sgx"

[trust.roles.worker] # theirs
# Built on Monday.
mrenclave = [
  "{ONE}",  # ] a bracket
]
accepted_tcb_statuses = ["UpToDate"]
minimum_tcb_evaluation_number = 17

[trust.roles.ps]
"mrenclave" = ["{ONE}"]
accepted_tcb_statuses = [
  "UpToDate",
]
minimum_tcb_evaluation_number = 17
"""
VALUES = {"mrenclave": [OTHER, "33" * 32]}


def written(path: Path, values: object, tee: str = "sgx") -> Path:
    path.write_text(json.dumps({"format": 1, "tee": tee, "values": values}))
    return path


def parse(text: str) -> Contract:
    return parse_contract(text.encode(), "t")


@pytest.mark.parametrize("role", ["ps", "worker"])
def test_values_replace_what_says_which_program_is_meant(role: str, tmp_path: Path) -> None:
    references = read_references(written(tmp_path / "values.json", VALUES))
    text = with_references(SGX, "t", role, references)  # type: ignore[arg-type]
    before, after = tomllib.loads(SGX), tomllib.loads(text)
    assert after["trust"]["roles"][role].pop("mrenclave") == VALUES["mrenclave"]
    assert before["trust"]["roles"][role].pop("mrenclave") == [ONE]
    assert before == after
    assert contract_digest(parse(text)) != contract_digest(parse(SGX))
    digest = hashlib.sha256((tmp_path / "values.json").read_bytes()).hexdigest()
    assert f"# Reference values from values.json, SHA-256 {digest}\n" in text
    assert "# Built on Monday.\n" in text


def test_doing_it_twice_leaves_one_comment(tmp_path: Path) -> None:
    references = read_references(written(tmp_path / "values.json", VALUES))
    once = with_references(SGX, "t", "worker", references)
    assert with_references(once, "t", "worker", references) == once


def test_a_signer_takes_the_place_of_a_measurement(tmp_path: Path) -> None:
    values = {"mrsigner": OTHER, "isv_prod_id": 1, "minimum_isv_svn": 2}
    text = with_references(SGX, "t", "ps", read_references(written(tmp_path / "v.json", values)))
    table = parse(text).trust.roles.ps
    assert table is not None
    assert (table.mrenclave, table.mrsigner, table.minimum_isv_svn) == ((), OTHER, 2)


def test_the_simulated_own_is_replaced(tmp_path: Path) -> None:
    text = (EXAMPLES / "hfl.toml").read_text()
    references = read_references(written(tmp_path / "v.json", VALUES, "simulated"))
    table = parse(with_references(text, "t", "ps", references)).trust.roles.ps
    assert table is not None
    assert (table.measurement, table.mrenclave) == (None, tuple(VALUES["mrenclave"]))


MALFORMED: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "Expecting"),
    "another form": (b"[]", "no object"),
    "nested": (b"[" * 100_000, ""),
    "another key": (b'{"format": 1, "tee": "sgx", "values": {}, "x": 1}', "other keys"),
    "another format": (b'{"format": 2, "tee": "sgx", "values": {}}', "another format"),
    "no values": (b'{"format": 1, "tee": "sgx", "values": {}}', "no values"),
    "a key twice": (
        b'{"format": 1, "tee": "sgx", "values": {"mrenclave": [], "mrenclave": []}}',
        "twice",
    ),
    "a policy": (
        b'{"format": 1, "tee": "sgx", "values": {"accepted_tcb_statuses": ["OutOfDate"]}}',
        "accepted_tcb_statuses",
    ),
    "no hex": (b'{"format": 1, "tee": "sgx", "values": {"mrenclave": ["x"]}}', "mrenclave"),
    "half a signer": (b'{"format": 1, "tee": "sgx", "values": {"isv_prod_id": 1}}', "go together"),
    "too large": (b" " * (MAX_BYTES + 1), "more than"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_file_is_refused(case: str, tmp_path: Path) -> None:
    text, seen = MALFORMED[case]
    (tmp_path / "v.json").write_bytes(text)
    with pytest.raises(ContractInvalid, match="no file of reference values") as refused:
        read_references(tmp_path / "v.json")
    assert seen in refused.value.seen
    assert refused.value.remedy


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractInvalid) as refused:
        read_references(tmp_path / "v.json")
    assert refused.value.seen == "No such file or directory"


def test_values_for_another_tee_are_refused(tmp_path: Path) -> None:
    references = read_references(written(tmp_path / "v.json", {"mrtd": ["44" * 48]}, "tdx"))
    with pytest.raises(ContractInvalid, match="another TEE") as refused:
        with_references(SGX, "t", "ps", references)
    assert (refused.value.expected, refused.value.seen) == ("tee sgx", "tee tdx")


def test_values_that_make_no_contract_are_refused(tmp_path: Path) -> None:
    references = read_references(written(tmp_path / "v.json", {"xfam": ["00" * 8]}))
    with pytest.raises(ContractInvalid) as refused:
        with_references(SGX, "t", "ps", references)
    assert "trust.roles.ps needs mrenclave" in refused.value.seen


@pytest.mark.parametrize(
    "change",
    [
        ("[trust.roles.ps]", "[trust.roles]\nps.x_ = 1\n[trust.roles.ps]"),
        ("[trust.roles.ps]\n", "[trust.roles]\n[trust.roles.'ps']\n"),
        ('name = "tiny"', 'name = """tiny\n[trust.roles.ps]\nmrenclave = 1"""'),
    ],
)
def test_a_contract_that_cannot_be_changed_by_lines_is_refused(
    change: tuple[str, str], tmp_path: Path
) -> None:
    references = read_references(written(tmp_path / "v.json", VALUES))
    with pytest.raises(ContractInvalid):
        with_references(SGX.replace(*change), "t", "ps", references)
