"""The machine that figures were taken on, and what a process and the loopback did meanwhile."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("tensorflow-cpu", "keras", "numpy", "grpcio", "cryptography", "torch")
_TICKS = os.sysconf("SC_CLK_TCK")


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
    """CPU of this process's ``coterie node`` children (or plaintext twins), the loopback's bytes."""
    cpu: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_text().split("\0")
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        name = _node_name(arguments)
        if name and int(fields[1]) == os.getpid():
            cpu[name] = (int(fields[11]) + int(fields[12])) / _TICKS
    return Usage(cpu, _loopback())


def peak_memory_bytes() -> int:
    """The most memory that this process ever held."""
    return int(_field("/proc/self/status", "VmHWM").split()[0]) * 1024


def _node_name(arguments: list[str]) -> str:
    """A node's command is ``python -m coterie node CONTRACT NAME`` or ``-m coterie.plaintext ...``."""
    if "coterie" in arguments and "node" in arguments:
        return arguments[arguments.index("node") + 2]
    if "coterie.plaintext" in arguments:
        return arguments[arguments.index("coterie.plaintext") + 2]
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
