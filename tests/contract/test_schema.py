"""What a contract may say: one row per rule; every refusal names the key."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from coterie.contract import (
    Contract,
    ModelSection,
    contract_digest,
    load_contract,
    parse_contract,
)
from coterie.errors import ContractInvalid
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
HFL = (EXAMPLES / "hfl.toml").read_text()
SDT = (EXAMPLES / "sdt.toml").read_text()
CONTRACT = parse_contract(HFL.encode(), "hfl.toml")
KEY = "ed25519:" + "ab" * 32
PS_TRUST = '[trust.roles.ps]\nmeasurement = "own"\naccepted_tcb_statuses = ["UpToDate"]\n'


def parse(text: str) -> Contract:
    return parse_contract(text.encode(), "contract.toml")


def replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the example no longer holds {old!r}"
    return text.replace(old, new, 1)


def with_section(section: str, line: str) -> str:
    """HFL's example with one more line at the head of a section, made if it is absent."""
    header = f"[{section}]"
    if header in HFL:
        key = line.partition("=")[0].strip()
        start = HFL.index(header)
        end = HFL.find("\n[", start + 1)
        body = HFL[start : end if end > 0 else None]
        kept = "\n".join(old for old in body.split("\n") if not old.startswith(f"{key} ="))
        return HFL.replace(body, kept.replace(header, f"{header}\n{line}", 1), 1)
    return HFL + f"\n{header}\n{line}\n"


LOCAL = """local_steps = {}

[training.local]
dense = {{ kind = "adam" }}
rows = {{ kind = "adagrad" }}
row_merge = "adagrad"
"""
PLAIN = 'kind = "sgd"\nlearning_rate = 1.0\n'


def with_local(steps: int = 4) -> str:
    """HFL's example with optimizers of the workers' own, and averaging at the server."""
    text = HFL
    for what in ("dense", "rows"):
        start = text.index(f"[training.{what}]\n") + len(f"[training.{what}]\n")
        text = text[:start] + PLAIN + text[text.index("\n[", start) :]
    return replaced(text, "[training.dense]", LOCAL.format(steps) + "\n[training.dense]")


def with_trust(tee: str, *lines: str) -> str:
    """HFL's example under a real TEE: every party has a key, both roles have the same table."""
    text = HFL[: HFL.index("[trust]")]
    for i, party in enumerate(("operator", "acme", "bolt", "corn", "dune")):
        text = replaced(
            text,
            f'[[parties]]\nname = "{party}"',
            f'[[parties]]\nname = "{party}"\nkey = "{KEY[:-1]}{i}"',
        )
    table = "\n".join(lines)
    return (
        f'{text}[trust]\ntee = "{tee}"\n[trust.roles.ps]\n{table}\n[trust.roles.worker]\n{table}\n'
    )


SGX = (
    f'mrenclave = ["{"11" * 32}"]',
    'accepted_tcb_statuses = ["UpToDate"]',
    "minimum_tcb_evaluation_number = 17",
)
TDX_VALUES = {
    "mrtd": 48,
    "rtmr0": 48,
    "rtmr1": 48,
    "rtmr2": 48,
    "rtmr3": 48,
    "td_attributes": 8,
    "xfam": 8,
}
TDX = (
    *(f'{name} = ["{"22" * size}"]' for name, size in TDX_VALUES.items()),
    *SGX[1:],
)


def test_the_examples_are_the_valid_base_of_these_tests() -> None:
    assert parse(HFL).mode == "hfl"
    assert parse(SDT).mode == "sdt"


def test_what_a_contract_leaves_out_has_the_reference_dlrm_as_default() -> None:
    contract = parse(replaced(HFL, HFL[HFL.index("[data]") : HFL.index("[trust]")], ""))
    assert contract.data.numeric == tuple(f"I{i}" for i in range(1, 14))
    assert contract.data.categorical == tuple(f"C{i}" for i in range(1, 27))
    assert isinstance(contract.model, ModelSection)
    assert contract.model.embedding_dim == 16
    assert contract.model.bottom == (512, 256, 64, 16)
    assert contract.model.top == (512, 256, 1)
    assert (contract.training.batch, contract.training.epochs) == (128, 1)
    assert contract.training.dense.kind == contract.training.rows.kind == "sgd"
    assert contract.training.dense.learning_rate == 0.1


