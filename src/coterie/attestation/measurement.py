"""The measurement of a simulated TEE: a digest of the installed package, code and lock file.

It stands for MRENCLAVE where there is no enclave: changed code gives another measurement. It
proves nothing, since the program that is measured does the measuring.

What is measured is what may run. The native part of ``coterie tensorflow`` is built on each machine, where
there is a C compiler, and is loaded by nodes of TensorFlow clusters only: so it counts under their contracts,
and machines of one release that run anything else have one measurement, with it or without.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import coterie
from coterie.errors import EnvironmentUnfit, reason

_LABEL = b"coterie package measurement 2\0"
_CACHES = frozenset({".pyc", ".pyo"})
# No module can be imported from there: `coterie/tensorflow/native.py` has the folder's name.
_NATIVE = ("tensorflow/native", ".so")


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

    Interpreter caches (``__pycache__``, ``*.pyc``) do not count. Lengths precede paths and
    contents, so that no two trees give the same input to the hash.

    Args:
        root: The package's folder.
        tensorflow: Whether the native part counts, as it was built here.

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
            and (tensorflow or not _is_native(path.relative_to(root)))
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


def _is_native(path: Path) -> bool:
    return (path.parent.as_posix(), path.suffix) == _NATIVE
