"""Makes this process one whose sockets pass through the native part, and that ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from coterie.tensorflow.building import NATIVE_PART
from coterie.tensorflow.native import load

_PRELOAD = "LD_PRELOAD"
_PR_SET_PDEATHSIG = 1  # prctl(2)


def ignore_proxies() -> None:
    """Makes gRPC ignore the environment's proxies for nodes; the program's own HTTP may use them.

    gRPC reads ``grpc_proxy`` first, and takes an empty value for no proxy.
    """
    os.environ["grpc_proxy"] = ""  # noqa: SIM112 (gRPC reads it in this case)


def ensure_preloaded() -> None:
    """Starts this process again with the library preloaded, unless it is; children do without it.

    Raises:
        EnvironmentUnfit: The library is missing, or was built from another source.
    """
    load()
    library = str(NATIVE_PART.path)
    ignore_proxies()
    others = os.environ.get(_PRELOAD, "").split(os.pathsep)
    if library not in others:
        first = os.pathsep.join([library, *filter(None, others)])
        os.execve(sys.executable, sys.orig_argv, {**os.environ, _PRELOAD: first})  # noqa: S606 (itself)
    kept = [one for one in others if one != library]
    if kept:
        os.environ[_PRELOAD] = os.pathsep.join(kept)
    else:
        del os.environ[_PRELOAD]


def die_with_parent() -> None:
    """Makes the kernel end this process when its parent ends.

    A thread that watches the parent is not enough: some calls of TensorFlow hold the interpreter's
    lock while they wait for their peers.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
