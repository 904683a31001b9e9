"""``coterie report``, and the reports that other commands make of their runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from coterie.cli import console
from coterie.cli.options import AsJson
from coterie.errors import CoterieError
from coterie.files import unhindered
from coterie.report.packages import EVENT_FILES, PAGES, require

if TYPE_CHECKING:
    from coterie.contract import Contract
    from coterie.runs.events import EventSink


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="The directory of a run or benchmark, or a node's --out folder.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Make the report of a finished run (again): report.html and its figures, in its directory.

    Example: coterie report run1
    """
    require(PAGES, "reports")
    from coterie.report.writing import report_folder

    page = report_folder(folder)
    if as_json:
        console.print_json({"report": str(page)})
    else:
        typer.echo(str(page))


def leave_report(make: Callable[[], Path]) -> None:
    """Makes a report after a run; a failure only prints a warning.

    Args:
        make: Makes it and returns the page's path.
    """
    try:
        require(PAGES, "reports")
        page = make()
    except CoterieError as error:
        console.err.print(f"no report: {error}", highlight=False, markup=False, soft_wrap=True)
    else:
        console.err.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)


def leave_run_report(folder: Path) -> None:
    """Makes the report of the finished run in a directory, and those of its workers alone."""

    def make() -> Path:
        from coterie.report.writing import report_folder, report_parties

        report_parties(folder)
        return report_folder(folder)

    leave_report(make)


def leave_node_report(folder: Path) -> None:
    """Makes the report of a node's own folder, if the folder holds enough for one.

    A parameter server's first shard leaves the run's result; a worker or chief leaves its own part.
    """
    from coterie.runs.run_files import CONTRACT

    if (folder / CONTRACT).exists():
        leave_run_report(folder)


def tensorboard_sink(folder: Path) -> AbstractContextManager[EventSink]:
    """A sink that writes TensorBoard's event files.

    Raises:
        EnvironmentUnfit: The package that writes them is not installed, or they cannot be written.
    """
    require(EVENT_FILES, "TensorBoard's event files")
    from coterie.report.tensorboard import tensorboard_log

    return tensorboard_log(folder)


@contextmanager
def watched(
    where: Console,
    contract: Contract,
    stamp: str,
    *,
    title: str | None = None,
    tensorboard: Path | None = None,
    out: Path | None = None,
) -> Iterator[EventSink]:
    """Gives an event sink that shows a run and, on request, logs it for TensorBoard.

    If the user interrupts the run, it prints what was kept.

    Args:
        where: The console that shows it.
        contract: The run's contract.
        stamp: The word that marks what the run proves.
        title: The run's name; the contract's if absent.
        tensorboard: Folder for event files.
        out: The run's directory; if absent, nothing is kept.
    """
    from coterie.cli.progress import Interruption, shown
    from coterie.runs.event_log import all_of

    interruption = Interruption(contract, keeps=out is not None)
    with interruption.said(where), ExitStack() as stack:
        sinks: list[EventSink] = [interruption]
        if tensorboard is not None:
            sinks.append(stack.enter_context(tensorboard_sink(tensorboard)))
        display = stack.enter_context(shown(where, title or contract.name, contract, stamp))
        sinks.append(unhindered(display, "the display"))
        yield all_of(*sinks)


def attested_stamp(contract: Contract) -> str:
    """The word that marks what an attested run of this contract proves."""
    return contract.trust.stamp.upper()
