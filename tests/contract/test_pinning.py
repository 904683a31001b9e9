"""Reference values in a contract's text: they replace what says which program is meant, and nothing else."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest

from coterie.contract import Contract, contract_digest, parse_contract
from coterie.contract.pinning import with_references
from coterie.contract.references import read_references
from coterie.errors import ContractInvalid
from coterie.kinds import Role
from tests.conftest import REPOSITORY
from tests.contract.mixed import SNP
from tests.contract.test_alternatives import REAL, TEXT
from tests.contract.test_references import written
from tests.contract.test_snp_trust import SIMULATED as OWN_SNP
from tests.contract.test_vtpm_trust import AZURE_SNP, AZURE_TDX
from tests.contract.test_vtpm_trust import SIMULATED as OWN_AZURE

THREE = (
    TEXT
    + """
[[trust.roles.worker.alternatives]]
tee = "simulated"
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""
)

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


def pinned(text: str, role: Role, tee: str, values: object, folder: Path) -> str:
    """The contract with values of a file."""
    references = read_references(written(folder / "v.json", values, tee))
    return with_references(text, "t", role, references)


LAUNCH = {"snp": {"launch_measurement": ["55" * 48]}}
GUEST = {"vtpm": {"pcrs": {"11": ["66" * 32], "12": ["67" * 32]}}}
Replaced = tuple[tuple[str, ...], object]
OF_SNP = ("worker", "snp", "launch_measurement")
CASES: dict[str, tuple[str, Role, str, object, list[Replaced]]] = {
    "a role in another kind than the contract's": (
        SNP, "ps", "snp", LAUNCH, [(("ps", "snp", "launch_measurement"), ["55" * 48])],
    ),
    "the other role, in the contract's kind": (
        SNP, "worker", "sgx", VALUES, [(("worker", "mrenclave"), VALUES["mrenclave"])],
    ),
    "a paravisor": (
        AZURE_SNP, "ps", "azure-snp", LAUNCH, [(("ps", "snp", "launch_measurement"), ["55" * 48])],
    ),
    "a guest above a paravisor; other PCRs stay": (
        AZURE_SNP, "ps", "azure-snp", GUEST,
        [(("ps", "vtpm", "pcrs"), {"4": ["04" * 32], **GUEST["vtpm"]["pcrs"]})],
    ),
    "a guest and its paravisor at once": (
        AZURE_TDX, "ps", "azure-tdx", {"mrtd": ["01" * 48], **{
            f"rtmr{i}": ["02" * 48] for i in range(4)
        }, "td_attributes": ["00" * 8], "xfam": ["00" * 8], **GUEST},
        [
            (("ps", "mrtd"), ["01" * 48]),
            *((("ps", f"rtmr{i}"), ["02" * 48]) for i in range(4)),
            (("ps", "vtpm", "pcrs"), {"4": ["04" * 32], **GUEST["vtpm"]["pcrs"]}),
        ],
    ),
    "a simulated guest, whose table is new": (
        OWN_SNP, "worker", "simulated-snp", LAUNCH,
        [(("worker", "measurement"), None), (("worker", "snp"), LAUNCH["snp"])],
    ),
    "a simulated guest of Azure, whose table is new": (
        OWN_AZURE, "ps", "simulated-azure-snp", GUEST,
        [(("ps", "measurement"), None), (("ps", "vtpm"), GUEST["vtpm"])],
    ),
    "a simulated paravisor: the guest's program stays": (
        OWN_AZURE, "ps", "simulated-azure-snp", LAUNCH, [(("ps", "snp"), LAUNCH["snp"])],
    ),
    "a role's own table among several": (
        TEXT, "worker", "simulated-snp", LAUNCH,
        [(("worker", "measurement"), None), (("worker", "snp"), {"vmpl": [0], **LAUNCH["snp"]})],
    ),
    "an alternative": (
        TEXT, "worker", "simulated-azure-snp", GUEST,
        [
            (("worker", "alternatives", "0", "measurement"), None),
            (("worker", "alternatives", "0", "vtpm", "pcrs"), {"7": ["00" * 32], **GUEST["vtpm"]["pcrs"]}),
        ],
    ),
    "the table for SNP of an alternative": (
        REAL, "worker", "snp", LAUNCH,
        [(("worker", "alternatives", "0", "snp", "launch_measurement"), ["55" * 48])],
    ),
    "a table that an alternative has not yet": (
        TEXT, "worker", "simulated-azure-snp", LAUNCH,
        [(("worker", "alternatives", "0", "snp"), LAUNCH["snp"])],
    ),
    "an alternative before the last one": (
        THREE, "worker", "simulated-azure-snp", LAUNCH,
        [(("worker", "alternatives", "0", "snp"), LAUNCH["snp"])],
    ),
    "the last alternative": (
        THREE, "worker", "simulated", VALUES,
        [
            (("worker", "alternatives", "1", "measurement"), None),
            (("worker", "alternatives", "1", "mrenclave"), VALUES["mrenclave"]),
        ],
    ),
}  # fmt: skip


