"""Figures of the experiment: curves of one setting, and times of all cases of a scheme."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.ticker import MaxNLocator, PercentFormatter

from coterie.paper.results import CaseResult, CurvePoint
from coterie.report.drawing import Bar, Drawing, bars_of_seconds, finish, new_figure
from coterie.report.palette import MUTED, SERIES

_MEAN = 8  # points of a moving mean


def loss_figure(cases: Sequence[CaseResult], setting: str) -> Drawing | None:
    """Training loss by examples trained."""
    return _curves(
        cases, "loss", f"Loss, {setting}", "binary cross-entropy, nats", lambda point: point.loss
    )


def accuracy_figure(cases: Sequence[CaseResult], setting: str) -> Drawing | None:
    """Training accuracy by examples trained."""
    return _curves(
        cases,
        "accuracy",
        f"Accuracy, {setting}",
        "share of examples predicted right",
        lambda point: point.accuracy,
    )


def time_figure(cases: Sequence[CaseResult]) -> Drawing | None:
    """Training time of every case, natively and with the simulated TEE."""
    bars = [
        Bar(f"{_short(one)}, {one.setting}: {environment}", measured.seconds, colour.light)
        for one in cases
        for environment, measured, colour in (
            ("native", one.native, SERIES[0]),
            ("RA-TLS", one.simulated, SERIES[1]),
        )
        if measured is not None
    ]
    if not bars:
        return None
    caption = "RA-TLS with the simulated TEE. Set-up, attestation and evaluation apart."
    if max(len(bar.seconds) for bar in bars) > 1:
        caption += " Bars: medians; ticks: each turn."
    return finish(bars_of_seconds(bars), f"{cases[0].scheme}-time", "Training time", caption)


def _short(one: CaseResult) -> str:
    if one.engine == "coterie":
        return "Coterie"
    return "TensorFlow" if one.synchronous else "TensorFlow async"


def _curves(
    cases: Sequence[CaseResult],
    name: str,
    title: str,
    axis: str,
    value: Callable[[CurvePoint], float | None],
) -> Drawing | None:
    figure = new_figure()
    axes = figure.subplots()
    drawn, later = 0, []
    for place, one in enumerate(cases):
        for measured, dashes, width, where in (
            (one.native, "-", 3.4, "native"),
            (one.simulated, (0, (3, 1.5)), 1.5, "RA-TLS"),
        ):
            if measured is None:
                continue
            known = [(point.examples, value(point)) for point in measured.curve]
            points = [(x, y) for x, y in known if y is not None]
            smooth = [
                sum(y for _, y in part) / len(part)
                for i in range(len(points))
                if (part := points[max(0, i + 1 - _MEAN) : i + 1])
            ]
            axes.plot(
                [x / 1000 for x, _ in points],
                smooth,
                color=SERIES[place % len(SERIES)].light,
                linestyle=dashes,
                linewidth=width,
                alpha=0.45 if where == "native" else 1,
                label=f"{_short(one)}, {where}",
            )
            later += smooth[len(smooth) // 20 :]
            drawn += 1
    if not later:
        return None
    margin = 0.1 * (max(later) - min(later)) or 0.01
    axes.set_ylim(min(later) - margin, max(later) + margin)
    axes.set_xlabel("thousand examples trained, of all workers")
    axes.set_ylabel(axis)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    if name == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.legend(labelcolor=MUTED.light, fontsize=8)
    case = cases[0].case
    caption = (
        "On each step's own examples, before its update; moving means. Broad: native; dashed: RA-TLS with the "
        "simulated TEE. Where the dashes lie on the broad line, both are equal."
    )
    return finish(figure, f"{case.scheme}-{case.setting}-{name}", title, caption)
