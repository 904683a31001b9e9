"""Shows a run on a terminal: one view of its nodes and its training, sized to fit."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coterie.cli.runstate import NodeState, RunState

_STYLES = {
    "waiting": "dim",
    "loading": "dim",
    "ready": "cyan",
    "joined": "cyan",
    "training": "blue",
    "left out": "bold yellow",
    "finished": "green",
    "failed": "bold red",
}
_TROUBLED = ("failed", "left out")
# Lines of the view: title, head, rule, numbers, bar, latest event, and room for the prompt.
_OTHER_LINES = 8
_NARROW = 70
_UNATTESTED = ("LOCAL", "PLAINTEXT")


class RunView:
    """Draws a run's state; rich calls it for every refresh.

    Args:
        title: The run's name.
        stamp: The word that marks what the run proves.

    Attributes:
        state: The state to draw. Any thread may replace it, as a whole, without a lock.
    """

    def __init__(self, title: str, stamp: str, state: RunState) -> None:
        self.state = state
        self._title = title
        self._stamp = stamp

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws into the available width and height."""
        state, width = self.state, options.max_width
        yield Group(
            _line(Text.assemble((self._title, "bold"), "  ", (self._stamp, "bold yellow"))),
            _nodes(
                state,
                width,
                max(3, console.size.height - _OTHER_LINES),
                attested=self._stamp not in _UNATTESTED,
            ),
            _line(_numbers(state)),
            _bar(state, width),
            *([_line(Text(state.warning, style="bold yellow"))] if state.warning else []),
            _line(Text(state.latest, style="dim")),
        )


def _nodes(state: RunState, width: int, room: int, *, attested: bool) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    wide = width >= _NARROW
    table.add_column("node", no_wrap=True, overflow="ellipsis", max_width=22)
    table.add_column("role", no_wrap=True)
    if wide:
        table.add_column("party", no_wrap=True, overflow="ellipsis", max_width=14)
    table.add_column("state", no_wrap=True, min_width=8)
    if attested:
        table.add_column("attestation", no_wrap=True, overflow="ellipsis")
    nodes = list(state.nodes.values())
    shown = nodes
    if len(nodes) > room:
        # nodes in trouble are always shown
        first = sorted(nodes, key=lambda node: node.standing not in _TROUBLED)[: room - 1]
        shown = [node for node in nodes if node in first]
    for node in shown:
        cells = [Text(node.name), Text(node.role)]
        if wide:
            cells.append(Text(node.party))
        cells.append(Text(node.standing, style=_STYLES[node.standing]))
        if attested:
            cells.append(_attestation(node))
        table.add_row(*cells)
    if len(shown) < len(nodes):
        table.add_row(Text(f"and {len(nodes) - len(shown)} more", style="dim"))
    return table


def _attestation(node: NodeState) -> Text:
    if node.attestation:
        by = f" by {len(node.judges)}" if len(node.judges) > 1 else ""
        text = Text(node.attestation + by)
    else:
        text = Text("not yet" if node.standing != "finished" else "none", style="dim")
    if node.refusals:
        text.append(f", {node.refusals} refused", style="bold yellow")
    return text


def _numbers(state: RunState) -> Text:
    parts = []
    if state.loss is not None:
        parts.append(f"loss {state.loss:.4f}")
    if state.accuracy is not None:
        parts.append(f"accuracy {state.accuracy:.1%}")
    if state.examples_per_second is not None:
        parts.append(f"{state.examples_per_second:,.0f} examples/s")
    if state.validation_loss is not None:
        parts.append(f"validation loss {state.validation_loss:.4f}")
    aucs = (("validation", state.validation_auc), ("test", state.test_auc))
    known = [f"{value:.4f} {split}" for split, value in aucs if value is not None]
    if known:
        # The rate gives way to the AUC.
        parts = [part for part in parts if not part.endswith("/s")]
        parts.append(f"AUC {', '.join(known)}")
    return Text("  ".join(parts) or "the nodes gather", style="" if parts else "dim")


def _bar(state: RunState, width: int) -> RenderableType:
    left = state.seconds_left
    said = f" step {state.step:,}/{state.steps:,}" if state.steps else f" step {state.step:,}"
    if state.steps and state.step >= state.steps:
        said += "  trained"
    elif left is not None:
        said += f"  {_duration(left)} left"
    grid = Table.grid(padding=0)
    grid.add_column(width=max(10, width - 34))
    grid.add_column(no_wrap=True)
    bar = ProgressBar(total=max(1, state.steps), completed=state.step, style="bright_black")
    grid.add_row(bar, Text(said))
    return grid


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"


def _line(text: Text) -> Text:
    text.no_wrap = True
    text.overflow = "ellipsis"
    return text
