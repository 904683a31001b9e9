"""What holds for all tests: where the project lies, and that nothing is left running."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).resolve().parent.parent

# How long an example takes says nothing on a machine that does other things too.
settings.register_profile("coterie", deadline=None)
settings.load_profile("coterie")

_SECONDS_TO_END = 10.0
# What a file left running fails that file; the files after it are not waited with, nor blamed.
_told: set[threading.Thread | str] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None, item: pytest.Item) -> Iterator[None]:
    """A file of tests that leaves a thread or a process running fails: it would hold up the end."""
    yield
    if nextitem is not None and nextitem.path == item.path:
        return
    end = time.monotonic() + _SECONDS_TO_END
    for thread in _foreground_threads():
        thread.join(max(0.0, end - time.monotonic()))
    left = _foreground_threads()
    threads = [thread.name for thread in left]
    processes = [process for process in _child_processes() if process not in _told]
    _told.update(processes, left)
    assert not threads, f"{item.path.name} left threads running: {threads}"
    assert not processes, f"{item.path.name} left processes running: {processes}"


def _foreground_threads() -> list[threading.Thread]:
    """The threads that the interpreter waits for when it ends, but for those that were told."""
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon and thread not in _told
    ]


def _child_processes() -> list[str]:
    """Command lines of this process's children; none where there is no /proc."""
    children = (
        pid
        for task in Path("/proc/self/task").glob("*/children")
        for pid in task.read_text().split()
    )
    return [
        Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for pid in children
    ]
