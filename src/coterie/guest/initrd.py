"""The initial file system of a guest: an interpreter with the modules of its first program."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import zstandard

from coterie.enclave.layout import HOME
from coterie.errors import EnvironmentUnfit
from coterie.guest.archive import Entry, pack
from coterie.guest.early import MODULES

#: The dynamic linker, at the place that programs name.
LINKER: Final = PurePosixPath("lib64", "ld-linux-x86-64.so.2")
_LEVEL = 10
_LISTING = """
import coterie.guest.early, sys
for module in list(sys.modules.values()):
    for name in ("__file__", "__cached__"):
        if path := getattr(module, name, None):
            print(path)
for line in open("/proc/self/maps"):
    print(line.split(maxsplit=5)[-1].strip())
"""

_incomplete = partial(
    EnvironmentUnfit,
    "the guest's first program does not run by the image's interpreter",
    remedy="install the lock file again, by hash, into an empty virtual environment",
)


def build_initrd(home: Path, linker: Path, modules: tuple[Path, ...]) -> bytes:
    """The compressed archive. The same files give the same bytes.

    Args:
        home: The laid-out image's home.
        linker: The dynamic linker.
        modules: Kernel modules in the order of loading.

    Raises:
        EnvironmentUnfit: The image's interpreter cannot run the program.
    """
    (python,) = (home / "bin").iterdir()
    inside = PurePosixPath(str(HOME).lstrip("/"))
    files = {
        _place(PurePosixPath(path.relative_to(home).as_posix()), inside): Entry(path.read_bytes())
        for path in _loaded(python, home)
    }
    files[inside / "bin" / python.name] = Entry(python.read_bytes(), executable=True)
    files[LINKER] = Entry(linker.read_bytes(), executable=True)
    files[PurePosixPath("init")] = Entry(_init(python.name), executable=True)
    for number, module in enumerate(modules):
        files[PurePosixPath(MODULES, f"{number:03}-{module.name}")] = Entry(module.read_bytes())
    return zstandard.ZstdCompressor(level=_LEVEL).compress(pack(files))


def _place(path: PurePosixPath, home: PurePosixPath) -> PurePosixPath:
    """Where a file of the home goes: libraries to where the linker looks without being told."""
    if path.parent in (PurePosixPath("lib"), PurePosixPath("lib", "system")):
        return PurePosixPath("lib", path.name)
    return home / path


def _init(python: str) -> bytes:
    """The script that the kernel starts. It sets what the interpreter reads before any module."""
    site = HOME / "lib" / python / "site-packages"
    return (
        f"#!{HOME / 'bin' / python} -ISB\n"
        f'import sys\nsys.path.append("{site}")\n'
        "from coterie.guest.early import main\nmain()\n"
    ).encode()


def _loaded(python: Path, home: Path) -> tuple[Path, ...]:
    """The modules and libraries that the first program loads, asked of the interpreter itself."""
    site = home / "lib" / python.name / "site-packages"
    code = f"import sys\nsys.path.append({str(site)!r})\n{_LISTING}"
    try:
        said = subprocess.run(
            [str(python), "-ISB", "-c", code],
            env={"LD_LIBRARY_PATH": f"{home / 'lib'}:{home / 'lib' / 'system'}"},
            capture_output=True,
            text=True,
            check=True,
        )
    except subprocess.CalledProcessError as error:
        raise _incomplete("all modules", str(error.stderr).strip()[-300:]) from error
    listed = {Path(line) for line in said.stdout.splitlines()}
    return tuple(sorted(path for path in listed if path.is_relative_to(home) and path.is_file()))
