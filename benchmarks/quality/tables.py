"""What the trials say, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np

from benchmarks.quality.runs import Bench, Fold, Part, Scored, Trial
from benchmarks.quality.settings import CHOSEN, DECAY, Setting
from coterie.metrics.binary import calibration, log_loss, roc_auc, sigmoid
from coterie.metrics.groups import Floats
from coterie.metrics.intervals import Paired, paired_aucs

_QUANTILE = 1.96


@dataclass(frozen=True)
class Difference:
    """A mean difference of AUCs on the same rows.

    Attributes:
        value: Mean over seeds, and over folds.
        error: Standard error. Seeds share their rows, so it is that of one seed; folds do not.
    """

    value: float
    error: float

    def __str__(self) -> str:
        reach = _QUANTILE * self.error
        low, high = self.value - reach, self.value + reach
        return f"{self.value:+z.4f} [{low:+z.4f}, {high:+z.4f}]"


def held_out(trial: Trial, fold: Fold) -> Sequence[Scored]:
    """What a fold holds out."""
    parts: tuple[Part, ...] = ("validation", "test") if fold == "rolling" else (fold,)
    return [trial.parts[part] for part in parts]


def difference(pairs: Sequence[Sequence[tuple[Floats, Floats, Floats]]]) -> Difference:
    """AUC of one model minus another's.

    Args:
        pairs: For each fold, for each seed: labels, one model's logits, and the other's.
    """
    values, squares = [], []
    for fold in pairs:
        gains = [_compared([one, other], labels).gains[0] for labels, one, other in fold]
        values.append(fmean(gain.value for gain in gains))
        squares.append(fmean(gain.standard_error**2 for gain in gains))
    return Difference(fmean(values), math.sqrt(sum(squares)) / len(squares))


def choice(
    bench: Bench, settings: Sequence[Setting], folds: Sequence[Fold], seeds: Sequence[int]
) -> str:
    """Every setting on what the folds hold out."""
    chosen = next(setting for setting in settings if setting.name == CHOSEN)
    head = ["setting"]
    for fold in folds:
        head += [f"{fold}: AUC", "log loss", "calibration"]
    rows = []
    for setting in settings:
        cells = [setting.name]
        pairs = []
        for fold in folds:
            logits, base = [], []
            for seed in seeds:
                labels, mine = _scores(held_out(bench.trial(setting, fold, seed), fold))
                _, theirs = _scores(held_out(bench.trial(chosen, fold, seed), fold))
                logits.append((labels, mine))
                base.append((labels, mine, theirs))
            cells += _metrics(logits)
            pairs.append(base)
        cells.append("" if setting is chosen else str(difference(pairs)))
        rows.append(cells)
    return markdown([*head, "AUC minus the chosen one's"], rows)


def borrowing(
    bench: Bench, settings: Sequence[Setting], folds: Sequence[Fold], seeds: Sequence[int]
) -> str:
    """What rare ids lose by borrowing rows of others, for tables of several sizes."""
    rows = []
    for setting in settings:
        pairs = []
        scored: list[Scored] = []
        for fold in folds:
            base = []
            for seed in seeds:
                parts = held_out(bench.trial(setting, fold, seed), fold)
                scored += parts
                labels, logits = _scores(parts)
                base.append((labels, np.concatenate([part.exact for part in parts]), logits))
            pairs.append(base)
        contract = bench.contract(setting, folds[-1], seeds[0])
        trial = bench.trial(setting, folds[-1], seeds[0])
        rows.append(
            [
                f"{contract.data.rows:,}",
                f"{fmean(part.rare for part in scored):.1%}",
                f"{fmean(part.borrowed for part in scored):.1%}",
                str(difference(pairs)),
                f"{trial.row_ids.size:,}",
                f"{trial.model_bytes / 1e6:.2f}",
            ]
        )
    head = ["rows per column", "cells with a rare id", "of these with another id's row"]
    head += ["AUC: out-of-vocabulary row minus borrowed", "rows trained", "model file, MB"]
    return markdown(head, rows)


def drift(bench: Bench, setting: Setting, folds: Sequence[Fold], seeds: Sequence[int]) -> str:
    """How the share of clicks moves from training to held-out rows, and what a setting makes of it."""
    rows = []
    for fold in folds:
        trained = bench.training_labels(setting, fold)
        whole = np.concatenate(trained).mean()
        late = np.concatenate([part[-round(DECAY * part.size) :] for part in trained]).mean()
        scores = [_scores(held_out(bench.trial(setting, fold, seed), fold)) for seed in seeds]
        labels = scores[0][0]
        clicks = labels.mean()
        aucs = [_compared([logits], labels).aucs[0] for _, logits in scores]
        predictions = [sigmoid(logits) for _, logits in scores]
        ratio = fmean(calibration(each, labels) or 0.0 for each in predictions)
        reach = _QUANTILE * fmean(calibration_error(each, labels) for each in predictions)
        low, high = (
            fmean(ends) for ends in zip(*((auc.low, auc.high) for auc in aucs), strict=True)
        )
        rows.append(
            [
                fold,
                f"{labels.size:,}",
                *(f"{share:.2%}" for share in (whole, late, clicks)),
                *(f"{share / clicks:.3f}" for share in (whole, late)),
                f"{ratio:.3f} [{ratio - reach:.3f}, {ratio + reach:.3f}]",
                f"{fmean(auc.value for auc in aucs):.4f} [{low:.4f}, {high:.4f}]",
            ]
        )
    head = ["held out", "rows", "clicks: training", f"its last {DECAY:.0%}", "held out"]
    head += ["calibration: training's share", f"last {DECAY:.0%}'s share", "the model", "its AUC"]
    return markdown(head, rows)


def calibration_error(predictions: Floats, labels: Floats) -> float:
    """Standard error of mean prediction over mean label as rows vary and the model does not (delta method)."""
    residuals = predictions - predictions.mean() / labels.mean() * labels
    return float(residuals.std(ddof=1) / math.sqrt(labels.size) / labels.mean())


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _scores(parts: Sequence[Scored]) -> tuple[Floats, Floats]:
    labels = np.concatenate([part.labels for part in parts])
    return labels, np.concatenate([part.logits for part in parts])


def _compared(logits: list[Floats], labels: Floats) -> Paired:
    paired = paired_aucs(logits, labels)
    if paired is None:
        raise AssertionError("rows of one class")
    return paired


def _metrics(scores: Sequence[tuple[Floats, Floats]]) -> list[str]:
    """AUC with its standard deviation over seeds, log loss, and the calibrations of all seeds."""
    aucs = [roc_auc(logits, labels) or 0.0 for labels, logits in scores]
    losses = [log_loss(logits, labels) or 0.0 for labels, logits in scores]
    ratios = [calibration(sigmoid(logits), labels) or 0.0 for labels, logits in scores]
    spread = f" ± {stdev(aucs):.4f}" if len(aucs) > 1 else ""
    return [
        f"{fmean(aucs):.4f}{spread}",
        f"{fmean(losses):.4f}",
        f"{fmean(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
    ]
