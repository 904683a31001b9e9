"""A thin and long line between a node and its server: a TCP relay with a rate and a delay for each direction.

``python -m benchmarks.thin_line HOST TARGET PORT [PORT ...]`` relays the same ports of both addresses. It says ``ready``
when it listens, and ends when its standard input does. All connections share the line's rate, whatever they carry.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 1 << 14
_LISTENING = "0A"
_MOST_QUEUED_SECONDS = 0.05  # of bytes that wait for the line; then a sender has to wait, too


@dataclass(frozen=True)
class LineKind:
    """A line, the same in both directions.

    Attributes:
        megabits: Per second, 10^6 bits.
        milliseconds: From one end to the other; a round trip takes twice as long.
    """

    megabits: float
    milliseconds: float

    @classmethod
    def parse(cls, text: str) -> LineKind:
        """Reads MEGABITS:MILLISECONDS."""
        megabits, _, milliseconds = text.partition(":")
        return cls(float(megabits), float(milliseconds))

    def __str__(self) -> str:
        return f"{self.megabits:g}:{self.milliseconds:g}"


class Direction:
    """When bytes get to the other end of a line: after all that went before, and after its length.

    Args:
        kind: Of the line.
    """

    def __init__(self, kind: LineKind) -> None:
        self._bytes_per_second = kind.megabits * 1e6 / 8
        self._delay = kind.milliseconds / 1000
        self._free = 0.0

    def send(self, now: float, octets: int) -> float:
        """Sends so many bytes at a time, in seconds; returns when the last of them arrives."""
        self._free = max(now, self._free) + octets / self._bytes_per_second
        return self._free + self._delay

    def queued_seconds(self, now: float) -> float:
        """How long bytes that are sent now would wait."""
        return max(0.0, self._free - now)


async def relay(host: str, target: str, ports: list[int], kind: LineKind) -> None:
    """Relays until it is cancelled."""
    up, down = Direction(kind), Direction(kind)

    async def serve(near: tuple[asyncio.StreamReader, asyncio.StreamWriter], port: int) -> None:
        try:
            far = await asyncio.open_connection(target, port)
        except OSError:
            near[1].transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(near[0], far[1], up))
                both.create_task(_pump(far[0], near[1], down))
        except* OSError:
            near[1].transport.abort()
            far[1].transport.abort()
        finally:
            near[1].close()
            far[1].close()

    async with contextlib.AsyncExitStack() as stack:
        for port in ports:

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port
            ) -> None:
                await serve((reader, writer), port)

            await stack.enter_async_context(await asyncio.start_server(accept, host, port))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        os._exit(0)  # nothing is to be kept, and connections may be open


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, direction: Direction
) -> None:
    """Carries one direction of a connection until its sender has ended it."""
    clock = asyncio.get_running_loop().time
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        octets = b"-"
        while octets:
            at, octets = await under_way.get()
            await asyncio.sleep(at - clock())
            sink.write(octets)
            await sink.drain()
        sink.write_eof()

    async with asyncio.TaskGroup() as ends:
        ends.create_task(arrive())
        octets = b"-"
        while octets:
            octets = await source.read(_CHUNK_BYTES)
            under_way.put_nowait((direction.send(clock(), len(octets)), octets))
            await asyncio.sleep(direction.queued_seconds(clock()) - _MOST_QUEUED_SECONDS)


@contextmanager
def line_to(address: str, kind: LineKind) -> Iterator[str]:
    """Runs a line to a process on this machine, with all ports that it listens on.

    A server tells its peers the numbers of its other ports, so the line has the same on an address of
    its own.

    Args:
        address: ``HOST:PORT``, on loopback; the process already listens.
        kind: Of the line.

    Yields:
        The near end's ``HOST:PORT``.
    """
    target, _, port = address.rpartition(":")
    own = os.getpid()
    host = f"127.{1 + (own >> 16) % 250}.{own >> 8 & 255}.{own & 255}"
    ports = [str(number) for number in ports_beside(int(port))]
    command = [sys.executable, "-m", "benchmarks.thin_line", host, target, *ports]
    with subprocess.Popen(
        [*command, "--line", str(kind)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"no line from {host} to {address}")
        try:
            yield f"{host}:{port}"
        finally:
            process.stdin.close()


def ports_beside(port: int) -> list[int]:
    """All TCP ports on which the process listens that listens on this one, ascending."""
    listening: dict[str, int] = {}
    for table in ("tcp", "tcp6"):  # gRPC listens on IPv4 addresses by way of IPv6
        for line in (Path("/proc/net") / table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING:
                listening[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            held = {listening.get(str(path.readlink()), 0) for path in folder.iterdir()} - {0}
            if port in held:
                return sorted(held)
    return [port]


def main() -> None:
    """Relays until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thin_line", description=__doc__)
    parser.add_argument("host", help="where to listen")
    parser.add_argument("target", help="where to relay to")
    parser.add_argument("ports", type=int, nargs="+")
    parser.add_argument(
        "--line",
        type=LineKind.parse,
        default=LineKind(20, 20),
        help="MEGABITS:MILLISECONDS, each way",
    )
    given = parser.parse_args()
    asyncio.run(relay(given.host, given.target, given.ports, given.line))


if __name__ == "__main__":
    main()
