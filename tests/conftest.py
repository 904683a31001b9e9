"""What holds for all tests: where the project lies, and that nothing is left running."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).resolve().parent.parent

# How long an example takes says nothing on a machine that does other things too.
settings.register_profile("coterie", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For whoever only asks whether a test fails, not for the smallest example.
settings.register_profile(
    "coterie-unshrunk",
    settings.get_profile("coterie"),
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile(os.environ.get("COTERIE_HYPOTHESIS_PROFILE", "coterie"))

_SECONDS_TO_END = 10.0
# What a file left running fails that file; the files after it are not waited with, nor blamed.
_told: set[threading.Thread | int] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None, item: pytest.Item) -> Iterator[None]:
    """A file of tests that leaves a thread or a process running fails: it would hold up the end."""
    yield
    if nextitem is not None and nextitem.path == item.path:
        return
    end = time.monotonic() + _SECONDS_TO_END
    for thread in _foreground_threads():
        thread.join(max(0.0, end - time.monotonic()))
    threads = _foreground_threads()
    processes = {pid: name for pid, name in _child_processes().items() if pid not in _told}
    _told.update(threads, processes)
    assert not threads, f"{item.path.name} left threads running: {threads}"
    assert not processes, f"{item.path.name} left processes running: {processes}"


def _foreground_threads() -> list[threading.Thread]:
    """The threads that the interpreter waits for when it ends, but for those that were told."""
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon and thread not in _told
    ]


def _child_processes() -> dict[int, str]:
    """Command lines of this process's children by their numbers; none where there is no /proc."""
    found: dict[int, str] = {}
    for children in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # that thread has just ended
            for pid in children.read_text().split():
                words = Path("/proc", pid, "cmdline").read_bytes()  # ours to reap, so it is there
                found[int(pid)] = words.replace(b"\0", b" ").decode(errors="replace")
    return found
