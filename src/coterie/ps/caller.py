"""The caller of a call."""

from __future__ import annotations

from dataclasses import dataclass

from coterie.kinds import Role


@dataclass(frozen=True)
class Caller:
    """The caller, as authenticated by the transport.

    Attributes:
        node: Name in the contract.
        role: Its role there.
        incarnation: Its incarnation; a larger number replaces a smaller one of the same node.
    """

    node: str
    role: Role
    incarnation: int
