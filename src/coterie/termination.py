"""Handles SIGTERM and SIGHUP, even while the main thread is in native code.

The kernel drops SIGTERM to the first process of a PID namespace, as a container's is, unless a handler is
installed (pid_namespaces(7)). Python runs handlers on the main thread only, which may be deep in TensorFlow.
So the signal's number also goes through a pipe to a thread.

Commands end as on Ctrl-C: an exception goes through the main thread, so what was begun is put away, such as
files that are not whole. Nodes lose nothing by being killed, and end at once (``coterie.nodes.stopping``).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Collection
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)
# Docker kills after 10 s, Kubernetes after 30 s.
GRACE_SECONDS = 8.0
_READ_BYTES = 64

Handler = Callable[[int, FrameType | None], None]


class Terminated(BaseException):
    """The process was told to end. No error: nothing but the entry point catches it.

    Args:
        number: The signal's.

    Attributes:
        exit_code: As shells count.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.strsignal(number) or f"signal {number}")
        self.exit_code = exit_code(number)


def exit_code(number: int) -> int:
    """The exit code of a process that a signal has ended, as shells count."""
    return 128 + number


def watch_signals(
    numbers: Collection[int], handler: Handler, watch: Callable[[Callable[[], int]], None]
) -> None:
    """Installs a handler, and a thread that gets the same signals. Call it on the main thread.

    A later call replaces an earlier one. SIGHUP stays ignored if the process was started to ignore
    it (nohup(1)).

    Args:
        numbers: The signals.
        handler: Called on the main thread, once it executes Python code.
        watch: Called on a thread of its own, with a function that waits for the next signal.
    """
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)

    def following() -> int:
        # The wake-up descriptor gets every signal with a handler; SIGINT is left to Python.
        while True:
            for number in os.read(reads, _READ_BYTES):
                if number in numbers:
                    return number

    threading.Thread(target=watch, args=(following,), name="signal-watch", daemon=True).start()


def end_in_order() -> None:
    """Makes SIGTERM and SIGHUP raise ``Terminated``. Call it on the main thread.

    A process that has not ended after ``GRACE_SECONDS``, or gets a second signal, ends at once.
    """
    raised = threading.Event()

    def handler(number: int, _frame: FrameType | None) -> None:
        if not raised.is_set():  # not twice, so that clean-up is not interrupted
            raised.set()
            raise Terminated(number)

    def end(following: Callable[[], int]) -> None:
        code = exit_code(following())
        late = threading.Timer(GRACE_SECONDS, os._exit, (code,))
        late.daemon = True
        late.start()
        following()
        os._exit(code)

    watch_signals(ENDING, handler, end)
