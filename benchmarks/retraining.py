"""A model that is trained on as time goes on, against one that is trained anew: ``python -m benchmarks.retraining FILE``.

FILE is raw data in Criteo's format, in the order of time. It is cut into seven slices; a model that has
learned the slices up to one is measured on the next. One company, one worker, one thread, in one process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import polars as pl

import coterie
from benchmarks.machine import description
from benchmarks.markdown import write_page
from coterie.arrays import Float64Array
from coterie.contract import parse_contract
from coterie.data.prepare.compression import RawFile
from coterie.metrics.intervals import Interval, paired_aucs
from coterie.models.backend import configure_tensorflow
from coterie.runs.events import Event, Joined, StepDone

SLICES = 7
_TESTED = 6  # `coterie prepare` trains on six sevenths: with a sixth more rows, on a slice exactly
MARK = "<!-- What follows is written by: python -m benchmarks.retraining FILE --write. -->"
_QUANTILE = 1.96  # of the normal distribution, two-sided 95 %
WAYS = ("continued", "from scratch", "latest slice only", "never again")
CONTRACT = """
format = 1
name = "retraining"
mode = "sdt"
parties = [{ name = "owner" }]
nodes = [
    { name = "chief", role = "chief", party = "owner" },
    { name = "ps0", role = "ps", party = "owner" },
    { name = "worker0", role = "worker", party = "owner" },
]
[data]
rows = 10000
min_count = 2
hash_seed = 2022
[training]
batch = 128
seed = SEED
[training.dense]
kind = "adagrad"
learning_rate = 0.01
[training.rows]
kind = "rowwise_adagrad"
learning_rate = 0.01
[results]
optimizer_state = true
[trust]
tee = "simulated"
"""
_ROLE = '[trust.roles.{}]\nmeasurement = "own"\naccepted_tcb_statuses = ["UpToDate"]\n'


@dataclass(frozen=True)
class Trained:
    """A model on the slice after those that it has learned.

    Attributes:
        scores: Of that slice's rows.
        seconds: Of the processor, from the last join to the last step.
        examples: Trained for it, since the model before.
    """

    scores: Float64Array
    seconds: float
    examples: int


class Slices:
    """The raw file, cut.

    Args:
        raw: The file.
        folder: For what is made of it.
    """

    def __init__(self, raw: Path, folder: Path) -> None:
        every = b"".join(RawFile(raw).pieces()).splitlines(keepends=True)
        size = len(every) // SLICES // _TESTED * _TESTED
        self._rows = [every[index * size : (index + 1) * size] for index in range(SLICES)]
        self._folder = folder
        self.size = size

    def labels(self, index: int) -> Float64Array:
        """Of a slice's rows, float64 [n]."""
        return np.array([float(row.partition(b"\t")[0]) for row in self._rows[index]])

    def alone(self, index: int) -> Path:
        """A file of a slice's rows."""
        return self._written(f"slice{index}.tsv", self._rows[index])

    def to_train(self, first: int, last: int) -> Path:
        """A file of which all rows of some slices train, and the first of the next one are held out."""
        rows = [row for one in self._rows[first : last + 1] for row in one]
        held_out = self._rows[last + 1][: len(rows) // _TESTED]
        return self._written(f"train{first}-{last}.tsv", [*rows, *held_out])

    def _written(self, name: str, rows: Sequence[bytes]) -> Path:
        path = self._folder / name
        if not path.exists():
            path.write_bytes(b"".join(rows))
        return path


class _Watch:
    """Hears a run's events: how long training kept this process's processor busy."""

    def __init__(self) -> None:
        self._began = self._ended = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Joined) and not event.missing:
            self._began = time.process_time()
        elif isinstance(event, StepDone):
            self._ended = time.process_time()

    @property
    def seconds(self) -> float:
        """From the last join to the last step."""
        return self._ended - self._began


def trained(
    slices: Slices, seed: int, which: range, out: Path, start: Path | None = None
) -> Trained:
    """Trains on some slices, and scores the one after them."""
    first, last = which[0], which[-1]
    roles = "".join(_ROLE.format(role) for role in ("ps", "worker", "chief"))
    contract = parse_contract((CONTRACT.replace("SEED", str(seed)) + roles).encode(), "retraining")
    data = out.with_name(f"{out.name}-data")
    coterie.prepare(slices.to_train(first, last), data, contract)
    agreed = contract if start is None else coterie.continue_from(start, contract=contract)
    watch = _Watch()
    result = coterie.local(agreed, data, out=out, start=start, on_event=watch)
    assert result.examples == len(which) * slices.size
    scores = scored(slices, last + 1, out)
    return Trained(scores, watch.seconds, result.examples)


def scored(slices: Slices, index: int, run: Path) -> Float64Array:
    """A run's model on a slice, float64 [n]."""
    path = run.with_name(f"{run.name}-slice{index}.csv")
    coterie.predict(coterie.load_model(run), slices.alone(index), path)
    return pl.read_csv(path)["probability"].to_numpy().astype(np.float64)


