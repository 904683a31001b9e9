"""A TCP relay on loopback that hurts the connections through it: cuts, stalls, pauses them.

A node's two ports are relayed under their own numbers on another loopback address, because the
attestation port tells its peers the number of the other one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, field

_CHUNK_BYTES = 1 << 16


@dataclass(eq=False)
class _Line:
    """One relayed connection, both ways."""

    writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    open: asyncio.Event = field(default_factory=asyncio.Event)


class Relay:
    """Relays ports of one address to the same ports of another.

    Args:
        ports: Their numbers.
        host: Where to listen, such as 127.0.0.2.
        target: Where to relay to.
        delay_seconds: How late everything arrives: the fault of a long way.
    """

    def __init__(
        self,
        ports: tuple[int, ...],
        *,
        host: str,
        target: str = "127.0.0.1",
        delay_seconds: float = 0.0,
    ) -> None:
        self._delay = delay_seconds
        self._ports = ports
        self._host = host
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"relay-{host}")
        self._lines: set[_Line] = set()
        self._servers: list[asyncio.Server] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._left: int | None = None
        self._thread.start()
        self._do(self._listen())

    def cut(self) -> None:
        """Breaks every connection at once."""
        self._do(self._cut())

    def stall(self) -> None:
        """Lets nothing more through the present connections, which both sides still hold open."""
        self._do(self._gate(open_=False))

    def stall_after(self, octets: int) -> None:
        """Stalls as soon as so many bytes more have gone to the target, however fast it goes."""
        self._left = octets

    def resume(self) -> None:
        """Ends a stall: what was held back arrives late, but in order."""
        self._do(self._gate(open_=True))

    def close(self) -> None:
        """Ends everything."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        for port in self._ports:

            async def relay(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port
            ) -> None:
                await self._relay(reader, writer, port)

            self._servers.append(await asyncio.start_server(relay, self._host, port))

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._target, port)
        except OSError:
            writer.transport.abort()
            return
        line = _Line((writer, far_writer))
        line.open.set()
        self._lines.add(line)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink, line))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, line: _Line
    ) -> None:
        with contextlib.suppress(OSError):
            while octets := await source.read(_CHUNK_BYTES):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await line.open.wait()
                sink.write(octets)
                await sink.drain()
                if sink is line.writers[1]:
                    await self._count(len(octets))
        await line.open.wait()
        with contextlib.suppress(OSError, RuntimeError):
            sink.close()
        self._lines.discard(line)

    async def _count(self, octets: int) -> None:
        if self._left is not None:
            self._left -= octets
            if self._left <= 0:
                self._left = None
                await self._gate(open_=False)

    async def _cut(self) -> None:
        for line in list(self._lines):
            line.open.set()
            for writer in line.writers:
                writer.transport.abort()
        self._lines.clear()

    async def _gate(self, *, open_: bool) -> None:
        for line in self._lines:
            if open_:
                line.open.set()
            else:
                line.open.clear()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        await self._cut()
        pumps = list(self._pumps)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