def put(tables: object, path: tuple[str, ...], value: object) -> None:
    """Puts a value at a path of tables and lists; None takes it out."""
    *above, last = path
    for name in above:
        if isinstance(tables, list):
            tables = tables[int(name)]
        else:
            assert isinstance(tables, dict)
            tables = tables[name]
    assert isinstance(tables, dict)
    if value is None:
        del tables[last]
    else:
        tables[last] = value


@pytest.mark.parametrize("case", CASES)
def test_only_the_table_of_the_kind_is_changed(case: str, tmp_path: Path) -> None:
    text, role, tee, values, replaced = CASES[case]
    after = pinned(text, role, tee, values, tmp_path)
    wanted = tomllib.loads(text)
    for path, value in replaced:
        put(wanted["trust"]["roles"], path, value)
    assert tomllib.loads(after) == wanted
    assert pinned(after, role, tee, values, tmp_path) == after
    assert contract_digest(parse(after)) != contract_digest(parse(text))


def test_a_kind_that_the_role_does_not_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractInvalid, match="another TEE than the role worker") as refused:
        pinned(TEXT, "worker", "simulated", VALUES, tmp_path)
    assert refused.value.expected == "tee simulated-snp or simulated-azure-snp"
    assert refused.value.seen == "tee simulated"


def test_values_of_another_kinds_table_are_refused(tmp_path: Path) -> None:
    for role, tee, values, seen in (
        ("worker", "sgx", LAUNCH, "trust.roles.worker.snp is for SEV-SNP"),
        ("ps", "snp", VALUES, "mrenclave means nothing for SEV-SNP"),
        ("ps", "snp", GUEST, "vtpm is for Azure's guests"),
    ):
        with pytest.raises(ContractInvalid) as refused:
            pinned(SNP, role, tee, values, tmp_path)  # type: ignore[arg-type]
        assert seen in refused.value.seen


HEAD = "[[trust.roles.worker.alternatives]]\n"


@pytest.mark.parametrize(
    "change",
    [
        (HEAD, f"{HEAD}snp = {{ vmpl = [0] }}\n"),
        (HEAD, f"{HEAD}snp.vmpl = [0]\n"),
        (HEAD, "[[trust.roles.'worker'.alternatives]]\n"),
    ],
)
def test_an_alternative_that_is_written_otherwise_is_refused(
    change: tuple[str, str], tmp_path: Path
) -> None:
    assert change[0] in TEXT
    text = TEXT.replace(*change)
    assert parse(text).trust.kinds == parse(TEXT).trust.kinds
    with pytest.raises(ContractInvalid, match="line by line"):
        pinned(text, "worker", "simulated-azure-snp", LAUNCH, tmp_path)


def test_pcrs_in_one_line_are_joined(tmp_path: Path) -> None:
    header = "[trust.roles.worker.alternatives.vtpm.pcrs]\n7 = "
    line = f'7 = ["{"00" * 32}"]'
    assert header in TEXT
    inline = TEXT.replace(f"{header}{line[4:]}", f"pcrs = {{ {line} }}")
    wanted = tomllib.loads(pinned(TEXT, "worker", "simulated-azure-snp", GUEST, tmp_path))
    assert tomllib.loads(pinned(inline, "worker", "simulated-azure-snp", GUEST, tmp_path)) == wanted
