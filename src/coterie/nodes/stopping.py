"""SIGTERM ends a node at once, and says so: also as the first process of a container.

A node may be killed at any moment and loses nothing by it, so there is nothing to wind up: what
matters is that it does end. The kernel drops SIGTERM to the first process of a PID namespace
unless a handler is installed (pid_namespaces(7)), and Python runs handlers on its main thread
only, which may be deep in TensorFlow. So the signal's number goes through a pipe to a thread.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from coterie.ps.events import EventSink, Stopped

EXIT_CODE = 128 + signal.SIGTERM
_READ_BYTES = 64


def end_on_sigterm(node: str, on_event: EventSink) -> None:
    """From now on SIGTERM ends this process with exit code 143; call it on the main thread.

    Args:
        node: This node's name.
        on_event: Hears ``Stopped``, on a thread of its own, before the end.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _handler)

    def watch() -> None:
        # Every signal with a handler comes here; SIGINT stays Python's.
        while signal.SIGTERM not in os.read(heard, _READ_BYTES):
            pass
        try:
            on_event(Stopped(node))
        finally:
            os._exit(EXIT_CODE)

    threading.Thread(target=watch, name="sigterm-watch", daemon=True).start()


def _handler(_signal: int, _frame: FrameType | None) -> None:
    """Stands in for the default action; the pipe has told the watching thread."""
