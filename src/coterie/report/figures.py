"""The report's figures. Each is a function from values to a drawing, or None without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from coterie.models.metrics import HISTOGRAM_BINS, LOGIT_BOUND, ScoreHistogram
from coterie.report.curve import Point, smoothed
from coterie.report.drawing import Drawing, finish, new_figure
from coterie.report.palette import IDLE, INK, MUTED, SERIES
from coterie.training.comparison import Comparison

_DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), "-.")
_CURVE_POINTS = 200
_CALIBRATION_GROUPS = 10

# Where a worker's time goes: the names of events.WorkerTimes, in the order of the bars.
WORK = (
    ("compute", "compute", SERIES[0].light),
    ("transport", "transport", SERIES[1].light),
    ("server", "server works", SERIES[2].light),
    ("wait", "waits for others", IDLE.light),
    ("prepare", "waits for data", SERIES[3].light),
)


@dataclass(frozen=True)
class Line:
    """One run's training curve."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class CalibrationGroup:
    """Test examples of similar prediction.

    Attributes:
        examples: How many.
        predicted: Mean prediction, to the width of a bin.
        observed: Share with label 1.
    """

    examples: int
    predicted: float
    observed: float


def loss_figure(lines: Sequence[Line]) -> Drawing | None:
    """Training loss by step: the paper's figures 4, 5 and 7."""
    return _curves(
        lines,
        name="loss",
        title="Training loss",
        axis="binary cross-entropy, nats",
        value=lambda point: point.loss,
    )


def accuracy_figure(lines: Sequence[Line]) -> Drawing | None:
    """Training accuracy by step: the paper's figures 4, 5 and 7."""
    known = [
        Line(line.label, tuple(p for p in line.points if p.accuracy is not None)) for line in lines
    ]
    return _curves(
        known,
        name="accuracy",
        title="Training accuracy",
        axis="share of examples predicted right",
        value=lambda point: point.accuracy or 0.0,
        percent=True,
    )


def time_figure(name: str, seconds: Mapping[str, Sequence[float]]) -> Drawing | None:
    """Training time of attested and plaintext runs: the paper's figures 6 and 8.

    Args:
        name: Of the figure.
        seconds: Of every repetition, by the runs' label.
    """
    if not seconds:
        return None
    figure = new_figure(1.1 + 0.55 * len(seconds))
    axes = figure.subplots()
    for place, values in enumerate(seconds.values()):
        middle = float(np.median(values))
        axes.barh(place, middle, 0.55, color=SERIES[place % len(SERIES)].light)
        if len(values) > 1:
            axes.plot(values, [place] * len(values), "|", color=INK.light, markersize=9)
        axes.annotate(
            f" {middle:.2f} s", (max(values), place), va="center", color=INK.light, fontsize=9.5
        )
    axes.set_yticks(range(len(seconds)), list(seconds))
    axes.tick_params(axis="y", labelcolor=INK.light)
    axes.set_ylim(len(seconds) - 0.5, -0.5)
    axes.set_xlim(0, max(max(values) for values in seconds.values()) * 1.22)
    axes.set_xlabel("seconds of training")
    axes.grid(visible=False, axis="y")
    many = max(len(values) for values in seconds.values())
    caption = "Set-up, attestation and evaluation apart."
    if many > 1:
        caption += f" Bars: median of {many} runs; ticks: each run."
    return finish(figure, name, "Training time", caption)


def roc_figure(histograms: Sequence[tuple[str, ScoreHistogram]]) -> Drawing | None:
    """ROC curves of counted scores; exact, but for the order within a bin."""
    figure = new_figure(3.5)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=IDLE.light, linewidth=1, linestyle=(0, (2, 2)))
    for place, (label, histogram) in enumerate(histograms):
        false_k, true_k = roc_points(histogram)
        axes.plot(false_k, true_k, color=SERIES[place].light, linestyle=_DASHES[place], label=label)
    if not histograms:
        return None
    axes.set_aspect("equal")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("false positive rate")
    axes.set_ylabel("true positive rate")
    _legend(axes, len(histograms))
    return finish(
        figure,
        "roc",
        "ROC on the test rows",
        "The dotted diagonal is guessing. Drawn from counts of scores in 8,192 bins, summed over "
        "all data owners.",
    )


