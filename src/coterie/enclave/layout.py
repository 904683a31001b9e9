"""Paths inside of the enclave and beside it on the host. The manifest repeats these paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

#: The interpreter's home inside of the enclave; everything in it is a trusted file.
HOME = PurePosixPath("/opt/coterie")


@dataclass(frozen=True)
class Mounts:
    """The mounted folders inside of a node's enclave.

    Attributes:
        root: Root of the file tree; ``/`` except in tests.
    """

    root: Path = Path("/")

    @property
    def inputs(self) -> Path:
        """Untrusted: the contract with its signatures, and ``node.toml``."""
        return self.root / "coterie" / "inputs"

    @property
    def data(self) -> Path:
        """Untrusted: the party's sealed data set."""
        return self.root / "coterie" / "data"

    @property
    def out(self) -> Path:
        """Untrusted: the node's outputs, each sealed by the node itself, or public."""
        return self.root / "coterie" / "out"

    @property
    def memory(self) -> Path:
        """The node's memory of runs; the library OS encrypts it under a key of this enclave."""
        return self.root / "coterie" / "memory"

    @property
    def contract(self) -> Path:
        """The contract's file."""
        return self.inputs / "contract.toml"

    @property
    def program(self) -> Path:
        """A TensorFlow cluster's program; the contract names its digest."""
        return self.inputs / "program.py"

    @property
    def node(self) -> Path:
        """The file with the node's name and the others' addresses."""
        return self.inputs / "node.toml"
