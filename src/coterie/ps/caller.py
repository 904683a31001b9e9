"""Who makes a call."""

from __future__ import annotations

from dataclasses import dataclass

from coterie.kinds import Role


@dataclass(frozen=True)
class Caller:
    """Who calls, as the transport proved it.

    Attributes:
        node: Name in the contract.
        role: Its role there.
        incarnation: Of two incarnations of a node the newer one (the larger number) counts.
    """

    node: str
    role: Role
    incarnation: int
