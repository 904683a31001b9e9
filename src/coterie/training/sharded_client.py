"""Calls all shards of the parameter server as if they were one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np

from coterie.arrays import FloatArray, IdArray, IntpArray
from coterie.contract import Contract
from coterie.errors import ProtocolError
from coterie.parameters.sharding import Sharding
from coterie.ps.ports import ParameterServerPort

Answer = TypeVar("Answer")
Array = TypeVar("Array", FloatArray, IdArray)
Places = IntpArray | None


def part_of(array: Array, places: Places) -> Array:
    """The entries at places along axis 0; all of them, uncopied, for None."""
    return array if places is None else array[places]


class ShardedClient:
    """One connection to each shard.

    Args:
        connect: Connects to a shard, by number.
        contract: Gives the number of shards, and the rows that they share.
    """

    def __init__(self, connect: Callable[[int], ParameterServerPort], contract: Contract) -> None:
        self.count = len(contract.by_role("ps"))
        self._connect = connect
        self._dim = contract.model.embedding_dim
        self._width = contract.exchanged_width
        self._sharding = Sharding(contract.data.total_rows, self.count)
        self._ports: list[ParameterServerPort] = []
        self._ahead: Future[list[ParameterServerPort]] | None = None
        self._closed = threading.Event()
        # Abandoned calls may occupy their threads for a while.
        self._pool = ThreadPoolExecutor(8 * self.count, "shard") if self.count > 1 else None
        self.abandoned = threading.Event()  # of the calls in progress; every `on_each` has its own

    def dial_ahead(self) -> None:
        """Starts to connect on a thread of its own; `arrive` or the first call waits for it."""
        self._ahead = ahead = Future[list[ParameterServerPort]]()

        def dial() -> None:
            try:
                ports = self.on_each(self._connect)
            except Exception as error:  # noqa: BLE001 (raised by `arrive`)
                ahead.set_exception(error)
                return
            ahead.set_result(ports)
            if self._closed.is_set():
                for port in ports:
                    port.close()

        threading.Thread(target=dial, name="dialling", daemon=True).start()

    def arrive(self) -> None:
        """Waits for the connections that `dial_ahead` has started.

        Raises:
            CoterieError: A shard cannot be reached, or refuses.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            self._ports = ahead.result()

    @property
    def ports(self) -> list[ParameterServerPort]:
        """The shards' ports; connects at first use."""
        self.arrive()
        if not self._ports:
            self._ports = self.on_each(self._connect)
        return self._ports

    @property
    def open_ports(self) -> list[ParameterServerPort]:
        """The open connections; makes none."""
        return list(self._ports)

    def reconnect(self) -> None:
        """Drops every connection; the next call connects again."""
        for port in self._ports:
            port.close()
        self._ports = []

    def close(self) -> None:
        """Ends every connection."""
        self._closed.set()
        self.reconnect()
        if self._pool is not None:
            # The fabric ends a connection attempt that is under way.
            self._pool.shutdown(wait=False)

    def on_each(self, call: Callable[[int], Answer]) -> list[Answer]:
        """Calls a function for every shard at once, by number; raises as soon as one call fails.

        The other calls may then be waiting for the step that the failed call would have completed.
        They are abandoned, and ``abandoned`` tells them.
        """
        if self._pool is None:
            return [call(0)]
        self.abandoned = abandoned = threading.Event()
        futures = [self._pool.submit(call, shard) for shard in range(self.count)]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        if waiting or any(future.exception() for future in done):
            abandoned.set()
            raise next(e for future in done if (e := future.exception()) is not None)
        return [future.result() for future in futures]

    def deal(self, row_ids_u: IdArray) -> list[Places]:
        """For every shard, the places of its rows in ``row_ids_u``; None: all of them."""
        if self.count == 1:
            return [None]
        owners = self._sharding.owners(row_ids_u)
        return [np.flatnonzero(owners == shard) for shard in range(self.count)]

    def rows(
        self, octets: bytes | memoryview, count: int, *, for_training: bool = False
    ) -> FloatArray:
        """Decodes rows of one shard, float32 [count, dim].

        Args:
            octets: The received bytes.
            count: Number of rows.
            for_training: Whether each row is followed by its state of the workers' own optimizer.

        Raises:
            ProtocolError: They are of another size.
        """
        width = self._width if for_training else self._dim
        if len(octets) != 4 * count * width:
            raise ProtocolError(
                "the parameter server sent rows of a wrong size",
                expected=f"{count} rows of {width} float32 values",
                seen=f"{len(octets)} bytes",
            )
        return np.frombuffer(octets, "<f4").reshape(count, width)

    def gather(self, parts: list[FloatArray], places: list[Places], count: int) -> FloatArray:
        """Puts the shards' rows back into the requested order, with all their columns."""
        if self.count == 1:
            return parts[0]
        rows_ud = np.empty((count, parts[0].shape[1]), np.float32)
        for part, place in zip(parts, places, strict=True):
            if place is not None:
                rows_ud[place] = part
        return rows_ud
