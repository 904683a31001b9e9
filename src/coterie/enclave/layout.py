"""Where things lie, inside of the enclave and beside it on the host. The manifest repeats these paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

#: The interpreter's home inside of the enclave; everything in it is a trusted file.
HOME = PurePosixPath("/opt/coterie")


@dataclass(frozen=True)
class Mounts:
    """The folders that a node finds inside of its enclave.

    Attributes:
        root: Root of the file tree; ``/`` but in tests.
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
        """Untrusted: what the node keeps or gives away, each sealed by the node itself, or public."""
        return self.root / "coterie" / "out"

    @property
    def memory(self) -> Path:
        """What the node remembers; encrypted by the library OS under a key of this enclave."""
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
        """The file that names the node and says where others are."""
        return self.inputs / "node.toml"
