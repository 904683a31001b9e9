"""When models are validated, which is best, and when training ends: pure rules."""

from __future__ import annotations

import pytest

from coterie.contract import ValidationSection
from coterie.ps.core.validations import (
    MOST_VALIDATIONS,
    ValidationPlan,
    Validations,
    overfits,
    steps_after,
)
from coterie.runs.records import Validated
from tests.ps.conftest import small_contract


def plan_of(steps_per_epoch: int, epochs: int = 1, **section: object) -> ValidationPlan:
    """The plan of a contract."""
    contract = small_contract(validation=dict(section), epochs=epochs)
    return ValidationPlan.of(contract, steps_per_epoch)


def validated(step: int, log_loss: float | None, auc: float | None = None) -> Validated:
    """A validation's result."""
    return Validated(step=step, examples=100, auc=auc, log_loss=log_loss, calibration=None)


@pytest.mark.parametrize(
    ("plan", "due"),
    [
        (plan_of(5, 3), [5, 10]),  # the end has its evaluation
        (plan_of(5, 3, keep="best"), [5, 10, 15]),
        (plan_of(5, 2, each_epoch=False), []),
        (plan_of(5, 2, each_epoch=False, every_steps=4), [4, 8]),
        (plan_of(5, 2, every_steps=4), [4, 5, 8]),
        (plan_of(5, 2, each_epoch=False, every_steps=5, keep="best"), [5, 10]),
        (plan_of(5, 1), []),
    ],
)
def test_when_models_are_validated(plan: ValidationPlan, due: list[int]) -> None:
    assert [step for step in range(plan.last + 3) if plan.due(step)] == due
    assert list(plan.between(0, plan.last + 2)) == due
    assert list(plan.between(4, 8)) == [step for step in due if 4 < step <= 8]


def test_the_interval_grows_where_there_would_be_too_many() -> None:
    many = plan_of(1000, 100, every_steps=1)
    assert len(list(many.between(0, many.last))) <= MOST_VALIDATIONS + 100
    epochs = plan_of(1, 10_000)
    assert len(list(epochs.between(0, epochs.last))) <= MOST_VALIDATIONS / 2


@pytest.mark.parametrize(
    ("section", "losses", "best", "stop"),
    [
        (ValidationSection(), [0.5, 0.4, 0.6, 0.7], 2, False),
        (ValidationSection(patience=2), [0.5, 0.4, 0.6, 0.7], 2, True),
        (ValidationSection(patience=2), [0.5, 0.4, 0.6, 0.39], 4, False),
        (ValidationSection(patience=1), [0.5, 0.5], 1, True),  # of equal ones the first
        (ValidationSection(patience=1, least_gain=0.05), [0.5, 0.48], 1, True),
        (ValidationSection(patience=1, least_gain=0.05), [0.5, 0.44], 2, False),
        (ValidationSection(patience=2), [None, None, None], 0, False),  # nothing may be told
        (ValidationSection(patience=1), [0.5, None], 1, False),
    ],
)
def test_the_best_and_the_end(
    section: ValidationSection, losses: list[float | None], best: int, *, stop: bool
) -> None:
    validations = Validations(section, leads=True)
    for step, loss in enumerate(losses, start=1):
        one = validated(step, loss)
        assert validations.is_best(one) == (step == best) or step < best
        assert validations.stop_with(one) == stop or step < len(losses)
        validations.done.append(one)
    assert (validations.best_step, validations.stop_with()) == (best, stop)


def test_auc_is_better_where_it_is_higher() -> None:
    validations = Validations(ValidationSection(metric="auc", keep="best"), leads=True)
    validations.done += [validated(1, 0.1, 0.7), validated(2, 0.9, 0.8), validated(3, 0.1, 0.6)]
    assert validations.kept_step == 2


def test_a_model_is_kept_only_where_the_contract_says_so() -> None:
    validations = Validations(ValidationSection(patience=1), leads=True)
    validations.done.append(validated(1, 0.5))
    assert (validations.best_step, validations.kept_step) == (1, 0)


def test_another_shard_goes_by_what_it_is_told() -> None:
    validations = Validations(ValidationSection(keep="best"), leads=False)
    assert not validations.over(8)
    validations.hear(3, ended=False)
    assert (validations.kept_step, validations.over(8)) == (3, False)
    validations.hear(5, ended=True)
    assert (validations.kept_step, validations.over(8)) == (5, True)
    assert Validations(ValidationSection(), leads=False).over(8), "nothing depends on validations"


@pytest.mark.parametrize(
    ("section", "told", "expected"),
    [
        ({}, [(5, 0.5), (10, 0.4)], (15, 15)),
        ({}, [], None),  # two were due
        ({}, [(5, 0.5)], None),
        ({}, [(5, 0.5), (9, 0.4)], None),
        ({}, [(5, 0.5), (10, 0.4), (15, 0.4)], None),  # the end has none
        ({"keep": "best"}, [(5, 0.5), (10, 0.4), (15, 0.6)], (15, 10)),
        ({"patience": 1}, [(5, 0.5), (10, 0.6)], (10, 10)),
        ({"patience": 1, "keep": "best"}, [(5, 0.5), (10, 0.6)], (10, 5)),
        ({"patience": 1}, [(5, 0.5)], None),  # it went on
        ({"patience": 1, "every_steps": 3}, [(3, 0.4), (5, 0.5), (6, 0.5)], None),  # it had ended
    ],
)
def test_what_an_account_must_say(
    section: dict[str, object], told: list[tuple[int, float]], expected: tuple[int, int] | None
) -> None:
    contract = small_contract(validation=section, epochs=3)
    validations = [validated(step, loss) for step, loss in told]
    assert steps_after(contract, 5, validations) == expected


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        ([(0.5, 0.5), (0.4, 0.45)], False),
        ([(0.5, 0.5), (0.4, 0.45), (0.3, 0.6)], True),
        ([(0.5, 0.5), (0.6, 0.6)], False),  # both rise: it diverges, or the data changed
        ([(0.5, 0.5), (None, 0.6)], False),
        ([(None, 0.5), (0.4, 0.6)], False),
        ([], False),
    ],
)
def test_overfitting(losses: list[tuple[float | None, float | None]], *, found: bool) -> None:
    assert overfits(losses) == found


@pytest.mark.parametrize("section", [{"patience": 1}, {"keep": "best"}])
def test_what_follows_from_validations_wants_some(section: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="patience and keep want validations: set every_steps"):
        ValidationSection.model_validate({"each_epoch": False, **section})
