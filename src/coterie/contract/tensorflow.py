"""The contract's ``[tensorflow]`` section: a TensorFlow cluster's program and TensorFlow."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from coterie.contract.section import Section

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TensorFlowSection(Section):
    """Digests of what runs. They are in the contract's digest, and so in every node's claims.

    A simulated contract may leave them out for ``coterie tensorflow run``, which then fills in what it
    finds here; a node that is started by itself needs both.

    Attributes:
        program: SHA-256 of the program's file.
        wheel: Digest of the installed TensorFlow's code; ``coterie tensorflow measure`` prints it.
    """

    program: Digest | None = None
    wheel: Digest | None = None
