"""What is known of a call once it is over: for metrics."""

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
    """What an exchange of a step moved, and how long it waited for other workers.

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
    """A call that is over.

    Attributes:
        side: Of this process.
        method: Its short name.
        peer: Name of the node on the other side; empty where it did not prove any.
        received: Bytes of the message that came.
        sent: Bytes of the message that went.
        seconds: From its arrival in this process to its end here.
        error: Class of the error of the tree that it ended with; empty for none.
        work: Of a step's exchange.
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
    """What an exchange moved, if it was answered."""
    if reply.pending:
        return None
    pushed = len(request.push.row_ids) // _ID_BYTES if request.push else 0
    return CallWork(pushed, len(request.next_row_ids) // _ID_BYTES, reply.waited_seconds)


@dataclass
class CallTimer:
    """Tells an observer of a call when the context closes."""

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
