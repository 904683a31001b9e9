"""What one worker process of the suite has made, the others use: runs, images, prepared data."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
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
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(folder)
            done.touch()
    return folder
