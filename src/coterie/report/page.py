"""Renders the report as one HTML page from the record and the template; the page loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from coterie import __version__
from coterie.contract import Contract, LocalSection, TrainingSection
from coterie.metrics.intervals import Interval
from coterie.report import palette
from coterie.report.drawing import Drawing
from coterie.report.figures import WORK
from coterie.report.party_report import OwnRecord
from coterie.report.record import RunRecord
from coterie.runs.comparison_file import Comparison
from coterie.runs.result import RunResult, seconds_of

_STAMPS = {
    "SIMULATED": "The TEE was simulated: this shows how the run works, and proves nothing about the "
    "machines that it ran on.",
    "PLAINTEXT": "Neither encrypted nor attested: a benchmark, and nothing else.",
    "LOCAL": "All nodes ran in one process, without attestation.",
    "PRIVATE": "Made by one party from its own rows, for itself. It was not sent to anybody.",
}
_NUMBERS = (
    ("steps", "steps", ",d"),
    ("examples", "examples trained", ",d"),
    ("seconds", "training time,\u00a0s", ",.2f"),
    ("samples_per_second", "examples per second", ",.0f"),
    ("train_loss", "training loss, last epoch", ".4f"),
    ("validation_auc", "validation AUC", ".4f"),
    ("test_auc", "test AUC", ".4f"),
    ("test_logloss", "test log loss", ".4f"),
    ("test_accuracy", "test accuracy", ".2%"),
    ("test_calibration", "test calibration", ".3f"),
)
_LABELS = {key: label for key, label, _ in _NUMBERS}
_FORMS = {key: form for key, _, form in _NUMBERS}


# Kinds of work in the words of the figures' legends; those of a server have no legend.
_KINDS = {"decode": "decodes", "apply": "applies", "read": "reads"} | {
    key: label for key, label, _ in WORK
}


@dataclass(frozen=True)
class Number:
    """A number as it is shown, and as it is.

    Attributes:
        key: Its name in ``result.json``, or a name of its own if it is not in that file.
        value: The number; None where there is none.
        form: Format specification.
        absent: Why there is none.
    """

    key: str
    value: float | None
    form: str
    absent: str = "not defined"

    @property
    def text(self) -> str:
        """The number, rounded for display."""
        if self.value is None:
            return self.absent
        whole = int(self.value) if self.form.endswith("d") else self.value
        return format(whole, self.form)

    @property
    def exact(self) -> str:
        """The number with all its digits."""
        return "" if self.value is None else repr(self.value)


@dataclass(frozen=True)
class Tile:
    """One of the numbers to see first.

    Attributes:
        label: What it is.
        number: The number.
        note: A few words.
        run: The run that it belongs to.
        of: That run's title, if there are several runs.
    """

    label: str
    number: Number
    note: str = ""
    run: int = 0
    of: str = ""


@dataclass(frozen=True)
class Pairs:
    """Attested and plaintext runs that took turns.

    Attributes:
        attested: Seconds of training of every attested run.
        plaintext: Seconds of training of every plaintext run.
    """

    attested: tuple[float, ...]
    plaintext: tuple[float, ...]

    @property
    def overheads(self) -> tuple[float, ...]:
        """Ratio of the times of each pair."""
        return tuple(a / p for a, p in zip(self.attested, self.plaintext, strict=True))


@dataclass(frozen=True)
class Report:
    """All that a page shows.

    Attributes:
        title: For people.
        runs: The runs, the most important first; none in a party's private comparison.
        comparison: What the parties gained by training together, if it was measured.
        pairs: Times of attested and plaintext runs, if they were measured.
        own: A node's own part, in its party's private report.
    """

    title: str
    runs: tuple[RunRecord, ...] = ()
    comparison: Comparison | None = None
    pairs: Pairs | None = None
    own: OwnRecord | None = None


@dataclass(frozen=True)
class Section:
    """The figures of one section of the page."""

    identity: str
    drawings: tuple[Drawing, ...]


def render(report: Report, sections: Sequence[Section], folder: Path) -> str:
    """The page.

    Args:
        report: The page's values.
        sections: The page's figures: ``worth``, ``training``, ``quality``, ``times`` and
            ``breakdown-N`` (of run N).
        folder: The folder of the page; links are relative to it.
    """
    environment = Environment(
        loader=PackageLoader("coterie.report"),
        autoescape=True,  # names and reasons come from contracts and peers
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    stamps = list(dict.fromkeys(run.stamp for run in report.runs)) or ["PRIVATE"]
    return template.render(
        report=report,
        stamps=[(stamp, _STAMPS.get(stamp, "Every node proved itself.")) for stamp in stamps],
        tiles=_tiles(report),
        numbers=[
            (label, [_number(run.result, key) for run in report.runs])
            for key, label, form in _NUMBERS
        ],
        intervals=[_interval_of(run) for run in report.runs],
        figures={
            section.identity: [(drawing, Markup(drawing.inline())) for drawing in section.drawings]  # noqa: S704 (made by us, from numbers and checked names)
            for section in sections
        },
        times=[_times(run.result.times) for run in report.runs],
        own_times=_times(_own_times(report.own)),
        own_settings=_settings(report.own.contract) if report.own is not None else [],
        settings=[_settings(run.contract) for run in report.runs],
        measurements=[_measurements(run) for run in report.runs],
        receipts=[_link(run.receipt, folder) for run in report.runs],
        theme=theme(),
        version=__version__,
    )


def _link(file: Path | None, folder: Path) -> str:
    """The link to a file, relative to the page's folder; empty if the file is absent."""
    return "" if file is None else os.path.relpath(file, folder)


