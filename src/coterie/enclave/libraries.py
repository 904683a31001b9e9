"""The system's shared libraries that an image needs, as the dynamic linker finds them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from coterie.enclave.interpreter import SourceFile
from coterie.errors import EnvironmentUnfit

# Gramine brings its own C library, patched for the library OS; the system's must be left out.
_GRAMINE_BRINGS = (
    "ld-linux-x86-64.so.2",
    "libanl.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libmvec.so.1",
    "libnss_dns.so.2",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
)
# Opened by name at run time (pthread_exit), so no ELF header names it.
_OPENED_BY_NAME = ("libgcc_s.so.1",)
_ELF = b"\x7fELF"
_BATCH = 64


_unfit = partial(
    EnvironmentUnfit,
    "the shared libraries of the image cannot be found",
    remedy="build in the image that deploy/docker/Dockerfile describes",
)


def system_libraries(
    files: Iterable[SourceFile], *, c_library: bool = False
) -> Iterator[SourceFile]:
    """The libraries outside of the image to which its programs and libraries link.

    Args:
        files: The image's files so far.
        c_library: Whether the system's own C library is among them; Gramine brings another one.

    Raises:
        EnvironmentUnfit: A library is missing, or the linker cannot be asked.
    """
    binaries = sorted({file.source for file in files if _is_elf(file.source)})
    # Wheels load their own libraries before the ones that link to them; no search path has those.
    inside = {path.name for path in binaries} | {path.resolve().name for path in binaries}
    found: dict[str, Path | None] = {}
    for start in range(0, len(binaries), _BATCH):
        found |= dict(_linked(binaries[start : start + _BATCH]))
    left_out = inside if c_library else inside | set(_GRAMINE_BRINGS)
    for name in sorted(found.keys() - left_out):
        path = found[name]
        if path is None:
            raise _unfit(f"the library {name}", "none")
        if path.resolve().name not in inside:
            yield SourceFile(path.resolve(), PurePosixPath("lib", "system", name))


def _linked(binaries: list[Path]) -> Iterator[tuple[str, Path | None]]:
    """The output of ``ldd`` for some files: names of libraries, and their paths if found."""
    arguments = ["ldd", *(str(path) for path in binaries)]
    try:
        said = subprocess.run(arguments, capture_output=True, text=True, check=False)
    except OSError as error:
        raise _unfit("the program ldd", error.strerror or "none") from error
    for line in said.stdout.splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if not arrow:
            continue
        path = None if rest.startswith("not found") else Path(rest.split(" (")[0])
        yield name, path
        if path is None:
            continue
        for needed in _OPENED_BY_NAME:
            beside = path.parent / needed
            if beside.exists():
                yield needed, beside


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ELF)) == _ELF
