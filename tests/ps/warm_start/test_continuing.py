"""A contract's start is made of what a run left, or refused with what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coterie.contract import Contract, contract_digest, parse_contract
from coterie.errors import ContractInvalid, ModelDamaged, StartRefused
from coterie.nodes.start_section import continued
from coterie.trained.optimizer_state import STATE_NAME, read_state
from coterie.trained.trained_model import MODEL_NAME, TrainedModel
from tests.conftest import REPOSITORY
from tests.ps.warm_start.conftest import STEPS, contract, ran


def with_rows(made: Contract, rows: int) -> Contract:
    return made.model_copy(update={"data": made.data.model_copy(update={"rows": rows})})


def test_a_start_names_all_that_there_is(before: Path) -> None:
    start = continued(contract(), before, receipt="cd" * 32).start
    assert start is not None
    assert start.model_dump() == {
        "model": TrainedModel.read(before / MODEL_NAME).digest.hex(),
        "contract": contract_digest(contract()).hex(),
        "step": STEPS,
        "optimizer_state": read_state(before / STATE_NAME).digest.hex(),
        "optimizer_updates": None,
        "party": None,
        "new_columns": (),
        "grown": {},
        "receipt": "cd" * 32,
    }


def test_the_same_run_gives_the_same_contract(before: Path) -> None:
    """So a run that was interrupted goes on when the same command is given."""
    assert contract_digest(continued(contract(), before)) == contract_digest(
        continued(contract(), before)
    )


def test_tables_that_grew_and_columns_that_came_are_named(before: Path) -> None:
    data = contract().data.model_copy(
        update={
            "numeric": ("I1", "I9", "I2"),
            "categorical": ("C1", "C2", "C3", "C9"),
            "column_rows": {"C2": 599, "C9": 7},
        }
    )
    start = continued(contract().model_copy(update={"data": data}), before).start
    assert start is not None
    assert (start.new_columns, start.grown) == (("I9", "C9"), {"C2": 300})


def test_a_growth_by_no_whole_multiple_is_refused(before: Path) -> None:
    with pytest.raises(ContractInvalid) as refused:
        continued(with_rows(contract(), 400), before)
    assert (
        "the table of C1 cannot grow from 300 to 400 rows, since ids would change their rows: only to "
        "1 + 299 times 2, 3, ..., such as 599" in refused.value.seen
    )


def test_smaller_tables_are_refused(before: Path) -> None:
    with pytest.raises(StartRefused, match="has other table sizes than the contract says"):
        continued(with_rows(contract(), 200), before)


def test_a_run_without_an_optimizer_state_says_what_to_do(tmp_path: Path) -> None:
    silent = contract().model_copy(
        update={"results": contract().results.model_copy(update={"optimizer_state": False})}
    )
    ran(silent, tmp_path / "before")
    assert not (tmp_path / "before" / STATE_NAME).exists()
    with pytest.raises(StartRefused, match="holds no optimizer state") as refused:
        continued(silent, tmp_path / "before")
    assert "--new-optimizer-state" in refused.value.remedy
    assert "results.optimizer_state = true" in refused.value.expected
    start = continued(silent, tmp_path / "before", new_optimizer_state=True).start
    assert start is not None
    assert start.optimizer_state == "new"


def test_the_state_of_another_model_is_refused(before: Path, tmp_path: Path) -> None:
    other = contract().training.model_copy(update={"seed": 3})
    ran(contract().model_copy(update={"training": other}), tmp_path / "other")
    shutil.copy(tmp_path / "other" / STATE_NAME, before / STATE_NAME)
    with pytest.raises(StartRefused, match=r"the optimizer state in .* is of another model"):
        continued(contract(), before)


def test_other_optimizers_need_a_new_state(before: Path) -> None:
    rows = contract().training.rows.model_copy(update={"kind": "adagrad"})
    other = contract().model_copy(
        update={"training": contract().training.model_copy(update={"rows": rows})}
    )
    with pytest.raises(StartRefused, match="is of other optimizers") as refused:
        continued(other, before)
    assert refused.value.seen == "adam, rowwise_adagrad"
    assert continued(other, before, new_optimizer_state=True).start is not None


def test_plain_sgd_needs_no_state(tmp_path: Path) -> None:
    plain = contract().training.model_copy(
        update={
            "dense": contract().training.dense.model_copy(update={"kind": "sgd"}),
            "rows": contract().training.rows.model_copy(update={"kind": "sgd"}),
        }
    )
    made = contract().model_copy(update={"training": plain})
    assert ran(made, tmp_path / "before").optimizer_state is None
    assert not (tmp_path / "before" / STATE_NAME).exists()
    start = continued(made, tmp_path / "before").start
    assert start is not None
    assert start.optimizer_state is None


def test_a_contract_that_has_a_start_gets_no_other(before: Path, going_on: Contract) -> None:
    with pytest.raises(ContractInvalid, match="names already what it goes on from"):
        continued(going_on, before)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDamaged, match="cannot be read"):
        continued(contract(), tmp_path)


HEX = "ab" * 32
START = f"""
[start]
model = "{HEX}"
contract = "{HEX}"
step = 9
optimizer_state = "{HEX}"
"""
# Lines of [start], and what the error says.
REFUSED = [
    ("step = 0", "start.step"),
    ('optimizer_state = "old"', "start.optimizer_state"),
    ("optimizer_updates = 10", "optimizer_updates (10) is more than step (9)"),
    (
        'optimizer_state = "new"\noptimizer_updates = 3',
        "optimizer_updates is for an optimizer_state that is given",
    ),
    ('party = "nobody"', "start.party names 'nobody', which is not in [[parties]]"),
    (
        'party = "operator"',
        "start.party names operator, which has no worker and no chief: nobody could give the start",
    ),
    ('new_columns = ["C1", "C1"]', "start.new_columns must be unique"),
    ('new_columns = ["X"]', "start.new_columns names X, which is no column of [data]"),
    (
        "new_columns = [" + ", ".join(f'"I{i}"' for i in range(1, 14)) + "]",
        "start.new_columns leaves the start without a numeric column",
    ),
    ("grown = { I1 = 5 }", "start.grown names I1, which is no table of the start"),
    (
        'new_columns = ["C1"]\ngrown = { C1 = 5 }',
        "start.grown names C1, which is no table of the start",
    ),
    ("grown = { C1 = 2000 }", "cannot grow from 2000 to 2000 rows"),
    ("grown = { C1 = 3000 }", "cannot grow from 3000 to 2000 rows"),
    ("grown = { C1 = 1000 }", "only to 1 + 999 times 2, 3, ..., such as 1999"),
    ("colour = 3", "start.colour: unknown key"),
]


def example(start: str) -> Contract:
    text = (REPOSITORY / "examples" / "hfl.toml").read_text()
    return parse_contract((text + start).encode(), "t")


@pytest.mark.parametrize(("lines", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_start_that_cannot_be_is_refused(lines: str, said: str) -> None:
    keys = {line.partition(" ")[0] for line in lines.splitlines()}
    kept = [line for line in START.splitlines() if line.partition(" ")[0] not in keys]
    with pytest.raises(ContractInvalid) as refused:
        example("\n".join([*kept, lines]))
    assert said in refused.value.seen


@pytest.mark.parametrize(
    ("schedule", "fits"),
    [
        ("decay_start = 8\ndecay_steps = 1", False),  # the start holds 9
        ("decay_start = 8\ndecay_steps = 2", True),
        ("decay_start = 8\ndecay_steps = 1\nfinal = 0.1", True),
        ("warmup_steps = 2", True),
    ],
)
def test_a_schedule_that_has_come_to_nothing_before_the_start_is_refused(
    schedule: str, fits: bool
) -> None:
    text = (REPOSITORY / "examples" / "hfl.toml").read_text()
    text = text.replace(
        "[training.dense]", f"[training.schedule]\n{schedule}\n\n[training.dense]", 1
    )
    if fits:
        assert parse_contract((text + START).encode(), "t").start
        return
    with pytest.raises(ContractInvalid) as refused:
        parse_contract((text + START).encode(), "t")
    assert (
        "training.schedule ends at update 9, and its rates are 0 from there on: the model holds 9 "
        "already, so nothing would be trained" in refused.value.seen
    )


def test_new_inputs_of_a_layer_have_no_part_in_sums_over_all_of_them() -> None:
    text = (REPOSITORY / "examples" / "hfl.toml").read_text()
    factored = text.replace('kind = "adagrad"', 'kind = "factored_adagrad"', 1)
    with pytest.raises(ContractInvalid) as refused:
        parse_contract((factored + START + 'new_columns = ["I1"]').encode(), "t")
    assert 'which are also those of its new ones: write optimizer_state = "new"' in (
        refused.value.seen.replace("whose sums over the inputs of a layer are", "which are")
    )
    anew = START.replace(f'optimizer_state = "{HEX}"', 'optimizer_state = "new"')
    assert parse_contract((factored + anew + 'new_columns = ["I1"]').encode(), "t").start


def test_a_start_needs_a_state_where_the_optimizers_keep_one() -> None:
    without = START.replace(f'optimizer_state = "{HEX}"\n', "")
    with pytest.raises(ContractInvalid) as refused:
        example(without)
    assert "the optimizers adagrad, rowwise_adagrad keep state" in refused.value.seen


def test_a_start_needs_none_where_they_keep_none() -> None:
    text = (REPOSITORY / "examples" / "paper-hfl.toml").read_text()
    assert 'kind = "adagrad"' not in text
    with pytest.raises(ContractInvalid) as refused:
        parse_contract((text + START).encode(), "t")
    assert "start.optimizer_state is for optimizers that keep state, not sgd" in refused.value.seen


def test_the_giver_is_the_first_that_gets_the_model_or_who_is_named() -> None:
    assert contract().start_giver() is None
    assert getattr(example(START).start_giver(), "name", None) == "acme-worker"
    named = example(START + 'party = "corn"\n')
    assert getattr(named.start_giver(), "name", None) == "corn-worker"
