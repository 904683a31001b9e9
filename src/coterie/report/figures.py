"""Figures of training, time and model quality: functions from values to a drawing or to None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from coterie.report.drawing import (
    DASHES,
    Bar,
    Drawing,
    bars_of_seconds,
    finish,
    legend,
    new_figure,
)
from coterie.report.palette import IDLE, INK, SERIES
from coterie.runs.comparison_file import Comparison
from coterie.runs.curve import Point, smoothed
from coterie.runs.records import Validated

# Where a worker's time goes: the names of events.WorkerTimes, in the order of the bars.
WORK = (
    ("compute", "compute", SERIES[0].light),
    ("transport", "transport", SERIES[1].light),
    ("server", "server works", SERIES[2].light),
    ("wait", "waits for others", IDLE.light),
    ("prepare", "waits for data", SERIES[3].light),
)


_MOST_EPOCHS = 40


@dataclass(frozen=True)
class Line:
    """One run's training curve, what validations found, and where its epochs end."""

    label: str
    points: tuple[Point, ...]
    validations: tuple[Validated, ...] = ()
    epochs: tuple[int, ...] = ()


def loss_figure(lines: Sequence[Line]) -> Drawing | None:
    """Training loss by step: the paper's figures 4, 5 and 7."""
    return _curves(
        lines,
        name="loss",
        title="Training loss",
        axis="binary cross-entropy, nats",
        value=lambda point: point.loss,
        held=lambda validated: validated.log_loss,
    )


def accuracy_figure(lines: Sequence[Line]) -> Drawing | None:
    """Training accuracy by step: the paper's figures 4, 5 and 7."""
    known = [
        replace(
            line, points=tuple(p for p in line.points if p.accuracy is not None), validations=()
        )
        for line in lines
    ]
    return _curves(
        known,
        name="accuracy",
        title="Training accuracy",
        axis="share of examples predicted right",
        value=lambda point: point.accuracy or 0.0,
        percent=True,
    )


def validation_figure(lines: Sequence[Line]) -> Drawing | None:
    """AUC on the validation rows while the model was trained."""
    drawn = [
        (line.label, [(one.step, one.auc) for one in line.validations if one.auc is not None])
        for line in lines
    ]
    drawn = [(label, points) for label, points in drawn if len(points) > 1]
    if not drawn:
        return None
    figure = new_figure()
    axes = figure.subplots()
    for place, (label, points) in enumerate(drawn):
        axes.plot(
            *zip(*points, strict=True),
            color=SERIES[place % len(SERIES)].light,
            linestyle=DASHES[place % len(DASHES)],
            marker="o",
            markersize=4,
            label=label,
        )
    axes.set_xlabel("step")
    axes.set_ylabel("AUC")
    _mark_epochs(axes, lines)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend(axes, len(drawn))
    return finish(figure, "validation", "Validation AUC", "Over all owners' validation rows.")


def time_figure(name: str, seconds: Mapping[str, Sequence[float]]) -> Drawing | None:
    """Training time of attested and plaintext runs: the paper's figures 6 and 8.

    Args:
        name: The figure's name.
        seconds: Training times of all repetitions, by the runs' label.
    """
    if not seconds:
        return None
    bars = [
        Bar(label, values, SERIES[place % len(SERIES)].light)
        for place, (label, values) in enumerate(seconds.items())
    ]
    many = max(len(values) for values in seconds.values())
    caption = "Set-up, attestation and evaluation apart."
    if many > 1:
        caption += f" Bars: median of {many} runs; ticks: each run."
    return finish(bars_of_seconds(bars), name, "Training time", caption)


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
        name: The figure's name.
        times: Times by node and kind of work, as in ``RunResult``.
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


def _curves(
    lines: Sequence[Line],
    *,
    name: str,
    title: str,
    axis: str,
    value: Callable[[Point], float],
    percent: bool = False,
    held: Callable[[Validated], float | None] = lambda _: None,
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
            linestyle=DASHES[place % len(DASHES)],
            label=line.label,
            marker="o" if len(steps) == 1 else None,
        )
        found = [(one.step, held(one)) for one in line.validations if held(one) is not None]
        if found:
            axes.plot(
                *zip(*found, strict=True),
                color=colour,
                linestyle="none",
                marker="D",
                markersize=5,
                markerfacecolor="none",
                label=f"{line.label}, validation",
            )
    marked = _mark_epochs(axes, drawn)
    cut = _cut(axes, [value(p) for line in drawn for p in line.points[len(line.points) // 10 :]])
    axes.set_xlabel("step")
    axes.set_ylabel(axis)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    judged = any(held(one) is not None for line in drawn for one in line.validations)
    legend(axes, len(drawn) + judged)
    caption = "On each step's examples, before its update."
    if windows != {1}:
        caption += " Bold: moving mean; thin: as it was."
    if judged:
        caption += " Diamonds: on the validation rows, after the step."
    if marked:
        caption += " Upright lines: ends of epochs."
    if cut:
        caption += " The first steps lie beyond the axis."
    return finish(figure, name, title, caption)


def _mark_epochs(axes: Axes, lines: Sequence[Line]) -> bool:
    """Marks where epochs end, if all runs agree on it and the marks do not hide the curves."""
    found = {line.epochs for line in lines}
    epochs = found.pop() if len(found) == 1 else ()
    if not 0 < len(epochs) <= _MOST_EPOCHS:
        return False
    for step in epochs:
        axes.axvline(step, color=IDLE.light, linewidth=0.8, linestyle=(0, (2, 3)), zorder=0)
    return True


def _cut(axes: Axes, later: Sequence[float]) -> bool:
    """Fits the axis to all points but the first tenth; returns whether any points were cut."""
    low, high = axes.get_ylim()
    margin = 0.15 * (max(later) - min(later)) or 0.01
    bottom, top = min(later) - margin, max(later) + margin
    if high - low < 1.5 * (top - bottom):
        return False
    axes.set_ylim(bottom, top)
    return True


def _short(name: str, length: int = 22) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
