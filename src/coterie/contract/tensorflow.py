"""The contract's ``[tensorflow]`` section: a TensorFlow cluster's program and TensorFlow."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from coterie.contract.section import Section
from coterie.contract.tensorflow_operations import HARMLESS

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Operation = Annotated[str, Field(pattern=r"^_?[A-Z][A-Za-z0-9]{0,80}$")]


class TensorFlowSection(Section):
    """Digests of what runs. They are in the contract's digest, and so in every node's claims.

    A simulated contract may leave them out for ``coterie tensorflow run``, which then fills in what it
    finds here; a node that is started by itself needs both.

    Attributes:
        program: SHA-256 of the program's file.
        wheel: Digest of the installed TensorFlow's code; ``coterie tensorflow measure`` prints it.
        operations: Mode hfl only: the operations that workers may run on parameter servers; each
            must be one of those that reach nothing but tensors.
    """

    LATER = frozenset({"operations"})

    program: Digest | None = None
    wheel: Digest | None = None
    operations: Annotated[tuple[Operation, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _check_operations(self) -> Self:
        unsafe = sorted(set(self.operations) - HARMLESS)
        if unsafe:
            raise ValueError(
                f"tensorflow.operations may not have {', '.join(unsafe)}: they can reach files, processes, "
                "the network or Python, or nobody has looked at them"
            )
        if len(set(self.operations)) != len(self.operations):
            raise ValueError("tensorflow.operations must be unique")
        return self
