"""Makes SIGTERM end a node at once, with an event, also as the first process of a container.

A node may be killed at any time without a loss, so it has no clean-up. It only has to end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

from coterie.runs.events import EventSink, Stopped
from coterie.termination import ENDING, exit_code, watch_signals

EXIT_CODE = exit_code(signal.SIGTERM)


def end_on_sigterm(node: str, on_event: EventSink) -> None:
    """Makes SIGTERM end this process with exit code 143. Call it on the main thread.

    A closed terminal (SIGHUP) ends it too, with its own code.

    Args:
        node: This node's name.
        on_event: Receives ``Stopped``, on a thread of its own, before the end.
    """

    def report(following: Callable[[], int]) -> None:
        number = following()
        try:
            on_event(Stopped(node))
        finally:
            os._exit(exit_code(number))

    watch_signals(ENDING, _handler, report)


def _handler(_signal: int, _frame: FrameType | None) -> None:
    """Replaces the default action; the watching thread is notified by the pipe."""
