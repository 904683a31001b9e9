"""The files of Debian's packages of which a guest is built, and the tools that build it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from coterie.errors import EnvironmentUnfit

_KERNELS: Final = "boot/vmlinuz-*-cloud-amd64"
_MODULES: Final = "usr/lib/modules"
_STUB: Final = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"
_UKIFY: Final = "usr/bin/ukify"
#: Programs of Debian's that a build runs, and the package of each.
TOOLS: Final = {
    "mkfs.vfat": "dosfstools",
    "mksquashfs": "squashfs-tools",
    "mcopy": "mtools",
    "mmd": "mtools",
    "veritysetup": "cryptsetup-bin",
}
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")

_unfit = partial(
    EnvironmentUnfit,
    "a guest cannot be built here",
    remedy="`make guest-packages` fetches what is needed; docs/deployment.md has the list",
)


@dataclass(frozen=True)
class Platform:
    """The files of packages linux-image-cloud-amd64, systemd-boot-efi and systemd-ukify.

    Attributes:
        kernel: The kernel.
        release: Its release, as ``uname -r`` says it.
        modules: The folder of its modules.
        stub: systemd's stub, which starts the kernel and measures its parts.
        ukify: The program that joins them.
    """

    kernel: Path
    release: str
    modules: Path
    stub: Path
    ukify: Path

    def digests(self) -> dict[str, str]:
        """SHA-256 of the files, hex, by name."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (self.kernel, self.stub, self.ukify)
        }


def find_platform(root: Path) -> Platform:
    """Finds the files below a folder with unpacked packages, or below ``/``.

    Raises:
        EnvironmentUnfit: A file is missing, or there are several kernels.
    """
    kernels = sorted(root.glob(_KERNELS))
    if len(kernels) != 1:
        raise _unfit(
            expected=f"one {_KERNELS} below {root}",
            seen=", ".join(path.name for path in kernels) or "none",
        )
    release = kernels[0].name.removeprefix("vmlinuz-")
    found = Platform(kernels[0], release, root / _MODULES / release, root / _STUB, root / _UKIFY)
    for path in (found.modules, found.stub, found.ukify):
        if not path.exists():
            raise _unfit(expected=f"{path.relative_to(root)} below {root}", seen="none")
    return found


def missing_tools() -> tuple[str, ...]:
    """The packages of Debian's that are missing here, sorted."""
    missing = {package for name, package in TOOLS.items() if _program(name) is None}
    return tuple(sorted(missing))


def run_tool(name: str, arguments: Sequence[str], **environment: str) -> str:
    """Runs one of ``TOOLS`` and returns what it prints.

    Raises:
        EnvironmentUnfit: It is missing, or fails.
    """
    program = _program(name)
    if program is None:
        raise _unfit(expected=f"{name}, of Debian's package {TOOLS[name]}", seen="none")
    return _run(name, [program, *arguments], environment)


def run_ukify(platform: Platform, arguments: Sequence[str]) -> None:
    """Runs ``ukify``, by this interpreter if that has what it imports.

    Raises:
        EnvironmentUnfit: It fails.
    """
    program = [str(platform.ukify)]
    if importlib.util.find_spec("pefile") is not None:
        program = [sys.executable, "-I", *program]
    _run("ukify", [*program, *arguments], {})


def _run(name: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    kept = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC", **environment}
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise _unfit(expected=f"{name} to succeed", seen=(done.stderr + done.stdout).strip()[-300:])
    return done.stdout


def _program(name: str) -> str | None:
    folders = [os.environ.get("PATH", ""), *_SYSTEM_FOLDERS]
    return shutil.which(name, path=os.pathsep.join(folders))