def test_the_reference_dlrm_has_a_first_top_layer_of_367_inputs() -> None:
    contract = parse(HFL)
    shapes = {p.name: p.shape for p in contract.model.dense_parameters(contract.data)}
    assert shapes["bottom_0/kernel"] == (13, 512)
    assert shapes["top_0/kernel"] == (16 + 351, 512)
    assert shapes["top_2/kernel"] == (256, 1)
    assert list(shapes)[:2] == ["bottom_0/kernel", "bottom_0/bias"]


def test_workers_have_the_optimizers_of_their_own_that_the_contract_names() -> None:
    contract = parse(with_local())
    local = contract.training.local_training
    assert local is not None
    assert (local.dense.kind, local.rows.kind, local.row_merge) == ("adam", "adagrad", "adagrad")
    assert contract.exchanged_width == 2 * 16  # a sum of squares for every value
    assert parse(HFL).training.local_training is None
    assert parse(HFL).exchanged_width == 16


def test_a_rate_alone_is_short_for_local_sgd() -> None:
    lines = "local_steps = 4\nlocal_learning_rate = 0.05"
    local = parse(with_section("training", lines)).training.local_training
    assert local is not None
    assert (local.dense.kind, local.rows.kind, local.row_merge) == ("sgd", "sgd", "mean")
    assert local.dense.learning_rate == local.rows.learning_rate == 0.05


def test_nodes_keep_their_order_and_know_their_owners() -> None:
    hfl, sdt = parse(HFL), parse(SDT)
    workers = ["acme-worker", "bolt-worker", "corn-worker", "dune-worker"]
    assert [node.name for node in hfl.by_role("worker")] == workers
    assert [node.name for node in hfl.data_owners()] == workers
    assert [node.name for node in sdt.data_owners()] == ["chief"]


def test_fused_table_lays_columns_one_after_the_other() -> None:
    text = with_section("data", "column_rows = { C1 = 10, C3 = 30 }")
    data = parse(text).data
    assert data.table_rows[:4] == (10, 2000, 30, 2000)
    assert data.column_offsets[:4] == (0, 10, 2010, 2040)
    assert data.total_rows == 10 + 30 + 24 * 2000


UNKNOWN_KEYS = [
    (f"typo = 1\n{HFL}", "typo"),
    (replaced(HFL, "[[parties]]\n", "[[parties]]\ntypo = 1\n"), "parties.0.typo"),
    (replaced(HFL, "[[nodes]]\n", "[[nodes]]\ndata = '/srv'\n"), "nodes.0.data"),
    (with_section("data", "typo = 1"), "data.typo"),
    (with_section("model", "typo = 1"), "model.typo"),
    (with_section("training", "typo = 1"), "training.typo"),
    (with_section("training.dense", "typo = 0.9"), "training.dense.typo"),
    (with_section("training.rows", "typo = 1"), "training.rows.typo"),
    (with_section("limits", "typo = 1"), "limits.typo"),
    (with_section("enclave", "typo = 1"), "enclave.typo"),
    (with_section("trust", "verify = false"), "trust.verify"),
    (HFL + "\n[trust.roles.auditor]\n", "trust.roles.auditor"),
    (with_section("trust.roles.ps", "typo = 1"), "trust.roles.ps.typo"),
]


