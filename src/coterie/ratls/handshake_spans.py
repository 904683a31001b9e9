"""The spans of handshakes, from both sides."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coterie.errors import CoterieError, EvidenceRefused
from coterie.ratls.peer import Peer
from coterie.spans import Span, Tracer


@contextmanager
def handshake_span(tracer: Tracer, dialled: str = "") -> Iterator[Callable[[Peer], None]]:
    """Measures a handshake.

    Args:
        tracer: Takes the span. There is none if the other side spoke another protocol.
        dialled: The node that this side dialled. What dials this side has no name until it is proved.

    Yields:
        To be called with the peer that proved itself.
    """
    began = time.monotonic()
    proved: list[Peer] = []
    try:
        yield proved.append
    except CoterieError as error:
        check = error.failed_check if isinstance(error, EvidenceRefused) else ""
        seconds, failure = time.monotonic() - began, type(error).__name__
        tracer(Span("handshake", seconds, peer=dialled, error=failure, failed_check=check))
        raise
    for peer in proved:
        seconds = time.monotonic() - began
        tracer(Span("handshake", seconds, peer=peer.node, role=peer.role, kind=peer.verdict.tee))
