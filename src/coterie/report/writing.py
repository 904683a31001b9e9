"""Writes a report's files: the page, and its figures in a folder beside it."""

from __future__ import annotations

from pathlib import Path

from coterie.files import only_writer, write_whole, writing
from coterie.report import figures, quality
from coterie.report.drawing import Drawing, style
from coterie.report.page import Pairs, Report, Section, render
from coterie.report.party_report import read_own
from coterie.report.record import RunRecord, read_run
from coterie.runs.comparison_file import FILE as COMPARISON
from coterie.runs.comparison_file import Comparison
from coterie.runs.directory import STAMP
from coterie.runs.result_file import RESULT
from coterie.runs.run_files import CONTRACT

PAGE = "report.html"
FIGURES = "figures"


def write_report(folder: Path, report: Report) -> Path:
    """Writes ``report.html`` and ``figures/*.png`` and ``*.svg``.

    Args:
        folder: The folder to write to.
        report: What the files show.

    Returns:
        The page's path.

    Raises:
        EnvironmentUnfit: They cannot be written.
    """
    with style():
        sections = _sections(report)
    page = folder / PAGE
    text = render(report, sections, folder).encode()
    with writing(f"the report {page}"):
        for section in sections:
            for drawing in section.drawings:
                drawing.save(folder / FIGURES)
        write_whole(page, text)
    return page


def report_folder(folder: Path) -> Path:
    """Writes the report of a directory into that directory and returns the page's path.

    The directory holds a finished run, or a benchmark's pairs of runs. Or it is a worker's or
    chief's own directory, with the node's part in a run and its party's private comparison.

    Raises:
        DataError: There is no finished run, or it is not of this version.
        OutputInUse: Another process writes there.
        ContractInvalid: Its contract is not readable.
    """
    report = _read(folder)
    with only_writer(folder):
        return write_report(folder, report)


def _read(folder: Path) -> Report:
    pairs = _benchmark(folder)
    if pairs:
        return _read_pairs(pairs)
    comparison = Comparison.read(folder)
    present = {name for name in (CONTRACT, RESULT, STAMP) if (folder / name).exists()}
    if present == {CONTRACT}:  # left by a worker or chief; a run begins with a stamp
        own = read_own(folder)
        title = f"{own.party}: {own.node}"
        return Report(title, comparison=comparison, own=own)
    if comparison is not None and comparison.scope == "own":
        return Report(f"{comparison.party}: joint or alone", comparison=comparison)
    run = read_run(folder)
    return Report(run.title, (run,), comparison)


def report_parties(folder: Path) -> None:
    """Writes the private reports of a run's workers, if there are any, each into its own folder."""
    for found in sorted(folder.glob(f"nodes/*/{COMPARISON}")):
        report_folder(found.parent)


def report_demo(folder: Path, runs: tuple[RunRecord, ...], comparison: Comparison | None) -> Path:
    """Writes one report of runs of different schemes and of what the parties gained by joining."""
    return write_report(folder, Report("Coterie's demonstration", runs, comparison))


def _benchmark(folder: Path) -> list[tuple[Path, Path]]:
    """Reads the pairs of runs of a benchmark."""
    pairs: list[tuple[Path, Path]] = []
    while (attested := folder / f"attested-{len(pairs)}").is_dir():
        pairs.append((attested, folder / f"plaintext-{len(pairs)}"))
    return pairs


def _read_pairs(paths: list[tuple[Path, Path]]) -> Report:
    runs = [
        (read_run(attested, "attested"), read_run(plaintext, "plaintext"))
        for attested, plaintext in paths
    ]
    pairs = Pairs(
        tuple(attested.result.seconds for attested, _ in runs),
        tuple(plaintext.result.seconds for _, plaintext in runs),
    )
    title = f"{runs[-1][0].contract.name}: attested and plaintext"
    return Report(title, runs[-1], pairs=pairs)


def _sections(report: Report) -> list[Section]:
    runs = report.runs
    lines = [figures.Line(run.title, run.curve, run.result.validations, run.epochs) for run in runs]
    if report.own is not None:
        lines.append(figures.Line(report.own.node, report.own.progress))
    counted = [(run.title, run.evaluation.test) for run in runs if run.evaluation.test]
    if report.pairs is not None:
        counted = counted[:1]  # equal models have equal AUCs; the page says so if the models differ
    worth = [figures.worth_figure(report.comparison)] if report.comparison else []
    seconds: dict[str, tuple[float, ...]] = {}
    if report.pairs is not None:
        seconds = {"attested": report.pairs.attested, "plaintext": report.pairs.plaintext}
    sections = [
        Section("worth", _present(worth)),
        Section(
            "training",
            _present(
                [
                    figures.loss_figure(lines),
                    figures.accuracy_figure(lines),
                    figures.validation_figure(lines),
                ]
            ),
        ),
        Section(
            "quality",
            _present([quality.roc_figure(counted), quality.calibration_figure(counted)]),
        ),
        Section("times", _present([figures.time_figure("time", seconds)])),
    ]
    for place, run in enumerate(runs):
        name = f"breakdown-{place}"
        drawing = figures.breakdown_figure(name, run.result.times)
        if drawing is not None and len(runs) > 1:
            drawing = drawing.renamed(f"{drawing.title}: {run.title}")
        sections.append(Section(name, _present([drawing])))
    return sections


def _present(drawings: list[Drawing | None] | list[Drawing]) -> tuple[Drawing, ...]:
    return tuple(drawing for drawing in drawings if drawing is not None)
