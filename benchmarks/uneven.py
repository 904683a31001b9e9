"""Four companies of different size and base rate against the same rows in random order, in one place.

``python -m benchmarks.uneven SAMPLE`` cuts a Criteo file into four companies by how often the ids of
column C4 are clicked, prepares every company's rows as it would itself, and trains the contract of
``examples/criteo-hfl.toml``, with the settings that it had before they were chosen
(``benchmarks/quality``): as a federation, in file order and shuffled; with the same rows dealt out
evenly; and with all rows in random order in one place. All are judged on the same test rows.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.quality.settings import before
from coterie.contract import Contract, Node, load_contract
from coterie.data.dataset import DataSet, open_dataset
from coterie.data.examples import Examples, join_examples
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.preparation import prepare
from coterie.metrics.binary import Metrics
from coterie.metrics.histogram import ScoreHistogram
from coterie.nodes.baselines import ScoreKeeper
from coterie.nodes.local import run_local

SHARES = (30, 25, 26, 36)  # thousand training rows of a sample of 137,139
_LABEL, _BY = 0, 17  # fields of a line; the second is C4


@dataclass(frozen=True)
class Judged:
    """A model's quality on everybody's test rows, and its calibration by company."""

    whole: Metrics
    by_company: tuple[float | None, ...]


def cut_by_click_rate(sample: Path, out: Path, names: list[str]) -> list[Path]:
    """Writes a raw file per company, each in the order of the sample.

    Ids of C4 go to the companies from the most clicked on down, an id whole to one, until each has its
    share; the base rates of the sample's companies become 57, 28, 18 and 4 %.
    """
    lines = b"".join(RawFile(sample).pieces()).decode().splitlines()
    fields = [line.split("\t") for line in lines]
    labels = np.array([int(field[_LABEL]) for field in fields])
    ids, at = np.unique([field[_BY] for field in fields], return_inverse=True)
    counts = np.bincount(at)
    order = np.argsort(-np.bincount(at, labels) / counts, kind="stable")
    before = np.empty(ids.size)
    before[order] = np.cumsum(counts[order]) - counts[order]
    bounds = np.cumsum(SHARES) / sum(SHARES) * len(lines)
    company = np.searchsorted(bounds[:-1], before[at], side="right")
    files = []
    for number, name in enumerate(names):
        files.append(out / f"{name}.tsv")
        chosen = np.flatnonzero(company == number)
        files[-1].write_text("".join(f"{lines[i]}\n" for i in chosen))
    return files


class Trial:
    """The companies' prepared data, and trainings on them.

    Args:
        contract: Of the federation.
        data: Holds every company's data set.
    """

    def __init__(self, contract: Contract, data: Path) -> None:
        self._contract = contract
        self._owners = contract.by_role("worker")
        self._sets = [
            open_dataset(data / o.party, contract.data, party=o.party) for o in self._owners
        ]
        self.rows = [one.train.rows for one in self._sets]
        self.rates = [one.manifest.train.positives / one.train.rows for one in self._sets]

    def federation(self, seed: int, order: str) -> Judged:
        """All companies together, each with its own rows."""
        return self._judge(self._sets, self._with(seed, order=order), self._owners)

    def dealt(self, seed: int) -> Judged:
        """The same, with everybody's rows in random order dealt out evenly."""
        words = self._shuffled(seed)
        parts = [words[i :: len(self._sets)] for i in range(len(self._sets))]
        sets = [self._set(i, part, i) for i, part in enumerate(parts)]
        return self._judge(sets, self._with(seed), self._owners)

    def one_place(self, seed: int) -> Judged:
        """One worker with all rows in random order, and batches as large as the federation's steps."""
        batch = self._contract.training.batch * len(self._owners)
        nodes = (*self._contract.by_role("ps"), self._owners[0])
        alone = self._with(seed, batch=batch).model_copy(update={"nodes": nodes})
        return self._judge([self._set(0, self._shuffled(seed), None)], alone, self._owners[:1])

    def _with(self, seed: int, **training: object) -> Contract:
        section = self._contract.training.model_copy(update={"seed": seed, **training})
        return self._contract.model_copy(update={"training": section})

    def _shuffled(self, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
        words = np.concatenate([one.train.words for one in self._sets])
        mixed: np.ndarray[tuple[int, int], np.dtype[np.int32]] = np.random.default_rng(
            seed
        ).permutation(words)
        return mixed

    def _set(
        self, number: int, train: np.ndarray[tuple[int, int], np.dtype[np.int32]], held: int | None
    ) -> DataSet:
        """A data set with other training rows; ``held``: whose test rows, None: everybody's."""
        chosen = self._sets if held is None else [self._sets[held]]
        return DataSet(
            self._sets[number].manifest,
            Examples(train, self._contract.data),
            join_examples([one.validation for one in chosen]),
            join_examples([one.test for one in chosen]),
        )

    def _judge(self, sets: list[DataSet], contract: Contract, owners: tuple[Node, ...]) -> Judged:
        keeper = ScoreKeeper()
        by_name = {owner.name: one for owner, one in zip(owners, sets, strict=True)}
        run_local(contract, lambda node: by_name[node.name], _ignore, scores_of=keeper.sink_of)
        scores = keeper.of(owners)
        assert scores is not None
        ends = np.cumsum([one.test.rows for one in self._sets])[:-1]
        spans = itertools.pairwise([0, *ends.tolist(), len(scores.labels)])
        parts = [slice(*span) for span in spans]
        return Judged(
            ScoreHistogram.count(scores.logits, scores.labels).metrics(),
            tuple(
                ScoreHistogram.count(scores.logits[p], scores.labels[p]).metrics().calibration
                for p in parts
            ),
        )


def _ignore(_event: object) -> None:
    pass


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", type=Path, help="a Criteo file, plain or compressed")
    parser.add_argument("--contract", type=Path, default=Path("examples/criteo-hfl.toml"))
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    contract = before(load_contract(chosen.contract))
    names = [worker.party for worker in contract.by_role("worker")]
    with tempfile.TemporaryDirectory() as folder:
        raw, data = Path(folder, "raw"), Path(folder, "data")
        raw.mkdir()
        for name, file in zip(names, cut_by_click_rate(chosen.sample, raw, names), strict=True):
            prepare(file, data, contract, party=name)
        trial = Trial(contract, data)
        shown = zip(names, trial.rows, trial.rates, strict=True)
        print("companies:", ", ".join(f"{n} {rows:,} rows, {rate:.0%}" for n, rows, rate in shown))
        print("\n| Training rows | AUC | Log loss | Calibration | By company |")
        print("| --- | --- | --- | --- | --- |")
        runs: dict[str, Callable[[int], Judged]] = {
            "random order, one place": trial.one_place,
            "random order, dealt evenly": trial.dealt,
            "uneven companies, file order": lambda seed: trial.federation(seed, "file"),
            "uneven companies, shuffled": lambda seed: trial.federation(seed, "shuffled"),
        }
        for name, run in runs.items():
            _print(name, [run(seed) for seed in range(chosen.seeds)])
            sys.stdout.flush()


def _print(name: str, found: list[Judged]) -> None:
    def mean(values: list[float | None]) -> float:
        return statistics.fmean(value for value in values if value is not None)

    auc, loss, calibration = (
        mean([getattr(one.whole, field) for one in found])
        for field in ("auc", "log_loss", "calibration")
    )
    by = [mean([one.by_company[i] for one in found]) for i in range(len(found[0].by_company))]
    print(
        f"| {name} | {auc:.4f} | {loss:.4f} | {calibration:.3f} | "
        f"{', '.join(f'{value:.2f}' for value in by)} |"
    )


if __name__ == "__main__":
    main()
