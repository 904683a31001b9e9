"""Shows a run while it goes on: a bar on a terminal, plain log lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from coterie.nodes.eventlines import describe_event
from coterie.ps.events import Event, EventSink, Finished, StepDone

_LINES_PER_RUN = 10


@contextmanager
def shown(console: Console, title: str) -> Iterator[EventSink]:
    """Gives an event sink that shows what it hears until the context ends.

    Args:
        console: Where to.
        title: Name of the run.
    """
    if console.is_terminal:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TextColumn("{task.fields[speed]:,.0f} examples/s"),
            TimeRemainingColumn(),
            console=console,
        ) as progress:
            yield _Bar(progress, title)
    else:
        yield _Lines(console, title)


class _Average:
    """Means since the last look."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._examples = 0
        self._began = 0.0

    def add(self, step: StepDone) -> None:
        self._loss += step.loss * step.examples
        self._examples += step.examples

    def take(self, seconds: float) -> tuple[float, float]:
        """Mean loss and examples per second; starts anew."""
        loss = self._loss / max(1, self._examples)
        speed = self._examples / max(1e-9, seconds - self._began)
        self._loss, self._examples, self._began = 0.0, 0, seconds
        return loss, speed


class _Bar:
    def __init__(self, progress: Progress, title: str) -> None:
        self._progress = progress
        self._title = title
        self._average = _Average()
        self._task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            return
        if not isinstance(event, StepDone):
            self._progress.console.print(describe_event(event), highlight=False, markup=False)
            return
        if self._task is None:
            self._task = self._progress.add_task(
                self._title, total=event.steps, loss=event.loss, speed=0.0
            )
        self._average.add(event)
        if event.step % max(1, event.steps // 200) == 0 or event.step == event.steps:
            loss, speed = self._average.take(event.seconds)
            self._progress.update(self._task, completed=event.step, loss=loss, speed=speed)


class _Lines:
    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._average = _Average()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Finished):
            return
        if not isinstance(event, StepDone):
            self._console.print(
                f"{self._title}: {describe_event(event)}",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
            return
        self._average.add(event)
        if event.step % max(1, event.steps // _LINES_PER_RUN) == 0 or event.step == event.steps:
            loss, speed = self._average.take(event.seconds)
            self._console.print(
                f"{self._title}: step {event.step}/{event.steps}, loss {loss:.4f}, "
                f"{speed:,.0f} examples/s",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
