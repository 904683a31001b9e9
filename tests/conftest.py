"""What holds for all tests: where the project lies, and that nothing is left running."""

from __future__ import annotations

import os
import threading
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None, item: pytest.Item) -> Iterator[None]:
    """A file of tests that leaves a thread or a process running fails: it would hold up the end."""
    yield
    if nextitem is not None and nextitem.path == item.path:
        return
    for thread in _foreground_threads():
        thread.join(_SECONDS_TO_END)
    threads = [thread.name for thread in _foreground_threads()]
    processes = _child_processes()
    assert not threads, f"{item.path.name} left threads running: {threads}"
    assert not processes, f"{item.path.name} left processes running: {processes}"


def _foreground_threads() -> list[threading.Thread]:
    """The threads that the interpreter waits for when it ends."""
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.daemon
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
