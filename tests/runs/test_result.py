"""The record of a finished run: the same fields for every verb and transport."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from coterie.contract import Contract, contract_digest, load_contract
from coterie.metrics.binary import accuracy, log_loss, roc_auc
from coterie.metrics.histogram import ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.runs.events import ServerTimes, WorkerTimes
from coterie.runs.outcome import RunEnd, RunOutcome
from coterie.runs.result import RunResult, TransportName, result_of
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
HFL = load_contract(EXAMPLES / "hfl.toml")
LOGITS = np.linspace(-2, 2, 41)
LABELS = (np.arange(41) % 3 == 0).astype(np.float64)
COUNTS = ReleasedScores.of([ScoreHistogram.count(LOGITS, LABELS)])
OUTCOME = RunOutcome(
    steps=10,
    model_step=10,
    examples=5_000,
    seconds=4.0,
    train_loss=0.5,
    totals={"validation": COUNTS, "test": COUNTS},
    model_digest=bytes(range(32)),
    end=RunEnd("5e" * 32, "c4" * 32),
)
# The keys that issue #2 promises to whoever reads --json.
PROMISED = [
    "mode",
    "transport",
    "tee",
    "nodes",
    "steps",
    "examples",
    "seconds",
    "samples_per_second",
    "train_loss",
    "validation_auc",
    "test_auc",
    "test_logloss",
    "test_accuracy",
    "model_digest",
    "contract_digest",
]


def test_a_result_says_what_ran_and_how_well() -> None:
    result = result_of(OUTCOME, HFL, "ra-tls")
    assert set(PROMISED) <= set(result.model_dump())
    assert (result.mode, result.nodes, result.steps, result.examples) == ("hfl", 5, 10, 5_000)
    assert result.samples_per_second == 1_250
    assert result.model_digest == bytes(range(32)).hex()
    assert result.contract_digest == contract_digest(HFL).hex()


def test_metrics_are_those_of_the_counts() -> None:
    result, counted = result_of(OUTCOME, HFL, "memory"), ScoreHistogram.count(LOGITS, LABELS)
    assert result.validation_auc == result.test_auc == roc_auc(LOGITS, LABELS)
    assert result.test_logloss == pytest.approx(log_loss(LOGITS, LABELS))
    assert result.test_accuracy == accuracy(LOGITS, LABELS)
    assert result.test_calibration == pytest.approx(counted.prediction_sum / LABELS.sum())
    interval = counted.interval()
    assert interval is not None
    assert (result.test_auc_low, result.test_auc_high) == pytest.approx(
        (interval.low, interval.high)
    )
    assert (result.test_auc_error, result.test_auc_note) == (
        0,
        "only 14 positive examples: the AUC says little",
    )


@pytest.mark.parametrize(
    ("tee", "transport", "stamp"),
    [
        ("simulated", "ra-tls", "SIMULATED"),
        ("sgx", "ra-tls", "sgx"),
        ("tdx", "ra-tls", "tdx"),
        ("simulated", "memory", "none"),
        ("sgx", "memory", "none"),
        ("sgx", "PLAINTEXT", "none"),
    ],
)
def test_only_attested_transports_are_stamped_with_a_tee(
    tee: str, transport: TransportName, stamp: str
) -> None:
    trust = BaseModel.model_copy(HFL.trust, update={"tee": tee})  # unchecked
    contract: Contract = BaseModel.model_copy(HFL, update={"trust": trust})
    result = result_of(OUTCOME, contract, transport)
    assert (result.transport, result.tee) == (transport, stamp)


def test_withheld_totals_leave_their_metrics_out() -> None:
    result = result_of(replace(OUTCOME, totals={}), HFL, "memory")
    assert result.validation_auc is None
    assert result.test_auc is result.test_logloss is result.test_accuracy is None
    assert result.test_auc_low is result.test_auc_high is result.test_auc_error is None
    minimum = HFL.limits.evaluation_minimum
    assert (
        result.test_auc_note
        == result.validation_auc_note
        == f"withheld, because there are fewer than {minimum} (limits.evaluation_minimum) examples, or all are of one party"
    )
    keys = ("validation_auc", "test_auc", "test_logloss", "test_accuracy", "test_calibration")
    assert {result.absence(key) for key in keys} == {"withheld"}
    assert result.train_loss == 0.5


def test_one_class_has_no_auc() -> None:
    negatives = ReleasedScores.of([ScoreHistogram.count(LOGITS, np.zeros(41))])
    result = result_of(replace(OUTCOME, totals={"test": negatives}), HFL, "memory")
    assert result.test_auc is None
    assert result.test_calibration is None
    assert result.test_logloss is not None


def test_a_restart_at_the_end_has_no_speed() -> None:
    assert result_of(replace(OUTCOME, seconds=0.0), HFL, "memory").samples_per_second == 0


def test_json_round_trips() -> None:
    result = result_of(OUTCOME, HFL, "ra-tls")
    assert RunResult.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transport", "http"),
        ("tee", "simulated"),
        ("mode", "vertical"),
        ("model_digest", "00"),
        ("steps", "10"),
        ("typo", 1),
    ],
)
def test_other_values_are_refused(key: str, value: object) -> None:
    fields = result_of(OUTCOME, HFL, "ra-tls").model_dump()
    with pytest.raises(ValidationError, match=key):
        RunResult.model_validate({**fields, key: value})


# JSON has no NaN; it becomes null, which the run's directory then cannot read back.
def test_a_loss_that_is_not_finite_cannot_become_a_result() -> None:
    with pytest.raises(ValidationError):
        result_of(replace(OUTCOME, train_loss=float("nan")), HFL, "memory")


def test_a_result_says_where_the_time_went() -> None:
    server = ServerTimes("ps0", 10, decode=0.5, apply=1.0, read=0.25, wait=2.0)
    worker = WorkerTimes("w0", 10, prepare=0.1, compute=2.0, transport=0.5, server=1.5, wait=0.5)

    result = result_of(replace(OUTCOME, times=(server, worker)), HFL, "ra-tls")

    assert result.times == {
        "ps0": {"steps": 10, "decode": 0.5, "apply": 1.0, "read": 0.25, "wait": 2.0},
        "w0": {
            "steps": 10,
            "prepare": 0.1,
            "compute": 2.0,
            "transport": 0.5,
            "server": 1.5,
            "wait": 0.5,
        },
    }
    assert RunResult.model_validate_json(result.model_dump_json()) == result
    assert RunResult.model_validate(result.model_dump(mode="json")) == result
