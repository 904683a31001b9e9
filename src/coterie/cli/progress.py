"""Shows a running run: one view on a terminal, plain log lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live

from coterie.cli.liveview import RunView
from coterie.cli.logs import every_event
from coterie.cli.runstate import RunState
from coterie.contract import Contract
from coterie.runs import events
from coterie.runs.event_format import describe_event
from coterie.runs.events import Event, EventSink, Finished, StepDone, WorkerProgress
from coterie.text import utc_text

_LINES_PER_RUN = 10
_REDRAWS_PER_SECOND = 5
# Events that stay on the screen above the view, so that none is missed.
_LASTING = (
    events.Refused,
    events.LeftOut,
    events.Returned,
    events.Resumed,
    events.Restarted,
    events.Failed,
    events.StoodStill,
)


@contextmanager
def shown(console: Console, title: str, contract: Contract, stamp: str) -> Iterator[EventSink]:
    """Gives an event sink that shows events until the context ends.

    Args:
        console: The console to write to.
        title: Name of the run.
        contract: The run's contract.
        stamp: The word that marks what the run proves.
    """
    if (write := every_event(title)) is not None:
        yield write
        return
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console, title)
        return
    view = RunView(title, stamp, RunState.of(contract))
    with Live(view, console=console, refresh_per_second=_REDRAWS_PER_SECOND) as live:
        yield _Live(live, view)


class Interruption:
    """When the user interrupts a run, says how far it was and from where the same command resumes.

    Args:
        contract: The run's contract.
        keeps: Whether the run has a directory.
    """

    def __init__(self, contract: Contract, *, keeps: bool) -> None:
        self._contract = contract
        self._keeps = keeps
        self._step = self._steps = self._kept = 0

    def __call__(self, event: Event) -> None:
        """Receives an event: the run's progress, or a checkpoint."""
        match event:
            case StepDone(step=step, steps=steps):
                self._step, self._steps = step, steps
            case events.CheckpointWritten(step=step) | events.Resumed(step=step):
                self._kept = step
            case events.Restarted(step=step):
                self._step = self._kept = step

    @contextmanager
    def said(self, console: Console) -> Iterator[None]:
        """Prints the message if the context is interrupted."""
        try:
            yield
        except KeyboardInterrupt:
            console.print(f"stopped {self._words}", highlight=False, markup=False)
            raise

    @property
    def _words(self) -> str:
        place = f"after step {self._step} of {self._steps}" if self._steps else "before training"
        if not self._keeps:
            return f"{place}; nothing is kept: no --out was given"
        if self._kept:
            return f"{place}; the same command goes on after step {self._kept}"
        every = self._contract.training.checkpoint_steps
        why = "training.checkpoint_steps is 0" if not every else f"the first comes at step {every}"
        return f"{place}; the same command starts from the beginning, since there is no checkpoint: {why}"


class _Average:
    """Means since the last call of ``take``."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._examples = self._told = 0
        self._began = 0.0
        self._steps = 0

    def add(self, step: StepDone) -> None:
        # The first step after a resumption: its duration is unknown.
        if step.step != self._steps + 1:
            self._began, self._examples = step.seconds, -step.examples
        self._steps = step.step
        if step.loss is not None:
            self._loss += step.loss * step.over_examples
            self._told += step.over_examples
        self._examples += step.examples

    def take(self, seconds: float) -> tuple[float | None, float | None]:
        """Mean loss and examples per second, each if known; then starts again."""
        loss = self._loss / self._told if self._told else None
        passed = seconds - self._began
        speed = self._examples / passed if passed > 0 else None
        self._loss, self._began = 0.0, seconds
        self._examples = self._told = 0
        return loss, speed


class _Live:
    def __init__(self, live: Live, view: RunView) -> None:
        self._live = live
        self._view = view
        self._said = ""

    def __call__(self, event: Event) -> None:
        self._view.state = self._view.state.after(event)
        if isinstance(event, _LASTING) and (said := describe_event(event)) != self._said:
            self._said = said  # every shard reports its resumption; show one
            self._live.console.print(said, highlight=False, markup=False, style="yellow")


class _Lines:
    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._average = _Average()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished | WorkerProgress):
            return
        if not isinstance(event, StepDone):
            self._say(f"{self._title}: {describe_event(event)}")
            return
        self._average.add(event)
        if event.step % max(1, event.steps // _LINES_PER_RUN) == 0 or event.step == event.steps:
            loss, speed = self._average.take(event.seconds)
            told = [f"{self._title}: step {event.step}/{event.steps}"]
            if loss is not None:
                told.append(f"loss {loss:.4f}")
            if speed is not None:
                told.append(f"{speed:,.0f} examples/s")
            self._say(", ".join(told))

    def _say(self, line: str) -> None:
        self._console.print(
            f"{utc_text(datetime.now(UTC))} {line}", highlight=False, soft_wrap=True, markup=False
        )
