"""What the experiment runs: the paper's two schemes and hyperparameters, on both engines."""

from __future__ import annotations

import pytest

from coterie.contract import Contract, data_digest, load_contract
from coterie.paper.plan import Case, arguments_of, cases, contract_of, steps_of, table_rows
from tests.conftest import REPOSITORY

every_case = pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)


def contract(case: Case, examples: int | None = 117_548) -> Contract:
    return contract_of(case, rows=137_139, tables=100_000, examples=examples)


def test_both_schemes_run_on_both_engines_with_both_settings() -> None:
    found = {(case.scheme, case.engine, case.setting) for case in cases()}
    assert len(found) == 8
    asynchronous = [case.name for case in cases() if not case.synchronous]
    assert asynchronous == ["hfl-tensorflow-async-paper", "hfl-tensorflow-async-tuned"]


def test_names_differ_so_that_runs_have_folders_of_their_own() -> None:
    assert len({case.name for case in cases()}) == len(cases())


@every_case
def test_roles_are_those_of_the_paper(case: Case) -> None:
    roles = [node.role for node in contract(case).nodes]
    one_server_four_workers = ["ps", *["worker"] * 4]
    assert sorted(roles) == (
        one_server_four_workers if case.scheme == "hfl" else ["chief", "ps", "worker", "worker"]
    )


@every_case
def test_hyperparameters_are_those_of_the_paper_or_the_tuned_ones(case: Case) -> None:
    training = contract(case).training
    expected = ("sgd", 0.1, 0.1, 128) if case.setting == "paper" else ("adagrad", 0.01, 0.02, 64)
    dense, rows = training.dense, training.rows
    assert (dense.kind, dense.learning_rate, rows.learning_rate, training.batch) == expected


@every_case
def test_data_are_prepared_before_their_rows_are_counted(case: Case) -> None:
    """The schedule depends on the rows; the data section must not, or data would not fit the run."""
    before, after = contract(case, None), contract(case)
    assert data_digest(before.data) == data_digest(after.data)


@every_case
def test_tensorflow_is_named_for_its_engine_alone(case: Case) -> None:
    section = contract(case).tensorflow
    assert (section is not None) == (case.engine == "tensorflow")
    if section is not None:
        assert bool(section.operations) == (case.scheme == "hfl")


@pytest.mark.parametrize("name", ["federated.toml", "criteo-federated.toml"])
def test_operations_are_those_of_the_contracts_beside_the_program(name: str) -> None:
    """The parties of each sign what the same program's graphs need, and no more."""
    (ours,) = {
        section.operations
        for case in cases()
        if case.scheme == "hfl" and (section := contract(case).tensorflow) is not None
    }
    example = load_contract(REPOSITORY / "examples" / "tensorflow" / name).tensorflow
    assert example is not None
    assert example.operations == ours


def test_tuned_rates_of_our_engine_fall_at_the_end() -> None:
    (case,) = [one for one in cases() if one.name == "hfl-coterie-sync-tuned"]
    schedule = contract(case).training.schedule
    assert steps_of(case, 117_548, 1) == 460
    # as in examples/criteo-hfl.toml
    assert (schedule.decay_start, schedule.decay_steps) == (391, 69)


def test_an_asynchronous_program_counts_the_updates_of_all_workers() -> None:
    steps = {}
    for case in cases():
        if case.scheme == "hfl" and case.engine == "tensorflow" and case.setting == "paper":
            words = arguments_of(case, 117_548, 2, "scores")
            steps[case.synchronous] = int(words[words.index("--steps") + 1])
            assert ("--sync" in words) == case.synchronous
    assert steps == {True: 460, False: 4 * 460}


def test_tables_grow_with_the_data() -> None:
    assert table_rows(137_139) == 100_000
    assert table_rows(4_584_061) == 1_000_000
