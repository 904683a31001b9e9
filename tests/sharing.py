"""What one worker process of the suite has made, the others use: runs, images, prepared data."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is made by whoever needs it first; nobody changes it afterwards.

    Args:
        factory: Knows the suite's temporary folder.
        name: The folder's name, the same in all worker processes.
        make: Makes the folder at the path that it is given.

    Returns:
        The folder.
    """
    root = _root(factory)
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(folder)
            done.touch()
    return folder


@contextmanager
def turn(factory: pytest.TempPathFactory, name: str, *, alone: bool) -> Iterator[None]:
    """Holds something that worker processes of the suite share: alone, or beside others.

    Args:
        factory: Knows the suite's temporary folder.
        name: What is held, the same in all worker processes.
        alone: Whether nobody else may hold it meanwhile.
    """
    with (_root(factory) / f"{name}.turn").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def _root(factory: pytest.TempPathFactory) -> Path:
    root = factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
