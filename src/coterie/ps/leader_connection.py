"""Shard 0 as the other shards reach it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from coterie.errors import CoterieError, PeerUnreachable
from coterie.ps.farewell import farewell_of
from coterie.ps.ports import ParameterServerPort

T = TypeVar("T")
_MAX_LOST = 25


class LeaderConnection:
    """The connection of another shard to shard 0; reconnects whenever a call is lost."""

    def __init__(self, connect: Callable[[], ParameterServerPort] | None) -> None:
        self._connect = connect
        self._port: ParameterServerPort | None = None

    def call(self, call: Callable[[ParameterServerPort], T]) -> T:
        """Makes a call, and repeats it if it is lost.

        Raises:
            PeerUnreachable: Shard 0 is gone, or repeated calls are lost.
        """
        assert self._connect is not None
        for attempt in range(_MAX_LOST, 0, -1):
            if self._port is None:
                self._port = self._connect()
            try:
                return call(self._port)
            except PeerUnreachable:
                self.close()
                if attempt == 1:
                    raise
        raise AssertionError

    def tell(self, error: CoterieError) -> None:
        """Reports why this shard ends, if shard 0 can be reached."""
        if self._port is not None and not isinstance(error, PeerUnreachable):
            with suppress(CoterieError):
                self._port.tell(farewell_of(error))

    def close(self) -> None:
        """Ends the connection."""
        if self._port is not None:
            self._port.close()
        self._port = None
