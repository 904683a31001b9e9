"""Records of finished calls, for metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest

Side = Literal["server", "client"]
_ID_BYTES = 4


@dataclass(frozen=True)
class CallWork:
    """The rows that an exchange of a step moved, and its wait for other workers.

    Attributes:
        pushed_rows: Rows whose gradients were pushed.
        pulled_rows: Rows that the reply holds.
        waited_seconds: Time in the server until the step was complete.
    """

    pushed_rows: int
    pulled_rows: int
    waited_seconds: float


@dataclass(frozen=True)
class CallRecord:
    """A finished call.

    Attributes:
        side: This process's side.
        method: Its short name.
        peer: Name of the attested node on the other side, or empty.
        received: Bytes of the received message.
        sent: Bytes of the sent message.
        seconds: Time from its arrival in this process to its end here.
        error: Class of the error that it ended with, or empty.
        work: Work of a step's exchange.
    """

    side: Side
    method: str
    peer: str
    received: int
    sent: int
    seconds: float
    error: str
    work: CallWork | None


CallObserver = Callable[[CallRecord], None]


def ignore_call(_call: CallRecord) -> None:
    """Observes nothing."""


def exchange_work(request: ExchangeRequest, reply: ExchangeReply) -> CallWork | None:
    """The work of an exchange, if it was answered."""
    if reply.pending:
        return None
    pushed = len(request.push.row_ids) // _ID_BYTES if request.push else 0
    return CallWork(pushed, len(request.next_row_ids) // _ID_BYTES, reply.waited_seconds)


@dataclass
class CallTimer:
    """Reports a call to an observer when the context closes."""

    observe: CallObserver
    side: Side
    method: str
    peer: str = ""
    received: int = 0
    sent: int = 0
    error: str = ""
    work: CallWork | None = None
    began: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if kind is not None and not self.error:
            self.error = kind.__name__
        self.observe(
            CallRecord(
                self.side,
                self.method,
                self.peer,
                self.received,
                self.sent,
                time.monotonic() - self.began,
                self.error,
                self.work,
            )
        )
