"""Synthetic files are Criteo-shaped, learnable up to a known AUC, and a function of rows and seed."""

from pathlib import Path

import numpy as np
import pytest

from coterie.contract import DataSection
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.numeric import MISSING
from coterie.data.prepare.reader import CriteoReader
from coterie.data.prepare.synthetic import synthesize
from coterie.data.prepare.synthetic_model import CATEGORICAL, NUMERIC, World
from coterie.errors import EnvironmentUnfit, OutputInUse

pytestmark = pytest.mark.long


def content(path: Path) -> bytes:
    return b"".join(RawFile(path).pieces())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "raw.tsv"
    synthesize(path, rows=20_000, seed=7)
    return path


def test_the_reader_accepts_every_row_and_cells_are_missing_as_planted(raw: Path) -> None:
    blocks = list(CriteoReader(RawFile(raw), DataSection()).rows())
    numbers = np.concatenate([block.numeric_bn for block in blocks])
    lengths = np.concatenate([block.lengths_bm for block in blocks])
    labels = np.concatenate([block.labels_b for block in blocks])
    assert len(labels) == 20_000
    assert 0.23 < labels.mean() < 0.27
    np.testing.assert_allclose(
        (numbers == MISSING).mean(axis=0), [shape.missing for shape in NUMERIC], atol=0.015
    )
    np.testing.assert_allclose(
        (lengths == 0).mean(axis=0), [shape.missing for shape in CATEGORICAL], atol=0.015
    )
    assert set(np.unique(lengths)) == {0, 8}
    negative = ((numbers < 0) & (numbers != MISSING)).any(axis=0)
    assert np.flatnonzero(negative).tolist() == [1], "as in Criteo's data, I2 alone is negative"
    assert np.median(numbers[:, 4]) < numbers[:, 4].max() / 100, "heavy tails"


def test_ids_follow_a_power_law() -> None:
    ranks = World(7).draw(0, 50_000).features.ranks_bm
    for column, shape in enumerate(CATEGORICAL):
        counts = np.bincount(ranks[:, column], minlength=shape.ids)
        assert len(counts) == shape.ids
        expected = counts[0] * 3.0**-shape.exponent
        if shape.ids > 3:
            assert counts[2] == pytest.approx(expected, rel=0.25)


def test_the_planted_signal_is_worth_an_auc_of_about_080(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        report = synthesize(tmp_path / f"{seed}.tsv", rows=20_000, seed=seed)
        assert 0.78 < report.bayes_auc < 0.83
        assert 0.23 < report.positives / report.rows < 0.27


def test_same_rows_and_seed_same_bytes(raw: Path, tmp_path: Path) -> None:
    plain = b"".join(content(raw).splitlines(keepends=True)[:2_000])
    for suffix in ("", ".gz", ".xz", ".zst"):
        first, second = tmp_path / f"a.tsv{suffix}", tmp_path / f"b.tsv{suffix}"
        synthesize(first, rows=2_000, seed=7)
        synthesize(second, rows=2_000, seed=7)
        assert first.read_bytes() == second.read_bytes()
        assert content(first) == plain
        if suffix:
            assert first.stat().st_size < len(plain) / 2
    other = tmp_path / "other.tsv"
    synthesize(other, rows=2_000, seed=8)
    assert content(other) != plain


def test_a_longer_file_begins_with_a_shorter_one(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "raw.tsv"
    report = synthesize(path, rows=70_000, seed=7)
    assert report.rows == content(path).count(b"\n") == 70_000
    assert content(path).startswith(content(raw))


def test_it_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "raw.tsv"
    path.write_text("precious")
    with pytest.raises(OutputInUse, match="exists"):
        synthesize(path, rows=20, seed=0)
    assert path.read_text() == "precious"


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(_stage: str, _done: int, _total: int) -> None:
        raise InterruptedError

    with pytest.raises(EnvironmentUnfit, match="cannot be written"):
        synthesize(tmp_path / "raw.tsv.gz", rows=20, seed=0, progress=fail)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentUnfit, match="cannot be written"):
        synthesize(tmp_path / "file" / "raw.tsv", rows=20, seed=0)
