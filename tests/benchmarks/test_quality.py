"""The quality benchmark: settings, folds, and rare ids that borrow another id's row."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from benchmarks.quality.runs import Bench, Fold
from benchmarks.quality.settings import BEFORE, CHOSEN, Setting, decay_of, settings_of
from benchmarks.quality.tables import (
    Difference,
    calibration_error,
    difference,
    drift,
    held_out,
)
from coterie.contract import contract_digest, load_contract
from coterie.data.prepare.synthetic import synthesize
from coterie.data.split import split_rows
from coterie.metrics.intervals import paired_aucs
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.tensorflow

EXAMPLES = REPOSITORY / "examples"
SAMPLE_ROWS = 137_139
TRAIN_ROWS = 117_548


@pytest.mark.parametrize("name", ["criteo-sdt", "criteo-hfl"])
def test_the_chosen_setting_is_the_example(name: str) -> None:
    example = load_contract(EXAMPLES / f"{name}.toml")
    chosen = settings_of(example.mode)[0]

    tried = chosen.apply(example, TRAIN_ROWS, seed=0, row_limit=SAMPLE_ROWS)

    assert chosen.name == CHOSEN
    assert tried.training == example.training
    assert tried.data == example.data.model_copy(update={"row_limit": SAMPLE_ROWS})


@pytest.mark.parametrize("name", ["criteo-sdt", "criteo-hfl"])
def test_every_setting_is_another_contract(name: str) -> None:
    example = load_contract(EXAMPLES / f"{name}.toml")
    settings = settings_of(example.mode)
    contracts = [one.apply(example, 1000, seed=0, row_limit=SAMPLE_ROWS) for one in settings]

    assert len({contract_digest(one) for one in contracts}) == len(contracts)
    assert {one.name for one in settings} >= {CHOSEN, BEFORE}


@pytest.mark.parametrize(
    ("steps", "share", "schedule"),
    [
        (919, 0.15, {"decay_start": 781, "decay_steps": 138}),
        (100, 0.5, {"decay_start": 50, "decay_steps": 50}),
        (100, 0.0, {}),
    ],
)
def test_rates_decay_to_the_last_step(steps: int, share: float, schedule: dict[str, int]) -> None:
    assert decay_of(steps, share) == schedule


def test_seeds_share_their_rows_and_folds_do_not() -> None:
    random = np.random.default_rng(5)
    labels = (random.random(400) < 0.3).astype(np.float32)
    one, other = labels + random.normal(size=(2, 400)).astype(np.float32)
    pair = (labels, one, other)
    paired = paired_aucs([one, other], labels)
    assert paired is not None
    gain = paired.gains[0]

    assert difference([[pair, pair, pair]]).error == pytest.approx(gain.standard_error)
    two = difference([[pair], [pair]])
    assert two.value == pytest.approx(gain.value)
    assert two.error == pytest.approx(gain.standard_error / np.sqrt(2))
    assert str(Difference(0.002, 0.001)) == "+0.0020 [+0.0000, +0.0040]"


def test_the_error_of_a_calibration_is_that_of_drawing_rows_anew() -> None:
    random = np.random.default_rng(6)
    predictions = random.beta(1, 3, size=500)
    labels = (random.random(500) < predictions).astype(np.float64)
    drawn = random.integers(500, size=(4000, 500))
    ratios = predictions[drawn].mean(axis=1) / labels[drawn].mean(axis=1)

    assert calibration_error(predictions, labels) == pytest.approx(ratios.std(), rel=0.05)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "raw.tsv"
    synthesize(path, rows=1400, seed=3)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An example with a small model."""
    text = (EXAMPLES / "criteo-hfl.toml").read_text()
    layers = "[model]\nembedding_dim = 4\nbottom = [8, 4]\ntop = [8, 1]\n\n[trust]\n"
    path = tmp_path_factory.mktemp("example") / "small.toml"
    path.write_text(text.replace("[trust]\n", layers, 1))
    return path


def test_rare_ids_borrow_rows_of_small_tables_only(
    sample: Path, small: Path, tmp_path: Path
) -> None:
    bench = Bench(sample, small, tmp_path)
    crowded = bench.trial(Setting("crowded", data={"rows": 20}), "validation", 0).parts
    roomy = bench.trial(Setting("roomy", data={"rows": 1_000_000}), "validation", 0).parts

    for part, few in crowded.items():
        many = roomy[part]
        assert len(few.labels) == len(many.labels) == 100
        assert few.rare == many.rare > 0.1
        assert few.borrowed > 0.5
        assert many.borrowed < 0.02
        assert not np.array_equal(few.logits, few.exact)
        np.testing.assert_allclose(many.logits, many.exact, atol=0.01)


def test_the_rolling_fold_uses_no_held_out_rows(sample: Path, small: Path, tmp_path: Path) -> None:
    bench = Bench(sample, small, tmp_path)
    folds: tuple[Fold, ...] = get_args(Fold)
    limits = {fold: bench.contract(Setting("any"), fold, 0).data.row_limit for fold in folds}

    assert limits == {"rolling": split_rows(1400).train.stop, "validation": 1400, "test": 1400}


def test_drift_compares_clicks_of_training_rows_late_ones_and_held_out_ones(
    sample: Path, small: Path, tmp_path: Path
) -> None:
    clicks = np.array([line[0] == "1" for line in sample.read_text().splitlines()])
    shares = clicks[:1200].mean(), clicks[1020:1200].mean(), clicks[1300:].mean()

    table = drift(Bench(sample, small, tmp_path), Setting("any"), ["validation"], [0])

    head = ["validation", "100", *(f"{share:.2%}" for share in shares)]
    assert table.splitlines()[2].startswith(f"| {' | '.join(head)} |")


def test_a_trial_is_kept_and_read_again(sample: Path, small: Path, tmp_path: Path) -> None:
    setting = Setting("any", data={"rows": 50})
    first = Bench(sample, small, tmp_path).trial(setting, "rolling", 0)
    files = sorted(tmp_path.iterdir())
    again = Bench(sample, small, tmp_path).trial(setting, "rolling", 0)

    assert sorted(tmp_path.iterdir()) == files
    assert again.model_bytes == first.model_bytes
    np.testing.assert_array_equal(again.row_ids, first.row_ids)
    assert len(held_out(again, "rolling")) == 2
    for part in first.parts:
        np.testing.assert_array_equal(again.parts[part].logits, first.parts[part].logits)
