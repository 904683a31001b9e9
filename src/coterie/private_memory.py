"""Protects a process's memory, which holds keys and its party's data, from other processes.

A process that is not dumpable leaves no core dump, whatever ``core_pattern`` says (a pipe in the
pattern ignores the limit). Other processes of its user cannot attach to it or read its
``/proc/PID/mem``, ``environ`` or ``fd``, which then belong to root (prctl(2), ptrace(2), proc(5)).
Root and the host still can; only a TEE protects against them. ``execve`` makes a process dumpable
again, so programs that it starts are not affected, except that they inherit the limit on core
dumps.
"""

from __future__ import annotations

from coterie.errors import EnvironmentUnfit

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


def keep_memory_private() -> None:
    """Prevents core dumps of this process, and access by other processes of its user.

    Raises:
        EnvironmentUnfit: The system does not allow it.
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
