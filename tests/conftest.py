"""What holds for all tests: where the project lies, and that nothing is left running.

``--quick`` runs what needs neither TensorFlow nor another process (``make test-quick``), and fails
a test that needs them all the same. ``--exhaustive`` runs whole what is else sampled.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from coterie import tensorflow_settings
from coterie.errors import EnvironmentUnfit
from coterie.models.backend import configure_tensorflow
from coterie.plane.building import KERNEL_LIBRARY
from coterie.tensorflow.building import NATIVE_PART

# As the command line does: programs that tests start have threads of their own choice, not those that
# importing the package asks for. A parameter server strategy stands still with one.
tensorflow_settings.withdraw()

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each worker process of the suite has a core; nodes that tests start share them.
for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
    os.environ.setdefault(_pool, "1")

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

QUICK = "not system and not tensorflow and not long and not slow"
_PROCESS_STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"})
_LOOPBACK = ("127.", "::1", "localhost")

_SECONDS_TO_END = 10.0
# What a file left running fails that file; the files after it are not waited with, nor blamed.
_told: set[threading.Thread | int] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help=f"run tests that are {QUICK}")
    parser.addoption("--exhaustive", action="store_true", help="run whole what is else sampled")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("quick"):
        config.option.markexpr = QUICK
        sys.addaudithook(_refuse_what_is_not_quick)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Builds native code before any node measures the package, which it is a part of."""
    if "PYTEST_XDIST_WORKER" in os.environ or session.config.getoption("quick"):
        return
    for library in (NATIVE_PART, KERNEL_LIBRARY):
        with suppress(EnvironmentUnfit):  # the tests that need it say what is missing
            library.build()


@pytest.fixture(scope="session")
def native_part() -> None:
    """The native part of TensorFlow clusters; where it cannot be built, tests are skipped and say why."""
    try:
        NATIVE_PART.build()
    except EnvironmentUnfit as error:
        pytest.skip(str(error))


class _Running:
    """Whether a test runs, as opposed to the suite around it."""

    test = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    _Running.test = True
    try:
        return (yield)
    finally:
        _Running.test = False


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """TensorFlow's settings hold for a whole process, so whichever test is first makes them."""
    if item.get_closest_marker("tensorflow") is not None:
        configure_tensorflow(1)


def _refuse_what_is_not_quick(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook (PEP 578): it cannot be taken away again, so it looks whether a test runs."""
    if not _Running.test:
        return
    if event in _PROCESS_STARTS:
        raise AssertionError(f"{event}: a test that starts a process is marked system")
    if event == "import" and arguments[0] == "tensorflow":
        raise AssertionError("a test that loads TensorFlow is marked tensorflow")
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = str(arguments[1][0])
        assert host.startswith(_LOOPBACK), f"a test dials {host}"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that a test calls in this process logs to what is captured of that test, and not longer."""
    logger = logging.getLogger("coterie")
    before = (logger.handlers, logger.propagate, logger.level)
    yield
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])


@pytest.fixture(scope="session")
def exhaustive(request: pytest.FixtureRequest) -> bool:
    """Whether everything is tried that is else sampled."""
    return bool(request.config.getoption("exhaustive"))


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
