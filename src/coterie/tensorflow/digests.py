"""Digests of what runs: of the program's bytes, and of the installed TensorFlow's code.

The contract holds both digests, and every claim holds the contract's digest. A node hashes what it
finds, refuses what the contract does not name, and runs exactly the bytes that it hashed.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from coterie.contract import Contract, TensorFlowSection
from coterie.errors import ContractInvalid, EnvironmentUnfit
from coterie.files import read_bounded

MAX_PROGRAM_BYTES = 1 << 20
_WHEEL_LABEL = b"coterie tensorflow wheel 1\0"


@dataclass(frozen=True)
class Program:
    """A program, read once.

    Attributes:
        path: The file that it was read from.
        source: Its bytes.
    """

    path: Path
    source: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes, hex."""
        return hashlib.sha256(self.source).hexdigest()


def read_program(path: Path) -> Program:
    """Reads a program.

    Raises:
        EnvironmentUnfit: It cannot be read, or is too large.
    """
    try:
        source = read_bounded(path, MAX_PROGRAM_BYTES)
    except OSError as error:
        raise EnvironmentUnfit.unreadable(f"the program {path}", error, "a Python file") from error
    if len(source) > MAX_PROGRAM_BYTES:
        remedy = "a program is one Python file; data do not belong into it"
        raise EnvironmentUnfit.too_large(f"the program {path}", MAX_PROGRAM_BYTES, remedy)
    return Program(path, source)


def tensorflow_folder() -> Path:
    """The folder of the installed TensorFlow. Does not load TensorFlow.

    Raises:
        EnvironmentUnfit: It is not installed.
    """
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise EnvironmentUnfit(
            "TensorFlow is not installed",
            expected="the package tensorflow or tensorflow-cpu",
            seen="none",
            remedy="install Coterie with its dependencies",
        )
    return Path(spec.origin).resolve().parent


def wheel_digest(folder: Path) -> str:
    """Digest of a TensorFlow installation's code: Python files and shared objects, sorted by path.

    Headers, licences and interpreter caches are left out. The interpreter executes a cache only if
    it matches its source in date and size. In an enclave image caches are not compared with their
    source; there the manifest measures them.

    Args:
        folder: The package's folder.

    Returns:
        64 hex digits.

    Raises:
        EnvironmentUnfit: A file cannot be read.
    """
    digest = hashlib.sha256(_WHEEL_LABEL)
    try:
        files = sorted(
            (path.relative_to(folder).as_posix().encode(), path)
            for pattern in ("*.py", "*.so", "*.so.*")
            for path in folder.rglob(pattern)
        )
        for name, path in files:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            digest.update(len(name).to_bytes(8, "big") + name + content)
    except OSError as error:
        raise EnvironmentUnfit(
            f"TensorFlow at {folder} cannot be measured",
            expected="readable files",
            seen=error.strerror or str(error),
            remedy="install it again",
        ) from error
    return digest.hexdigest()


def completed(contract: Contract, program: Program, wheel: str) -> Contract:
    """A simulated contract with missing digests filled in; other contracts unchanged."""
    section = contract.tensorflow
    if section is None or not contract.trust.simulated:
        return contract
    filled = section.model_copy(
        update={
            "program": section.program or program.digest,
            "wheel": section.wheel or wheel,
        }
    )
    return contract.model_copy(update={"tensorflow": filled})


def check_digests(contract: Contract, program: Program, wheel: str) -> None:
    """Checks that program and TensorFlow are the ones that the contract names.

    Raises:
        ContractInvalid: The contract lacks a digest, or names another one.
    """
    section = contract.tensorflow or TensorFlowSection()
    for key, what, expected, seen in (
        ("program", f"the program {program.path.name}", section.program, program.digest),
        ("wheel", "the installed TensorFlow", section.wheel, wheel),
    ):
        if expected is None or not hmac.compare_digest(expected, seen):
            raise ContractInvalid(
                f"{what} is not the one that contract {contract.name} names",
                expected=f"tensorflow.{key} = {expected or 'a digest, but the contract has none'}",
                seen=seen,
                remedy="give the file that was agreed on; or agree on this one: `coterie tensorflow "
                "measure PROGRAM.py` prints the lines for the contract",
            )