@pytest.mark.parametrize(("text", "key"), UNKNOWN_KEYS, ids=[key for _, key in UNKNOWN_KEYS])
def test_an_unknown_key_is_refused_by_name(text: str, key: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        parse(text)
    assert f"{key}: unknown key" in refused.value.seen
    assert refused.value.remedy


MISSING_KEYS = [
    (replaced(HFL, "format = 1", ""), "format"),
    (replaced(HFL, 'name = "hfl-example"', ""), "name"),
    (replaced(HFL, 'mode = "hfl"', ""), "mode"),
    (replaced(HFL, 'role = "ps"', ""), "nodes.0.role"),
    (replaced(HFL, 'tee = "simulated"', ""), "trust.tee"),
    (HFL[: HFL.index("[trust]")], "trust"),
]


@pytest.mark.parametrize(("text", "key"), MISSING_KEYS, ids=[key for _, key in MISSING_KEYS])
def test_a_missing_key_is_named(text: str, key: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        parse(text)
    assert f"{key}: Field required" in refused.value.seen


# (section, line, key as the error names it)
IMPOSSIBLE_VALUES = [
    ("data", "numeric = []", "data.numeric"),
    ("data", "categorical = []", "data.categorical"),
    ("data", 'numeric = ["1st"]', "data.numeric.0"),
    ("data", 'numeric = ["a b"]', "data.numeric.0"),
    ("data", f'numeric = ["{"x" * 65}"]', "data.numeric.0"),
    ("data", 'categorical = ["C1", "C1"]', "data: column names must be unique; twice: C1"),
    ("data", 'numeric = ["C1"]', "data: column names must be unique; twice: C1"),
    ("data", "rows = 1", "data.rows"),
    ("data", "rows = 1_000_000_001", "data.rows"),
    ("data", "rows = 100_000_000", "data: tables have 2600000000 rows in all"),
    ("data", "rows = 2.0", "data.rows"),
    ("data", "rows = true", "data.rows"),
    ("data", 'rows = "2000"', "data.rows"),
    ("data", "column_rows = { C1 = 1 }", "data.column_rows.C1"),
    ("data", "column_rows = { C99 = 10 }", "data: column_rows names C99"),
    ("data", "column_rows = { I1 = 10 }", "data: column_rows names I1"),
    ("data", "hash_seed = -1", "data.hash_seed"),
    ("data", "hash_seed = 9223372036854775808", "data.hash_seed"),
    ("data", "min_count = 0", "data.min_count"),
    ("data", "row_limit = 13", "data.row_limit"),
    ("model", 'kind = "wide_and_deep"', "model.kind"),
    ("model", "embedding_dim = 0", "model.embedding_dim"),
    ("model", "embedding_dim = 1025", "model.embedding_dim"),
    ("model", "bottom = []", "model.bottom"),
    ("model", "bottom = [0, 16]", "model.bottom.0"),
    ("model", "bottom = [512, 17]", "model: bottom must end with embedding_dim (16), not 17"),
    ("model", "top = []", "model.top"),
    ("model", "top = [65_537, 1]", "model.top.0"),
    ("model", "top = [8, 2]", "model: top must end with 1 (the logit), not 2"),
    ("results", "model_parties = []", "results.model_parties"),
    ("results", 'model_parties = ["Acme"]', "results.model_parties.0"),
    ("training", "batch = 0", "training.batch"),
    ("training", "batch = 65_537", "training.batch"),
    ("training", "batch = 128.5", "training.batch"),
    ("training", "epochs = 0", "training.epochs"),
    ("training", "seed = -1", "training.seed"),
    ("training", "threads = 0", "training.threads"),
    ("training", "threads = 257", "training.threads"),
    ("training", "checkpoint_steps = -1", "training.checkpoint_steps"),
    ("training.dense", 'kind = "lazy_adam"', "training.dense.kind"),
    ("training.rows", 'kind = "adam"', "training.rows.kind"),
    ("training.dense", "momentum = 1.0", "training.dense.momentum"),
    ("training.rows", "beta_2 = 1.0", "training.rows.beta_2"),
    ("training.schedule", "power = 0", "training.schedule.power"),
    ("training", "local_steps = 0", "training.local_steps"),
    ("training.local", 'dense = { kind = "lazy_adam" }\nrows = {}', "training.local.dense.kind"),
    ("training.local", "dense = {}", "training.local.rows"),
    ("training.local", 'dense = {}\nrows = {}\nrow_merge = "sum"', "training.local.row_merge"),
    ("training.local", "dense = {}\nrows = {}\nproximal = -1", "training.local.proximal"),
    ("training", 'exchange = "float16"', "training.exchange"),
    ("training", 'exchange = "top-k"\nexchange_share = 0', "training.exchange_share"),
    ("training", 'exchange = "top-k"\nexchange_share = 0.26', "training.exchange_share"),
    ("training", "update_norm = 0", "training.update_norm"),
    ("training", "party_weight = 1.5", "training.party_weight"),
    ("training.dense", 'kind = "rowwise_adagrad"', "training.dense.kind"),
    ("training.dense", "learning_rate = 0", "training.dense.learning_rate"),
    ("training.dense", "learning_rate = 101", "training.dense.learning_rate"),
    ("training.dense", "learning_rate = nan", "training.dense.learning_rate"),
    ("training.dense", "learning_rate = inf", "training.dense.learning_rate"),
    ("training.dense", "initial_accumulator = -1", "training.dense.initial_accumulator"),
    ("training.dense", "epsilon = 0", "training.dense.epsilon"),
    ("training.rows", 'kind = "ftrl"', "training.rows.kind"),
    ("training.rows", "learning_rate = -0.1", "training.rows.learning_rate"),
    ("training.rows", "epsilon = 2", "training.rows.epsilon"),
    ("limits", "join_seconds = 0", "limits.join_seconds"),
    ("limits", "join_seconds = inf", "limits.join_seconds"),
    ("limits", "step_seconds = 86_401", "limits.step_seconds"),
    ("limits", "evaluation_minimum = 0", "limits.evaluation_minimum"),
    ("enclave", "size_gib = 0", "enclave.size_gib"),
    ("enclave", "max_threads = 0", "enclave.max_threads"),
    ("trust", 'tee = "none"', "trust.tee"),
    ("trust", "certificate_minutes = 0", "trust.certificate_minutes"),
    ("trust", "certificate_minutes = 1441", "trust.certificate_minutes"),
    ("trust", "reattestation_minutes = 0", "trust.reattestation_minutes"),
    ("trust", 'not_after = "2030-01-01"', "trust.not_after"),
    ("trust", 'not_after = "2030-02-30T00:00:00Z"', "trust.not_after"),
    ("trust", "not_after = 2030-01-01T00:00:00Z", "trust.not_after"),
    ("trust.roles.ps", 'measurement = "any"', "trust.roles.ps.measurement"),
    ("trust.roles.ps", 'mrenclave = ["11"]', "trust.roles.ps.mrenclave.0"),
    ("trust.roles.ps", f'mrenclave = ["{"AB" * 32}"]', "trust.roles.ps.mrenclave.0"),
    ("trust.roles.ps", 'accepted_tcb_statuses = ["Revoked"]', "accepted_tcb_statuses.0"),
    ("trust.roles.ps", "accepted_tcb_statuses = []", "accepted_tcb_statuses is empty"),
    ("trust.roles.ps", 'accepted_advisories = ["SA-1"]', "accepted_advisories.0"),
    ("trust.roles.ps", "minimum_tcb_evaluation_number = 0", "minimum_tcb_evaluation_number"),
    ("trust.roles.ps", 'fmspc = ["00"]', "trust.roles.ps.fmspc.0"),
    ("trust.roles.ps", 'ppid = ["00"]', "trust.roles.ps.ppid.0"),
    (
        "trust.roles.ps",
        f'mrsigner = "{"33" * 32}"',
        "mrsigner, isv_prod_id and minimum_isv_svn go together",
    ),
    ("trust.roles.ps", "minimum_isv_svn = 65536", "trust.roles.ps.minimum_isv_svn"),
    ("trust.roles.ps", 'refused_advisories = ["SA-1"]', "trust.roles.ps.refused_advisories.0"),
    (
        "trust.roles.ps",
        'refused_advisories = ["INTEL-SA-00001"]\naccepted_advisories = ["INTEL-SA-00002"]',
        "accepted_advisories and refused_advisories are two ways to say it",
    ),
    ("trust.roles.ps", "out_of_date_grace_days = -1", "trust.roles.ps.out_of_date_grace_days"),
    (
        "trust.roles.ps",
        "out_of_date_grace_days = 30",
        "accepted_tcb_statuses lists no OutOfDate",
    ),
    ("trust.roles.ps", "refuse_smt = 1", "trust.roles.ps.refuse_smt"),
]


@pytest.mark.parametrize(
    ("section", "line", "key"),
    IMPOSSIBLE_VALUES,
    ids=[f"{s}: {x}" for s, x, _ in IMPOSSIBLE_VALUES],
)
def test_an_impossible_value_is_refused_by_the_name_of_its_key(
    section: str, line: str, key: str
) -> None:
    with pytest.raises(ContractInvalid) as refused:
        parse(with_section(section, line))
    assert key in refused.value.seen
    assert refused.value.expected
    assert refused.value.remedy


IMPOSSIBLE_NAMES = [
    (replaced(HFL, "hfl-example", "HFL"), "name"),
    (replaced(HFL, "hfl-example", "-x"), "name"),
    (replaced(HFL, "hfl-example", "x" * 64), "name"),
    (replaced(HFL, "hfl-example", "../../etc"), "name"),
    (replaced(HFL, "hfl-example", "x\\n"), "name"),
    (replaced(HFL, 'name = "ps0"', 'name = "ps.0"'), "nodes.0.name"),
    (replaced(HFL, "format = 1", "format = 2"), "format"),
    (replaced(HFL, 'mode = "hfl"', 'mode = "vertical"'), "mode"),
    (replaced(HFL, 'role = "ps"', 'role = "auditor"'), "nodes.0.role"),
    (replaced(HFL, '"operator"\n', '"operator"\nkey = "ed25519:00"\n'), "parties.0.key"),
    (replaced(HFL, '"operator"\n', f'"operator"\nkey = "{KEY.upper()}"\n'), "parties.0.key"),
    *(
        (replaced(HFL, "127.0.0.1:7440", address), "nodes.0.address")
        for address in (
            "",
            "localhost",
            ":7440",
            "host:",
            "host:x",
            "host:65535",
            "host:65536",
            "http://host:7440",
            "host:-1",
            "\\u001b[2J:1",
            "a\\nb:1",
        )
    ),
]


@pytest.mark.parametrize(("text", "key"), IMPOSSIBLE_NAMES)
def test_an_impossible_name_is_refused_by_the_name_of_its_key(text: str, key: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        parse(text)
    assert f"{key}: " in refused.value.seen


WORKER = '[[nodes]]\nname = "dune-worker"\nrole = "worker"\nparty = "dune"\n'
CHIEF = '[[nodes]]\nname = "chief"\nrole = "chief"\nparty = "owner"\n'
PS_OF_HFL = '[[nodes]]\nname = "ps0"\nrole = "ps"\nparty = "operator"\naddress = "127.0.0.1:7440"\n'
ALL_WORKERS = HFL[HFL.index('[[nodes]]\nname = "acme-worker"') : HFL.index("[data]")]

INCONSISTENT = [
    ("no server", replaced(HFL, PS_OF_HFL, ""), "needs 1 to 64 nodes with role ps, not 0"),
    ("local steps without a rate", with_section("training", "local_steps = 2"), "go together"),
    ("the largest without a share", with_section("training", 'exchange = "top-k"'), "go together"),
    (
        "a share of what is sent whole",
        with_section("training", 'exchange = "int8"\nexchange_share = 0.1'),
        "go together",
    ),
    ("local optimizers without local steps", with_local(steps=1), "go together"),
    (
        "local steps with a rate and optimizers",
        replaced(with_local(), "local_steps = 4\n", "local_steps = 4\nlocal_learning_rate = 0.1\n"),
        "go together",
    ),
    (
        "local optimizers beside a server's defaults",
        replaced(with_local(), '[training.rows]\nkind = "sgd"\nlearning_rate = 1.0\n', ""),
        "[training.local] needs [training.dense] and [training.rows] beside it",
    ),
    (
        "two optimizers with state for the same rows",
        replaced(
            with_local(), '[training.rows]\nkind = "sgd"', '[training.rows]\nkind = "adagrad"'
        ),
        'needs rows.kind = "sgd", not "adagrad": a row has the state of one optimizer',
    ),
    (
        "a merge by sums of squares that nobody has",
        replaced(with_local(), 'rows = { kind = "adagrad" }', 'rows = { kind = "lazy_adam" }'),
        'row_merge = "adagrad" needs rows.kind = "adagrad" or "rowwise_adagrad", not "lazy_adam"',
    ),
    (
        "a rate without local steps",
        with_section("training", "local_learning_rate = 0.1"),
        "go together",
    ),
    ("a quorum without a grace", with_section("limits", "quorum = 3"), "go together"),
    (
        "a quorum that is no majority",
        with_section("limits", "quorum = 1\ngrace_seconds = 5"),
        "must be a strict majority",
    ),
    (
        "a grace beyond the step's limit",
        with_section("limits", "quorum = 3\ngrace_seconds = 500"),
        "grace_seconds must be below step_seconds",
    ),
    (
        "no worker",
        replaced(HFL, ALL_WORKERS, '[[nodes]]\nname = "c"\nrole = "chief"\nparty = "acme"\n'),
        "at least one node with role worker",
    ),
    (
        "federated chief",
        replaced(HFL, WORKER, WORKER.replace('"worker"', '"chief"')),
        "mode hfl has no chief: remove dune-worker",
    ),
    (
        "two workers of a federated party",
        replaced(HFL, WORKER, WORKER.replace('party = "dune"', 'party = "corn"')),
        "mode hfl needs one worker per party",
    ),
    ("no chief", replaced(SDT, CHIEF, ""), "exactly one node with role chief, not 0"),
    (
        "two chiefs",
        replaced(SDT, CHIEF, CHIEF + CHIEF.replace('"chief"', '"chief2"', 1)),
        "exactly one node with role chief, not 2",
    ),
    (
        "two nodes of one name",
        replaced(HFL, 'name = "dune-worker"', 'name = "corn-worker"'),
        "node names must be unique",
    ),
    (
        "two parties of one name",
        replaced(HFL, '[[parties]]\nname = "dune"', '[[parties]]\nname = "corn"'),
        "party names must be unique",
    ),
    (
        "a node of an unknown party",
        replaced(HFL, 'party = "dune"', 'party = "erin"'),
        "node dune-worker belongs to party 'erin', which is not in [[parties]]",
    ),
    (
        "a federated worker that listens",
        replaced(HFL, WORKER, WORKER + 'address = "10.0.0.1:1"\n'),
        "node dune-worker has an address, but a worker in mode hfl only dials out",
    ),
    (
        "a chief that listens",
        replaced(SDT, CHIEF, CHIEF + 'address = "10.0.0.1:1"\n'),
        "node chief has an address, but a chief in mode sdt only dials out",
    ),
    (
        "a model for a party that is not there",
        with_section("results", 'model_parties = ["erin"]'),
        "results.model_parties names 'erin', which is not in [[parties]]",
    ),
    (
        "a model for a party twice",
        with_section("results", 'model_parties = ["acme", "acme"]'),
        "results.model_parties must be unique",
    ),
    (
        "a model for a party that nobody takes it for",
        with_section("results", 'model_parties = ["operator"]'),
        "results.model_parties names operator, which has no worker and no chief",
    ),
    ("a role without reference values", replaced(HFL, PS_TRUST, ""), "[trust.roles.ps] is missing"),
    (
        "a simulated role that accepts nothing",
        replaced(HFL, 'measurement = "own"\n', ""),
        'trust.roles.ps needs measurement = "own" or a list mrenclave',
    ),
    (
        "own measurement of a real TEE",
        with_trust("sgx", 'measurement = "own"', *SGX),
        'trust.roles.ps.measurement = "own" is for simulated TEEs only',
    ),
    (
        "a real TEE without a party's key",
        replaced(with_trust("sgx", *SGX), f'key = "{KEY[:-1]}0"\n', ""),
        "party operator has no key",
    ),
    (
        "SGX without an enclave",
        with_trust("sgx", *SGX[1:]),
        "trust.roles.ps needs mrenclave, or mrsigner",
    ),
    (
        "SGX without a floor for collateral",
        with_trust("sgx", *SGX[:2]),
        "trust.roles.ps.minimum_tcb_evaluation_number is missing",
    ),
    *(
        (
            f"TDX without {name}",
            with_trust("tdx", *(line for line in TDX if not line.startswith(f"{name} "))),
            f"trust.roles.ps.{name} is missing",
        )
        for name in TDX_VALUES
    ),
]


@pytest.mark.parametrize(
    ("text", "words"), [row[1:] for row in INCONSISTENT], ids=[row[0] for row in INCONSISTENT]
)
def test_parts_that_do_not_fit_together_are_refused(text: str, words: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        parse(text)
    assert words in refused.value.seen


@pytest.mark.parametrize(
    "text",
    [
        with_trust("sgx", *SGX),
        with_trust(
            "sgx",
            f'mrsigner = "{"33" * 32}"',
            "isv_prod_id = 1",
            "minimum_isv_svn = 2",
            *SGX[1:],
        ),
        with_trust("tdx", *TDX),
    ],
    ids=["sgx by enclave", "sgx by signer", "tdx"],
)
def test_complete_reference_values_of_real_tees_are_accepted(text: str) -> None:
    assert parse(text).trust.roles.ps is not None


def test_only_the_first_five_problems_are_listed_and_the_rest_counted() -> None:
    text = HFL + "".join(f"\n[x{i}]\n" for i in range(9))
    with pytest.raises(ContractInvalid) as refused:
        parse(text)
    assert refused.value.seen.count("unknown key") == 5
    assert refused.value.seen.endswith("and 4 more")


def test_a_contract_cannot_be_changed() -> None:
    contract = parse(HFL)
    with pytest.raises(ValueError, match="frozen"):
        contract.training.batch = 1  # type: ignore[misc]


# column names are matched by Python's re, whose $ lets a last newline through.
def test_a_column_name_with_a_newline_at_its_end_is_refused() -> None:
    with pytest.raises(ContractInvalid, match="not valid"):
        parse(with_section("data", 'numeric = ["I1\\n"]'))


# 1e-60 is 0 as float32; Adagrad then divides a zero gradient by zero.
@pytest.mark.parametrize("section", ["training.dense", "training.rows"])
def test_an_epsilon_that_float32_rounds_to_zero_is_refused(section: str) -> None:
    with pytest.raises(ContractInvalid, match="not valid"):
        parse(with_section(section, "epsilon = 1e-60"))


def test_the_model_goes_to_those_who_own_data_unless_the_contract_says_otherwise() -> None:
    named = with_section("results", 'model_parties = ["dune", "bolt"]')
    workers = ["acme-worker", "bolt-worker", "corn-worker", "dune-worker"]
    assert [node.name for node in parse(HFL).model_recipients()] == workers
    assert [node.name for node in parse(SDT).model_recipients()] == ["chief"]
    assert [node.name for node in parse(named).model_recipients()] == [workers[1], workers[3]]


@pytest.mark.parametrize(
    ("section", "update", "seen"),
    [
        ("training", {"batch": -1}, "batch: Input should be greater than or equal to 1"),
        ("training", {"batch": "128"}, "batch: Input should be a valid integer"),
        ("training", {"bacth": 64}, "bacth: unknown key"),
        ("data", {"numeric": ("C1",)}, "column names must be unique"),
        ("data", {"decimals": {"I99": 2}}, "decimals names I99"),
        ("", {"mode": "sdt"}, "chief"),
        ("", {"training": {"batch": 0}}, "batch: Input should be greater than"),
        ("", {"model": {"kind": "keras"}}, "model.layers"),
        ("", {"nodes": ()}, "nodes: Tuple should have at least 2 items"),
    ],
)
def test_a_copy_with_other_values_is_checked_as_a_file_is(
    section: str, update: dict[str, object], seen: str
) -> None:
    contract = load_contract(EXAMPLES / "hfl.toml")
    old = getattr(contract, section) if section else contract
    with pytest.raises(ContractInvalid, match="is not valid") as refusal:
        old.model_copy(update=update)
    assert seen in refusal.value.seen


def test_a_copy_with_other_values_is_what_a_file_of_them_would_be() -> None:
    contract = load_contract(EXAMPLES / "hfl.toml")
    training = contract.training.model_copy(update={"batch": 64})
    changed = contract.model_copy(update={"training": training})
    text = (EXAMPLES / "hfl.toml").read_text(encoding="utf-8")
    wanted = re.sub(r"(?m)^batch = \d+", "batch = 64", text)
    assert contract_digest(changed) == contract_digest(parse_contract(wanted.encode(), "changed"))
    assert contract.model_copy(update={"training": {"batch": 64}}) == changed
    assert contract.model_copy() == contract.model_copy(deep=True) == contract


def test_a_node_and_a_party_are_found_by_name() -> None:
    assert [CONTRACT.node(name).name for name in CONTRACT.node_names] == list(CONTRACT.node_names)
    assert [CONTRACT.party(name).name for name in CONTRACT.party_names] == list(
        CONTRACT.party_names
    )


@pytest.mark.parametrize(
    ("find", "what", "expected"),
    [
        (CONTRACT.node, "the contract has no node 'eve'", CONTRACT.node_names),
        (CONTRACT.party, "the contract has no party 'eve'", CONTRACT.party_names),
    ],
    ids=["node", "party"],
)
def test_a_name_that_the_contract_lacks_is_refused(
    find: Callable[[str], object], what: str, expected: tuple[str, ...]
) -> None:
    with pytest.raises(ContractInvalid) as refused:
        find("eve")
    assert (refused.value.what, refused.value.seen) == (what, "eve")
    assert refused.value.expected == f"one of {', '.join(expected)}"