def calibration_figure(histograms: Sequence[tuple[str, ScoreHistogram]]) -> Drawing | None:
    """Observed against predicted click rates in ten groups of equal size."""
    from coterie.models.intervals import proportion_interval

    if not histograms:
        return None
    figure = new_figure(3.5)
    axes = figure.subplots()
    highest = 0.05
    for place, (label, histogram) in enumerate(histograms):
        groups = calibration_groups(histogram)
        x = [group.predicted for group in groups]
        y = [group.observed for group in groups]
        ends = [
            proportion_interval(group.observed * group.examples, group.examples) for group in groups
        ]
        below = [max(0.0, value - low) for value, (low, _) in zip(y, ends, strict=True)]
        above = [max(0.0, high - value) for value, (_, high) in zip(y, ends, strict=True)]
        axes.errorbar(
            x,
            y,
            yerr=[below, above],
            fmt="os^D"[place],
            markersize=5,
            linewidth=1.2,
            linestyle=_DASHES[place],
            color=SERIES[place].light,
            label=label,
        )
        highest = max(highest, *x, *(high for _, high in ends))
    limit = min(1.0, highest * 1.05)
    axes.plot([0, limit], [0, limit], color=IDLE.light, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_xlim(0, limit)
    axes.set_ylim(0, limit)
    axes.set_aspect("equal")
    axes.set_xlabel("predicted click rate")
    axes.set_ylabel("observed click rate")
    _legend(axes, len(histograms))
    return finish(
        figure,
        "calibration",
        "Calibration on the test rows",
        "Test rows in ten groups of equal size by prediction; bars: Wilson's 95 % interval. On the "
        "dotted line, predictions are right on average.",
    )


def worth_figure(comparison: Comparison) -> Drawing:
    """AUC of every model on the same test rows, with intervals."""
    models = comparison.models
    figure = new_figure(1.0 + 0.36 * len(models))
    axes = figure.subplots()
    colours = {"joint": SERIES[0].light, "pooled": SERIES[2].light, "alone": SERIES[1].light}
    marks = {"joint": "D", "pooled": "s", "alone": "o"}
    for place, model in enumerate(models):
        reach = [[model.auc - model.auc_low], [model.auc_high - model.auc]]
        axes.errorbar(
            [model.auc],
            [place],
            xerr=reach,
            fmt=marks[model.kind],
            color=colours[model.kind],
            markersize=6,
            capsize=3,
        )
    axes.axvline(models[0].auc, color=SERIES[0].light, linewidth=1, linestyle=(0, (2, 2)))
    axes.set_yticks(range(len(models)), [_short(model.name) for model in models])
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("test AUC")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelcolor=INK.light)
    return finish(
        figure,
        "worth",
        "What joining is worth",
        f"AUC on the same {comparison.test_examples:,} test rows, with 95 % intervals "
        f"({comparison.method}). The dotted line is the joint model.",
    )


def breakdown_figure(name: str, times: Mapping[str, Mapping[str, float]]) -> Drawing | None:
    """Where workers' time goes, in milliseconds per step.

    Args:
        name: Of the figure.
        times: As in ``RunResult``.
    """
    workers = {node: sums for node, sums in times.items() if "compute" in sums and sums["steps"]}
    if not workers:
        return None
    figure = new_figure(1.45 + 0.36 * len(workers))
    axes = figure.subplots()
    for place, sums in enumerate(workers.values()):
        left = 0.0
        for key, _, colour in WORK:
            width = 1000 * sums[key] / sums["steps"]
            axes.barh(place, width, 0.62, left=left, color=colour, linewidth=0)
            left += width
    for _, label, colour in WORK:
        axes.barh(0, 0, color=colour, label=label)
    axes.set_yticks(range(len(workers)), [_short(node) for node in workers])
    axes.set_ylim(len(workers) - 0.5, -0.5)
    axes.set_xlabel("milliseconds per step")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelcolor=INK.light)
    figure.legend(
        loc="outside upper left", ncols=3, handlelength=0.9, columnspacing=1.0, borderaxespad=0.2
    )
    return finish(
        figure,
        name,
        "Where a step's time goes",
        "Means over all steps. Transport is serialization, gRPC, TLS and the network together.",
    )


