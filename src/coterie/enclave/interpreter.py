"""The files of the Python installation for an image, checked against the lock file."""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.metadata
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import coterie
from coterie.enclave.contents import ImageName, belongs, standard
from coterie.errors import EnvironmentUnfit

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: *; *([^\\]+))?", re.MULTILINE)
_REMEDY = "install the lock file again, by hash, into an empty virtual environment"


@dataclass(frozen=True)
class SourceFile:
    """A file that goes into an image.

    Attributes:
        source: Its present path.
        target: Its path in the image, relative to the image's home.
        executable: Whether it is executable.
    """

    source: Path
    target: PurePosixPath
    executable: bool = False


def interpreter_files() -> Iterator[SourceFile]:
    """The interpreter and its standard library."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(sys.base_prefix)
    yield SourceFile(Path(sys.executable).resolve(), PurePosixPath("bin", version), executable=True)
    shared = Path(str(sysconfig.get_config_var("LIBDIR"))) / str(
        sysconfig.get_config_var("INSTSONAME")
    )
    # Debian's interpreter contains libpython; an interpreter that links to it needs the library.
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and shared.exists():
        yield SourceFile(shared.resolve(), PurePosixPath("lib", shared.name))
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": str(base)}))
    for path in sorted(library.rglob("*")):
        relative = PurePosixPath(path.relative_to(library).as_posix())
        if path.is_file() and standard(relative):
            yield SourceFile(path, PurePosixPath("lib", version) / relative)


def package_files(
    names: tuple[str, ...], lock: Path, image: ImageName = "worker"
) -> Iterator[SourceFile]:
    """The files of installed distributions, and Coterie's own.

    Args:
        names: Names of the distributions.
        lock: The lock file, which pins their versions.
        image: The image, which selects their files.

    Raises:
        EnvironmentUnfit: A distribution is missing, has another version, or has altered files.
    """
    pins = _pins(lock)
    site = PurePosixPath(
        "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages"
    )
    for name in names:
        for relative, source in _distribution(name, pins, image):
            yield SourceFile(source, site / relative)
    package = Path(coterie.__file__).parent
    for path in sorted(package.rglob("*")):
        relative = PurePosixPath(package.name) / path.relative_to(package).as_posix()
        if path.is_file() and belongs(relative, image):
            yield SourceFile(path, site / relative)


def _distribution(
    name: str, pins: dict[str, set[str]], image: ImageName
) -> Iterator[tuple[PurePosixPath, Path]]:
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise _unfit(name, "installed", "missing") from error
    if found.version not in pins.get(name, set()):
        raise _unfit(
            name, " or ".join(sorted(pins.get(name, {"a version of the lock file"}))), found.version
        )
    for file in sorted(found.files or (), key=str):
        relative = PurePosixPath(file.as_posix())
        if not belongs(relative, image):
            continue
        source = Path(str(file.locate()))
        if file.hash is not None:
            _check(name, source, file.hash.mode, file.hash.value)
        yield relative, source


def _check(name: str, source: Path, mode: str, value: str) -> None:
    """Compares an installed file with its wheel's record."""
    if mode != "sha256":
        raise _unfit(name, "records with SHA-256", mode)
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise _unfit(name, f"the file {source.name}", error.strerror or "unreadable") from error
    recorded = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    if not hmac.compare_digest(digest, recorded):
        raise _unfit(name, f"{source.name} as its wheel has it", "an altered file")


def _pins(lock: Path) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for name, version, _ in _PIN.findall(lock.read_text()):
        pins.setdefault(name, set()).add(version)
    return pins


def _unfit(name: str, expected: str, seen: str) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"the installed package {name} is not what the lock file pins",
        expected,
        seen,
        remedy=_REMEDY,
    )