def _tiles(report: Report) -> list[Tile]:
    if not report.runs:
        return [*_own_tiles(report.own), *_gain_tiles(report.comparison)]
    first = report.runs[0]
    of = first.title if len(report.runs) > 1 else ""
    tiles: list[Tile] = []
    if report.pairs is not None:
        overhead = Number("overhead", median(report.pairs.overheads), ".2f")
        tiles.append(
            Tile("attested against plaintext, times", overhead, "median of training times")
        )
    # Two runs of a benchmark have the same model: the first one's AUC is the other's.
    judged = report.runs[:1] if report.pairs is not None else report.runs
    tiles += [_auc_tile(run, place, of and run.title) for place, run in enumerate(judged)]
    tiles += _gain_tiles(report.comparison)
    notes = {
        "test_logloss": "nats; lower is better",
        "test_accuracy": "at probability one half",
        "test_calibration": "predicted / observed; ideal 1",
        "samples_per_second": "in training",
        "seconds": f"{first.result.steps:,} steps",
    }
    tiles += [
        Tile(_LABELS[key], _number(first.result, key), note, of=of) for key, note in notes.items()
    ]
    return tiles


def _own_tiles(own: OwnRecord | None) -> list[Tile]:
    """The model on the party's own test rows."""
    if own is None or own.quality is None:
        return []
    quality, rows = own.quality, f"on {own.quality.examples:,} own test rows"
    absent = "withheld"  # the node reported no AUC: it has too few test rows
    return [
        Tile("own test AUC", Number("own.auc", quality.auc, ".4f", absent), rows),
        Tile("own test log loss", Number("own.log_loss", quality.log_loss, ".4f", absent), "nats"),
        Tile(
            "own test calibration",
            Number("own.calibration", quality.calibration, ".3f", absent),
            "predicted / observed; ideal 1",
        ),
    ]


def _auc_tile(run: RunRecord, place: int, of: str) -> Tile:
    auc = _interval_of(run)
    notes = (
        f"95\u00a0%: {auc.low:.4f}\u00a0to\u00a0{auc.high:.4f}" if auc else "",
        run.result.test_auc_note,
    )
    note = "; ".join(said for said in notes if said)
    return Tile("test AUC", _number(run.result, "test_auc"), note, place, of)


def _gain_tiles(comparison: Comparison | None) -> list[Tile]:
    """The joint model's mean gain over companies alone."""
    if comparison is None:
        return []
    gains = [m.gain for m in comparison.models if m.kind == "alone" and m.gain is not None]
    if not gains:
        return []
    note = "AUC over a company alone" + (", mean" if len(gains) > 1 else "")
    return [Tile("joining gains", Number("mean_gain", sum(gains) / len(gains), "+z.4f"), note)]


