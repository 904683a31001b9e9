"""The machine that figures were taken on, and what a process and the loopback did meanwhile."""

from __future__ import annotations

import ctypes
import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("tensorflow-cpu", "keras", "numpy", "grpcio", "cryptography", "torch")


def description() -> dict[str, str]:
    """CPU, memory, kernel and versions."""
    found = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Usage:
    """What was used up to a moment.

    Attributes:
        cpu: CPU seconds of every running node, by name.
        loopback_bytes: Bytes that went over the loopback device, all headers included.
    """

    cpu: dict[str, float]
    loopback_bytes: int


def usage() -> Usage:
    """CPU of the nodes that are children of this process, and the loopback's bytes."""
    cpu: dict[str, float] = {}
    for pid, arguments in children(os.getpid()).items():
        name = _node_name(arguments)
        if name:
            cpu[name] = cpu_seconds(pid)
    return Usage(cpu, _loopback())


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far, of all its threads, from the clock that the kernel keeps of it.

    The same as its own ``getrusage`` would say, to the nanosecond.

    Raises:
        ProcessLookupError: There is no such process.
    """
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise ProcessLookupError(pid)
    return time.clock_gettime(clock.value)


def children(parent: int) -> dict[int, list[str]]:
    """The command lines of a process's children, by process id."""
    found: dict[int, list[str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_text().split("\0")
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found[int(folder.name)] = arguments
    return found


def peak_memory_bytes() -> int:
    """The most memory that this process ever held."""
    return int(_field("/proc/self/status", "VmHWM").split()[0]) * 1024


def _node_name(arguments: list[str]) -> str:
    """A node's name is the word before the options that ``nodes.children`` gives to each."""
    if "--end-with-parent" in arguments and "--log-format" in arguments:
        return arguments[arguments.index("--log-format") - 1]
    return ""


def _loopback() -> int:
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "lo":
            return int(figures.split()[0])
    return 0


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
