"""Renders ``paper.html``: the paper's statements and this machine's figures side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import get_args

import jinja2
from jinja2 import ChoiceLoader, PackageLoader, StrictUndefined
from markupsafe import Markup

from coterie.files import write_whole, writing
from coterie.kinds import Mode
from coterie.paper import figures, statements
from coterie.paper.plan import SettingName
from coterie.paper.results import CaseResult, Environment, PaperResults
from coterie.report.drawing import Drawing, style
from coterie.report.page import theme

PAGE = "paper.html"
COLUMNS = ("native", "RA-TLS, simulated TEE", "RA-TLS, gramine-direct", "RA-TLS, SGX")
_SETTINGS: dict[SettingName, str] = {
    "paper": "the paper's hyperparameters",
    "tuned": "tuned hyperparameters",
}


@dataclass(frozen=True)
class Row:
    """A case's line in a table.

    Attributes:
        label: The case.
        setting: Its hyperparameters.
        cells: What each environment gave, as lines of text; None: not run there.
    """

    label: str
    setting: str
    cells: tuple[tuple[str, ...] | None, ...]


@dataclass(frozen=True)
class Part:
    """One of the paper's figures, and its counterpart here."""

    figure: statements.PaperFigure
    deviations: tuple[str, ...]
    drawings: tuple[Drawing, ...]
    rows: tuple[Row, ...]
    head: str


def write_page(results: PaperResults, folder: Path) -> Path:
    """Writes ``paper.html`` and the figures as PNG and SVG; returns the page's path.

    Raises:
        EnvironmentUnfit: They cannot be written.
    """
    found = parts(results)
    page = folder / PAGE
    text = render(results, found).encode()
    with writing(f"the page {page}"):
        for part in found:
            for drawing in part.drawings:
                drawing.save(folder / "figures")
        write_whole(page, text)
    return page


def parts(results: PaperResults) -> tuple[Part, ...]:
    """The page's sections, in the order of the paper's figures."""
    with style():
        return tuple(_part(results, figure) for figure in statements.FIGURES)


def render(results: PaperResults, found: Sequence[Part]) -> str:
    """The page, which loads nothing."""
    environment = jinja2.Environment(
        loader=ChoiceLoader([PackageLoader("coterie.paper"), PackageLoader("coterie.report")]),
        autoescape=True,  # the raw file's name
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    schemes: tuple[Mode, ...] = ("hfl", "sdt")
    return environment.get_template("paper.html.j2").render(
        results=results,
        parts=[
            (part, [(one, Markup(one.inline())) for one in part.drawings])  # noqa: S704 (made by us, from numbers)
            for part in found
        ],
        columns=COLUMNS,
        summary=[
            (scheme.upper(), statements.RATIOS[scheme], ratios_of(results, scheme))
            for scheme in schemes
        ],
        statements=statements,
        theme=theme(),
    )


def ratios_of(results: PaperResults, scheme: Mode) -> list[tuple[str, float]]:
    """Attested over native training time, by engine: of the paper's hyperparameters."""
    found = []
    for one in results.of(scheme, "paper"):
        ratio = one.ratio("simulated")
        if ratio is not None:
            found.append((one.case.label, ratio))
    return found


def _part(results: PaperResults, figure: statements.PaperFigure) -> Part:
    cases = results.of(figure.scheme)
    deviating = statements.deviations(figure, results)
    if figure.kind == "times":
        head = f"seconds of training, and ratio to native: {_of_turns(results.turns)}"
        return Part(
            figure, deviating, _present([figures.time_figure(cases)]), _rows(cases, _seconds), head
        )
    drawings: list[Drawing | None] = []
    for setting, words in _SETTINGS.items():
        some = results.of(figure.scheme, setting)
        drawings += [figures.loss_figure(some, words), figures.accuracy_figure(some, words)]
    head = "test AUC with its 95\u00a0% interval, accuracy, log loss"
    return Part(figure, deviating, _present(drawings), _rows(cases, _quality), head)


def _of_turns(turns: int) -> str:
    if turns == 1:
        return "of one turn, so the machine's other load counts (--turns)"
    return f"medians of {turns} turns"


def _rows(
    cases: Sequence[CaseResult], shown: Callable[[CaseResult, Environment], tuple[str, ...]]
) -> tuple[Row, ...]:
    return tuple(
        Row(
            one.case.label,
            one.setting,
            tuple(
                None if one.measured(where) is None else shown(one, where)
                for where in get_args(Environment)
            ),
        )
        for one in cases
    )


def _seconds(one: CaseResult, where: Environment) -> tuple[str, ...]:
    measured, ratio = one.measured(where), one.ratio(where)
    assert measured is not None
    told = f"{median(measured.seconds):,.1f}\u00a0s"
    return (told,) if ratio is None else (told, f"{ratio:.2f}x native")


def _quality(one: CaseResult, where: Environment) -> tuple[str, ...]:
    measured = one.measured(where)
    assert measured is not None
    found = measured.quality
    if found.auc is None or found.auc_low is None or found.auc_high is None:
        auc = ["AUC withheld: too few rows"]
    else:
        auc = [f"{found.auc:.4f}", f"{found.auc_low:.4f} to {found.auc_high:.4f}"]
    if found.accuracy is not None and found.log_loss is not None:
        auc += [f"accuracy {found.accuracy:.2%}", f"log loss {found.log_loss:.4f}"]
    if where != "native" and one.native is not None and measured.model_digest is not None:
        same = one.native.model_digest == measured.model_digest
        auc.append("the native model, bit for bit" if same else "another model than the native one")
    return tuple(auc)


def _present(drawings: Sequence[Drawing | None]) -> tuple[Drawing, ...]:
    return tuple(drawing for drawing in drawings if drawing is not None)
