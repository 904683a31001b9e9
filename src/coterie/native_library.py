"""Native libraries: C sources that become a shared object in the package's folder.

A library is built when the package is installed (``hatch_build.py``) or by a command, with a C
compiler of the host. It contains the digest of what it was built from, and is not loaded if its
sources here have another one. So a process never runs C code that the package does not show.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from coterie.errors import EnvironmentUnfit

#: What every library is compiled with. A function is exported only if its source says so by
#: ``__attribute__((visibility("default")))``: two libraries in one process share no names.
FLAGS = (
    *("-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra"),
    *("-fvisibility=hidden", "-fstack-protector-strong"),
)
_LINK = ("-shared", "-Wl,-z,relro,-z,now,-z,defs")
_ANY_PROGRAM = "int main(void) { return 0; }\n"
_BUILD_SECONDS = 120


@dataclass(frozen=True)
class NativeLibrary:
    """What a library is made from. It exports ``const char *coterie_source_digest(void)``.

    Attributes:
        title: What messages call it.
        path: The shared object, in the folder where it is built.
        sources: C files that are compiled.
        headers: Files that they include. Sources are compiled with the folders of all these files
            as include folders, and with the macro ``SOURCE_DIGEST``, a string.
        without: What works if it is missing; the end of a sentence.
        build_command: The command that builds it.
        needs: What is installed to build it, with the names of Debian's packages.
        flags: Flags of the compiler beside ``FLAGS``.
        link: Libraries that it is linked with.
        probe: A C program that compiles only where what the sources include is installed.
        probe_needs: What the probe needs.
    """

    title: str
    path: Path
    sources: tuple[Path, ...]
    headers: tuple[Path, ...]
    without: str
    build_command: str
    needs: str = "a C compiler (Debian: gcc and libc6-dev)"
    flags: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    probe: str = _ANY_PROGRAM
    probe_needs: str = "a C compiler that makes programs"

    @property
    def source_digest(self) -> str:
        """SHA-256 over the names and contents of its files, and over its flags; hex."""
        digest = hashlib.sha256()
        parts = [flag.encode() for flag in (*FLAGS, *self.flags, *_LINK, *self.link)]
        for file in (*self.sources, *self.headers):
            parts += [file.name.encode(), file.read_bytes()]
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    @property
    def include_flags(self) -> tuple[str, ...]:
        """The compiler's flags for the folders of its files."""
        folders = dict.fromkeys(file.parent for file in (*self.sources, *self.headers))
        return tuple(f"-I{folder}" for folder in folders)

    def compiler(self) -> str:
        """Path of a C compiler that finds what the sources include.

        Raises:
            EnvironmentUnfit: Something is missing; the error says what.
        """
        found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if found is None:
            raise self._unfit("a C compiler", "none of cc, gcc, clang")
        with tempfile.TemporaryDirectory(prefix="coterie-cc-") as scratch:
            probe = Path(scratch, "probe.c")
            probe.write_text(self.probe)
            program = probe.with_suffix("")
            tried = _run([found, *self.flags, str(probe), "-o", str(program), *self.link])
        if tried.returncode:
            raise self._unfit(self.probe_needs, _first_error(tried.stderr))
        return found

    def build(self) -> Path:
        """Builds it, unless it exists and was built from these sources.

        Returns:
            Its path.

        Raises:
            EnvironmentUnfit: The compiler or a header is missing, or the folder cannot be written.
        """
        digest = self.source_digest
        if self.path.exists() and digest.encode() in self.path.read_bytes():
            return self.path
        compiler = self.compiler()
        try:
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=".building-", suffix=".so")
            os.close(handle)
        except OSError as error:
            raise self._unfit(
                f"a folder to write to, {self.path.parent}", error.strerror or ""
            ) from error
        unfinished = Path(name)
        sources = map(str, self.sources)
        flags = (*FLAGS, *self.flags, *self.include_flags, f'-DSOURCE_DIGEST="{digest}"')
        try:
            made = _run([compiler, *flags, *sources, "-o", name, *_LINK, *self.link])
            if made.returncode:
                raise self._unfit("a compiler that builds its sources", _first_error(made.stderr))
            unfinished.chmod(0o755)
            unfinished.replace(self.path)
        finally:
            unfinished.unlink(missing_ok=True)
        return self.path

    def load(self) -> ctypes.CDLL:
        """Loads it into this process. Its functions release the interpreter's lock (GIL).

        Raises:
            EnvironmentUnfit: It is missing, or was built from other sources.
        """
        try:
            library = ctypes.CDLL(str(self.path))
        except OSError as error:
            raise EnvironmentUnfit(
                f"there is no file with {self.title}",
                expected=str(self.path),
                seen=str(error)[:300],
                remedy=f"run `{self.build_command}`; it needs {self.needs}",
            ) from error
        library.coterie_source_digest.restype = ctypes.c_char_p
        built_from = library.coterie_source_digest().decode()
        if built_from != self.source_digest:
            raise EnvironmentUnfit(
                f"{self.title} was built from other sources",
                expected=self.source_digest,
                seen=built_from[:64],
                remedy=f"run `{self.build_command}`",
            )
        return library

    def _unfit(self, expected: str, seen: str) -> EnvironmentUnfit:
        return EnvironmentUnfit(
            f"{self.title} cannot be built",
            expected,
            seen,
            remedy=f"install {self.needs}, then run `{self.build_command}`; {self.without}",
        )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False
    )


def _first_error(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line] or text.splitlines() or ["none"]
    return lines[0][:300]
