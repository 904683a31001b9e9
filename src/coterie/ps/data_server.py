"""Serves data connections, each on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coterie.errors import PeerUnreachable
from coterie.ps.call_metrics import CallObserver
from coterie.ps.caller import Caller
from coterie.ps.data_calls import MOST_PER_NODE, DataService, Stream
from coterie.ps.methods import Port, Unary

if TYPE_CHECKING:
    from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest


@dataclass(eq=False)
class _Served:
    """A connection.

    Attributes:
        stream: The connection.
        node: The node at its other end.
        thread: Serves it.
        calls: Whether a call is under way.
    """

    stream: Stream
    node: str
    thread: threading.Thread
    calls: bool = False


class DataServer:
    """Serves the bulk method of a table on any number of data connections.

    A node may have ``MOST_PER_NODE`` of them; a further one replaces its oldest.

    Args:
        table: The calls; one of them is bulk.
        service: Serves them.
        most_bytes: Longest message, both ways.
        observe: Called for every call.
    """

    def __init__(
        self, table: type[Port], service: object, *, most_bytes: int, observe: CallObserver
    ) -> None:
        (method,) = bulk_methods(table)
        self._service = DataService(
            method, method.on(service), most_bytes=most_bytes, observe=observe
        )
        # Guards what follows; never held over the network.
        self._changed = threading.Condition()
        self._served: list[_Served] = []  # oldest first
        self._stopping = False

    def take(self, stream: Stream, admitted: Callable[[], Caller]) -> None:
        """Serves a connection from now on; returns at once.

        Args:
            stream: The connection.
            admitted: The caller; raises CallRefused if it may not call any more.

        Raises:
            CallRefused: It may not call.
        """
        node = admitted().node
        thread = threading.Thread(
            target=lambda: self._serve(served, admitted), name=f"data-{node}", daemon=True
        )
        served = _Served(stream, node, thread)
        with self._changed:
            refused = self._stopping
            same = [one for one in self._served if one.node == node]
            if not refused:
                self._served.append(served)
        if refused:
            stream.close()
            return
        for one in same[: max(0, len(same) + 1 - MOST_PER_NODE)]:
            one.stream.abort()
        try:
            thread.start()
        except RuntimeError:  # the system has no further thread: `stop` must not wait for this one
            self._forget(served)
            raise

    def stop(self, grace: float) -> None:
        """Ends all connections; calls under way get ``grace`` seconds."""
        with self._changed:
            self._stopping = True
            for one in self._served:
                if not one.calls:
                    one.stream.abort()
            self._changed.wait_for(lambda: not self._served, grace)
            left = list(self._served)
        for one in left:
            one.stream.abort()
        for one in left:
            one.thread.join()

    def _serve(self, served: _Served, admitted: Callable[[], Caller]) -> None:
        stream = served.stream
        try:
            while stream.wait() and self._begins(served):
                if not self._service.serve_one(stream, admitted) or not self._ended(served):
                    return
        except PeerUnreachable:
            return  # it calls again on another connection
        finally:
            stream.close()
            self._forget(served)

    def _forget(self, served: _Served) -> None:
        with self._changed:
            self._served.remove(served)
            self._changed.notify_all()

    def _begins(self, served: _Served) -> bool:
        with self._changed:
            served.calls = True
            return not self._stopping

    def _ended(self, served: _Served) -> bool:
        with self._changed:
            served.calls = False
            return not self._stopping


def bulk_methods(
    table: type[Port],
) -> tuple[Unary[ExchangeRequest, ExchangeReply], ...]:
    """The entries of a table that data connections carry."""
    return tuple(method for method in table.methods() if isinstance(method, Unary) and method.bulk)
