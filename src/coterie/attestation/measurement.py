"""The measurement of a simulated TEE: a digest of the installed package, code and lock file.

It replaces MRENCLAVE if there is no enclave: changed code gives another measurement. It proves
nothing, since the measured program does the measuring.

All code that may run is measured. Native libraries are built on machines with a C compiler, and
differ with it; what they are built from is measured, and a library of other sources is not loaded.
The native part of ``coterie tensorflow`` handles keys, and only nodes of TensorFlow clusters load it:
it is measured as built, but only under their contracts. Under other contracts, all machines with the
same release have the same measurement.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import coterie
from coterie.errors import EnvironmentUnfit, reason

_LABEL = b"coterie package measurement 2\0"
_CACHES = frozenset({".pyc", ".pyo"})
# No module can be imported from this folder: `coterie/tensorflow/native.py` has the same name.
_FOR_PROGRAMS = "tensorflow/native"
_BUILT_HERE = frozenset({"plane/native", _FOR_PROGRAMS})


def own_package_measurement(*, tensorflow: bool) -> bytes:
    """SHA-256 over the installed ``coterie`` package; 32 bytes.

    Args:
        tensorflow: Whether it is for nodes of a TensorFlow cluster, which load the native part.

    Raises:
        EnvironmentUnfit: The package's files cannot be read.
    """
    return package_measurement(Path(coterie.__file__).parent, tensorflow=tensorflow)


def package_measurement(root: Path, *, tensorflow: bool = False) -> bytes:
    """SHA-256 over a package folder: every file's relative path and content, sorted by path.

    Interpreter caches (``__pycache__``, ``*.pyc``) are left out. Lengths precede paths and
    contents, so that no two trees give the same input to the hash.

    Args:
        root: The package's folder.
        tensorflow: Whether to include the native part as it was built here.

    Returns:
        32 bytes.

    Raises:
        EnvironmentUnfit: A file cannot be read, or there is none.
    """
    digest = hashlib.sha256(_LABEL)
    try:
        files = sorted(
            (path.relative_to(root).as_posix().encode(), path)
            for path in root.rglob("*")
            if path.is_file()
            and "__pycache__" not in path.parts
            and path.suffix not in _CACHES
            and not _left_out(path.relative_to(root), tensorflow=tensorflow)
        )
        for name, path in files:
            content = path.read_bytes()
            digest.update(len(name).to_bytes(8, "big") + name)
            digest.update(len(content).to_bytes(8, "big") + content)
    except OSError as error:
        raise _unfit(root, reason(error)) from error
    if not files:
        raise _unfit(root, "no files")
    return digest.digest()


def _unfit(root: Path, seen: str) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        f"the package at {root} cannot be measured",
        "a folder with the package's files, readable",
        seen,
        remedy="install the package from its wheel or checkout as plain files",
    )


def _left_out(path: Path, *, tensorflow: bool) -> bool:
    folder = path.parent.as_posix()
    built_here = folder in _BUILT_HERE and path.suffix == ".so"
    return built_here and not (tensorflow and folder == _FOR_PROGRAMS)
