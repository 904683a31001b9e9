"""Keeps a process's memory to itself: its keys are there, and its party's data.

A process that is not dumpable leaves no core, whatever ``core_pattern`` says (a pattern that is a pipe does not
ask for the limit), and no other process of its user can attach to it or read its ``/proc/PID/mem``, ``environ``
or ``fd``: these belong to root from then on (prctl(2), ptrace(2), proc(5)). Root can still do it all, and so can the
host: against those only a TEE helps. ``execve`` makes a process dumpable again, so programs that a process starts
are as they would be; the limit on cores they inherit.
"""

from __future__ import annotations

from coterie.errors import EnvironmentUnfit

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


def keep_memory_private() -> None:
    """Makes this process one that leaves no core and that no other process of its user can look into.

    Raises:
        EnvironmentUnfit: The system does not let it.
    """
    import ctypes
    import resource

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError) as error:
        raise _unfit("limit of core files", str(error)) from error
    if prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise _unfit("flag dumpable", f"error {ctypes.get_errno()}")


def _unfit(what: str, seen: str) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"this process cannot keep its memory to itself: its {what} cannot be set",
        expected="prctl(PR_SET_DUMPABLE, 0) and a limit of core files of 0, as Linux gives them",
        seen=seen,
        remedy="start it where the system lets it: a sandbox may forbid prctl or setrlimit",
    )
