"""TensorFlow's threads, which it reads from the environment at its first tensor or Keras layer.

From then on they are fixed for the process, and sums depend on them. Who builds a Keras model before there
is a contract would so get threads that no contract can have. So importing the package asks for what contracts
ask for by default, unless the environment already says something. This imports nothing heavy, since every
command does.
"""

from __future__ import annotations

import os
import sys

INTRA_OP = "TF_NUM_INTRAOP_THREADS"
INTER_OP = "TF_NUM_INTEROP_THREADS"

# What TensorFlow finds; empty where it had begun before.
_found: dict[str, str] = {}
_set_here: list[str] = []


def prepare() -> None:
    """Sets them; called when the package is imported. The user's own choice counts."""
    if _has_begun():
        return
    for name in (INTRA_OP, INTER_OP):
        if name not in os.environ:
            os.environ[name] = "1"
            _set_here.append(name)
        _found[name] = os.environ[name]


def withdraw() -> None:
    """Undoes ``prepare``, for programs whose contract or own code sets up TensorFlow."""
    while _set_here:
        name = _set_here.pop()
        os.environ.pop(name, None)
        _found.pop(name, None)


def in_force(name: str) -> int | None:
    """The number that TensorFlow took from the environment; None where that is not known."""
    found = _found.get(name, "")
    return int(found) if found.isdecimal() and os.environ.get(name) == found else None


def _has_begun() -> bool:
    """Whether TensorFlow's threads are fixed already: it has no question for that, but refuses a change."""
    if "tensorflow" not in sys.modules:
        return False
    from tensorflow import config

    threads = config.threading.get_inter_op_parallelism_threads()
    try:
        config.threading.set_inter_op_parallelism_threads(threads + 1)
    except RuntimeError:
        return True
    config.threading.set_inter_op_parallelism_threads(threads)
    return False
