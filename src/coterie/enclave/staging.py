"""Lays an image's files out reproducibly: fixed times, modes and bytecode.

File times are zero inside of an enclave. Python would take every cached bytecode for stale and
compile all modules at each start. The bytecode is therefore of the kind that is not checked against
its source (PEP 552). This is safe because both are measured.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from coterie.enclave.interpreter import SourceFile
from coterie.enclave.layout import HOME
from coterie.errors import EnvironmentUnfit

HOSTS = PurePosixPath("etc", "hosts")
_HOSTS_TEXT = b"127.0.0.1 localhost\n::1 localhost\n"


@dataclass(frozen=True)
class StagedFile:
    """A file of a laid-out image.

    Attributes:
        path: Its path, relative to the image's home.
        sha256: SHA-256 of its content; 32 bytes.
    """

    path: PurePosixPath
    sha256: bytes


def stage(files: Iterable[SourceFile], home: Path) -> tuple[StagedFile, ...]:
    """Copies files into a new folder, compiles the modules, and measures everything.

    Args:
        files: The files of the image.
        home: The image's home on the host; must not exist.

    Returns:
        Every file, sorted by path.

    Raises:
        EnvironmentUnfit: The folder exists or cannot be written, two files have the same path, or a
            module does not compile.
    """
    try:
        home.mkdir(parents=True)
        interpreter = _copy(files, home)
        (home / HOSTS).parent.mkdir()
        (home / HOSTS).write_bytes(_HOSTS_TEXT)
        _compile(interpreter, home)
        for path in home.rglob("*"):
            os.utime(path, (0, 0))
        return tuple(
            StagedFile(PurePosixPath(path.relative_to(home).as_posix()), _measure(path))
            for path in sorted(home.rglob("*"))
            if path.is_file()
        )
    except OSError as error:
        raise EnvironmentUnfit(
            f"the image cannot be laid out in {home}",
            expected="a new folder, writable, with room",
            seen=error.strerror or type(error).__name__,
            remedy="name another --out folder",
        ) from error


def image_digest(files: Iterable[StagedFile]) -> bytes:
    """SHA-256 over the image's list of files in the form of sha256sum(1); 32 bytes."""
    return hashlib.sha256(image_list(files)).digest()


def image_list(files: Iterable[StagedFile]) -> bytes:
    """The image's files, a line each, as ``sha256sum --check`` reads them in the image's home."""
    return "".join(f"{file.sha256.hex()}  {file.path}\n" for file in files).encode()


def _copy(files: Iterable[SourceFile], home: Path) -> Path:
    interpreter: Path | None = None
    for file in files:
        target = home / file.target
        if target.exists():
            raise EnvironmentUnfit(
                "two files want the same place in the image",
                expected="one file",
                seen=str(file.target),
                remedy="report it: two packages carry a file of one name",
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.source, target)
        target.chmod(0o755 if file.executable else 0o644)
        interpreter = target if file.executable else interpreter
    if interpreter is None:
        raise AssertionError
    return interpreter


def _compile(interpreter: Path, home: Path) -> None:
    """Compiles each module in a new process: bytecode depends on what was compiled before."""
    arguments = [str(interpreter), "-I", "-B", "-S", "-m", "compileall", "-q", "-j", "1"]
    arguments += ["--invalidation-mode", "unchecked-hash", "-s", str(home), "-p", str(HOME)]
    arguments += [str(home / "lib")]
    environment = {
        "LD_LIBRARY_PATH": f"{home / 'lib'}:{home / 'lib' / 'system'}",
        "LC_ALL": "C.UTF-8",
    }
    said = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise EnvironmentUnfit(
            "a module of the image does not compile",
            expected="Python of the image's own version",
            seen=(said.stdout + said.stderr).strip()[:300],
            remedy="install the lock file again, into an empty virtual environment",
        )


def _measure(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