def _number(result: RunResult, key: str) -> Number:
    return Number(key, getattr(result, key), _FORMS[key], result.absence(key))


def _interval_of(run: RunRecord) -> Interval | None:
    counts = run.evaluation.test
    return counts.interval() if counts is not None else None


def _own_times(own: OwnRecord | None) -> dict[str, dict[str, float]]:
    return {} if own is None or own.times is None else {own.node: seconds_of(own.times)}


def _times(
    times: Mapping[str, Mapping[str, float]],
) -> list[tuple[str, list[tuple[str, Number]]]]:
    """Milliseconds per step by node and kind of work."""
    rows: list[tuple[str, list[tuple[str, Number]]]] = []
    for node, sums in times.items():
        steps = sums.get("steps", 0)
        rows.append(
            (
                node,
                [
                    (
                        _KINDS.get(kind, kind),
                        Number(f"times.{node}.{kind}", 1000 * seconds / steps, ",.2f"),
                    )
                    for kind, seconds in sorted(sums.items(), key=lambda found: _place(found[0]))
                    if kind != "steps" and steps
                ],
            )
        )
    return rows


def _place(kind: str) -> int:
    """The position of a kind of work in the figure's legend."""
    return list(_KINDS).index(kind) if kind in _KINDS else len(_KINDS)


def _measurements(run: RunRecord) -> list[tuple[str, str]]:
    """Every measurement in full, with the nodes that have it."""
    nodes: dict[str, list[str]] = {}
    for node in run.participants:
        if node.measurement:
            nodes.setdefault(node.measurement, []).append(node.name)
    every = len(run.participants)
    return [
        (measurement, "all nodes" if len(names) == every else ", ".join(names))
        for measurement, names in nodes.items()
    ]


def _settings(contract: Contract) -> list[tuple[str, str]]:
    training, data, model = contract.training, contract.data, contract.model
    return [
        ("scheme", contract.mode.upper()),
        ("batch", f"{training.batch:,} examples per worker"),
        ("local steps", f"{training.local_steps:,}"),
        *_local_settings(training.local_training),
        ("exchange", _exchange(training)),
        ("epochs", f"{training.epochs:,}"),
        ("order of rows", training.order),
        ("model kept", f"the {training.validation.keep} one"),
        *(
            [
                (
                    "ends early",
                    f"after {training.validation.patience} validations without a better one",
                )
            ]
            if training.validation.patience is not None
            else []
        ),
        ("dense optimizer", f"{training.dense.kind}, rate {training.dense.learning_rate:g}"),
        ("row optimizer", f"{training.rows.kind}, rate {training.rows.learning_rate:g}"),
        ("columns", f"{len(data.numeric)} numeric, {len(data.categorical)} categorical"),
        ("embedding rows", f"{data.total_rows:,} x {model.embedding_dim}"),
        ("seed", f"{training.seed}"),
        ("TEE demanded", contract.trust.kinds_in_words),
        *_start(contract),
    ]


def _exchange(training: TrainingSection) -> str:
    """How gradients were sent."""
    if training.exchange_share is None:
        return training.exchange
    return f"{training.exchange}, {100 * training.exchange_share:g} % of dense values"


def _local_settings(local: LocalSection | None) -> list[tuple[str, str]]:
    """The settings of the workers' own optimizers, if the contract has them."""
    if local is None:
        return []
    return [
        ("workers' dense optimizer", f"{local.dense.kind}, rate {local.dense.learning_rate:g}"),
        ("workers' row optimizer", f"{local.rows.kind}, rate {local.rows.learning_rate:g}"),
    ]


def _start(contract: Contract) -> list[tuple[str, str]]:
    start = contract.start
    if start is None:
        return []
    more = [("more than there", start.changes)] if start.changes else []
    return [("went on from", f"step {start.step:,} of model {start.model}"), *more]


def theme() -> Markup:
    """The palette as CSS variables, for light and dark."""

    def rules(*, dark: bool) -> str:
        return "".join(f"{s.variable}:{s.dark if dark else s.light};" for s in palette.ALL)

    return Markup(  # noqa: S704 (constants of ours)
        f":root{{{rules(dark=False)}}}"
        f"@media (prefers-color-scheme: dark){{:root{{{rules(dark=True)}}}}}"
    )