def retrain(slices: Slices, seed: int, folder: Path) -> list[dict[str, Trained]]:
    """All ways, slice after slice."""
    found: list[dict[str, Trained]] = []
    for last in range(SLICES - 1):
        start = folder / f"continued{last - 1}" if last else None
        continued = trained(slices, seed, range(last, last + 1), folder / f"continued{last}", start)
        ways = {"continued": continued}
        if not last:
            found.append(dict.fromkeys(WAYS, continued))
            continue
        ways["from scratch"] = trained(slices, seed, range(last + 1), folder / f"scratch{last}")
        ways["latest slice only"] = trained(
            slices, seed, range(last, last + 1), folder / f"latest{last}"
        )
        first = scored(slices, last + 1, folder / "continued0")
        ways["never again"] = Trained(first, 0.0, 0)
        found.append(ways)
        sys.stderr.write(f"seed {seed}, slices up to {last + 1}\n")
    return found


def log_loss(scores: Float64Array, labels: Float64Array) -> float:
    """Mean over the rows."""
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels == 1, np.log(clipped), np.log1p(-clipped))))


def tables(slices: Slices, seeds: list[list[dict[str, Trained]]]) -> str:
    """The figures as Markdown: means over the seeds."""
    heads = (
        "AUC continued",
        "from scratch",
        "difference (95 %)",
        "latest slice only",
        "never again",
    )
    quality = [f"| Learned up to slice | {' | '.join(heads)} | log loss continued | from scratch |"]
    effort = [
        "| Learned up to slice | rows trained, continued | from scratch | CPU s, continued | from scratch |"
    ]
    quality.append("|---" * 8 + "|")
    effort.append("|---" * 5 + "|")
    seconds, rows = dict.fromkeys(WAYS, 0.0), dict.fromkeys(WAYS, 0)
    for last in range(SLICES - 1):
        labels = slices.labels(last + 1)
        runs = [found[last] for found in seeds]
        found_aucs = [_paired(run, labels) for run in runs]
        aucs = {way: mean(auc[way] for auc, _ in found_aucs) for way in WAYS}
        gains = [gain for _, gain in found_aucs]
        losses = [f"{mean(log_loss(run[way].scores, labels) for run in runs):.4f}" for way in WAYS]
        half = _QUANTILE * mean(gain.standard_error for gain in gains)
        cells = [f"{aucs['continued']:.4f}", f"{aucs['from scratch']:.4f}"]
        cells.append(f"{mean(gain.value for gain in gains):+z.4f} ± {half:.4f}")
        cells += [f"{aucs['latest slice only']:.4f}", f"{aucs['never again']:.4f}", *losses[:2]]
        quality.append(f"| {last + 1} | {' | '.join(cells)} |")
        for way in WAYS:
            seconds[way] += mean(run[way].seconds for run in runs)
            rows[way] += runs[0][way].examples
        cells = [f"{runs[0][way].examples:,}" for way in WAYS[:2]]
        cells += [f"{mean(run[way].seconds for run in runs):.1f}" for way in WAYS[:2]]
        effort.append(f"| {last + 1} | {' | '.join(cells)} |")
    cells = [f"{rows[way]:,}" for way in WAYS[:2]] + [f"{seconds[way]:.1f}" for way in WAYS[:2]]
    effort.append(f"| in all | {' | '.join(cells)} |")
    return "\n".join([*quality, "", *effort]) + "\n"


def _paired(run: dict[str, Trained], labels: Float64Array) -> tuple[dict[str, float], Interval]:
    paired = paired_aucs([run[way].scores for way in WAYS], labels)
    assert paired is not None
    aucs = {way: auc.value for way, auc in zip(WAYS, paired.aucs, strict=True)}
    return aucs, paired.gains[0]


def main() -> None:
    """Measures; prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retraining", description=__doc__)
    parser.add_argument("file", type=Path, help="raw data in Criteo's format, in the order of time")
    parser.add_argument("--seeds", type=int, default=3, help="runs to take the mean of")
    parser.add_argument("--write", type=Path, help="the table, into a page")
    options = parser.parse_args()
    configure_tensorflow(1)
    with tempfile.TemporaryDirectory(prefix="coterie-retraining-") as name:
        slices = Slices(options.file, Path(name))
        found = []
        for seed in range(options.seeds):
            folder = Path(name) / f"seed{seed}"
            folder.mkdir()
            found.append(retrain(slices, seed, folder))
        text = tables(slices, found)
    machine = description()
    text += (
        f"\nMeans over {options.seeds} seeds; {slices.size:,} rows a slice. {machine['cpu']}, one thread, "
        f"{machine['date']}.\n"
    )
    if options.write is not None:
        write_page(options.write, text, MARK)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
