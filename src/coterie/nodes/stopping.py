"""SIGTERM ends a node at once, and says so: also as the first process of a container.

A node may be killed at any moment and loses nothing by it, so there is nothing to wind up: what
matters is that it does end.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

from coterie.runs.events import EventSink, Stopped
from coterie.termination import ENDING, exit_code, hear

EXIT_CODE = exit_code(signal.SIGTERM)


def end_on_sigterm(node: str, on_event: EventSink) -> None:
    """From now on SIGTERM ends this process with exit code 143; call it on the main thread.

    So does a terminal that is closed, with its own code.

    Args:
        node: This node's name.
        on_event: Hears ``Stopped``, on a thread of its own, before the end.
    """

    def told(following: Callable[[], int]) -> None:
        number = following()
        try:
            on_event(Stopped(node))
        finally:
            os._exit(exit_code(number))

    hear(ENDING, _handler, told)


def _handler(_signal: int, _frame: FrameType | None) -> None:
    """Stands in for the default action; the pipe has told the watching thread."""