def roc_points(histogram: ScoreHistogram) -> tuple[list[float], list[float]]:
    """False and true positive rates from the highest threshold to the lowest, thinned out."""
    positives = np.concatenate(([0], np.cumsum(histogram.positives[::-1])))
    negatives = np.concatenate(([0], np.cumsum(histogram.negatives[::-1])))
    true_k = positives / max(1, positives[-1])
    false_k = negatives / max(1, negatives[-1])
    along = np.searchsorted(true_k + false_k, np.linspace(0, 2, _CURVE_POINTS))
    kept = np.unique(np.concatenate(([0], along.clip(max=len(true_k) - 1))))
    return false_k[kept].tolist(), true_k[kept].tolist()


def calibration_groups(
    histogram: ScoreHistogram, groups: int = _CALIBRATION_GROUPS
) -> list[CalibrationGroup]:
    """Groups whole bins, in order of their score, to about as many examples each."""
    counts = histogram.positives + histogram.negatives
    width = 2 * LOGIT_BOUND / HISTOGRAM_BINS
    middles = (np.arange(HISTOGRAM_BINS) + 0.5) * width - LOGIT_BOUND
    predicted = 1 / (1 + np.exp(-middles))
    total = int(counts.sum())
    if total == 0:
        return []
    before = np.cumsum(counts) - counts
    group = np.minimum(before * groups // total, groups - 1)
    found: list[CalibrationGroup] = []
    for place in range(groups):
        inside = (group == place) & (counts > 0)
        examples = int(counts[inside].sum())
        if examples:
            mean = float((counts[inside] * predicted[inside]).sum() / examples)
            observed = float(histogram.positives[inside].sum() / examples)
            found.append(CalibrationGroup(examples, mean, observed))
    return found


def _curves(
    lines: Sequence[Line],
    *,
    name: str,
    title: str,
    axis: str,
    value: Callable[[Point], float],
    percent: bool = False,
) -> Drawing | None:
    drawn = [line for line in lines if line.points]
    if not drawn:
        return None
    figure = new_figure()
    axes = figure.subplots()
    windows = set()
    for place, line in enumerate(drawn):
        window = max(1, len(line.points) // 20)
        windows.add(window)
        steps = [point.step for point in line.points]
        colour = SERIES[place % len(SERIES)].light
        if window > 1:
            raw = [value(point) for point in line.points]
            axes.plot(steps, raw, color=colour, alpha=0.3, linewidth=0.8)
        axes.plot(
            steps,
            [value(point) for point in smoothed(line.points, window)],
            color=colour,
            linestyle=_DASHES[place % len(_DASHES)],
            label=line.label,
            marker="o" if len(steps) == 1 else None,
        )
    cut = _cut(axes, [value(p) for line in drawn for p in line.points[len(line.points) // 10 :]])
    axes.set_xlabel("step")
    axes.set_ylabel(axis)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _legend(axes, len(drawn))
    caption = "On each step's examples, before its update."
    if windows != {1}:
        caption += " Bold: moving mean; thin: as it was."
    if cut:
        caption += " The first steps lie beyond the axis."
    return finish(figure, name, title, caption)


def _cut(axes: Axes, later: Sequence[float]) -> bool:
    """Fits the axis to all but the first tenth, which may be far off; whether that cut something."""
    low, high = axes.get_ylim()
    margin = 0.15 * (max(later) - min(later)) or 0.01
    bottom, top = min(later) - margin, max(later) + margin
    if high - low < 1.5 * (top - bottom):
        return False
    axes.set_ylim(bottom, top)
    return True


def _legend(axes: Axes, lines: int) -> None:
    if lines > 1:
        axes.legend(labelcolor=MUTED.light)


def _short(name: str, length: int = 22) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
