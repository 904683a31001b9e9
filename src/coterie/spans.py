"""Spans: what a node did and how long it took, as its traces show it.

A span has no field for data, losses, rows, addresses or text of an error. What is not a field cannot be
traced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from coterie.kinds import Role, TeeKind

Work = Literal[
    "handshake",
    "step",
    "prepare",
    "compute",
    "exchange",
    "decode",
    "apply",
    "read",
    "wait",
    "checkpoint",
    "validation",
]


@dataclass(frozen=True)
class Span:
    """Work that has just ended.

    Attributes:
        work: Its kind.
        seconds: How long it took.
        step: The training step that it belongs to, if it belongs to one.
        peer: The other node's name in the contract, once it is proved or because this node dialled it.
        role: The proved peer's role.
        kind: The proved peer's kind of TEE.
        error: Class of the error that it ended with, or empty.
        failed_check: Name of the check that refused the peer, or empty.
        parts: What it consisted of, one after the other, with seconds each.
    """

    work: Work
    seconds: float
    step: int | None = None
    peer: str = ""
    role: Role | None = None
    kind: TeeKind | None = None
    error: str = ""
    failed_check: str = ""
    parts: tuple[tuple[Work, float], ...] = ()


Tracer = Callable[[Span], None]
"""Takes the spans of a node, from any thread. It never blocks and never raises."""


def untraced(_span: Span) -> None:
    """Traces nothing."""
