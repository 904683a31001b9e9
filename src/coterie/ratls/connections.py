"""The connections to a gRPC port: those that have not made a call are few, for one address and in all.

gRPC accepts by itself. It can bound the number of all connections (``grpc.max_allowed_incoming_connections``),
but then whoever fills the places keeps nodes out; and it says nothing of addresses. What it does is ask for
its certificates whenever a connection has been accepted. On some of these occasions this process's own
sockets are looked through, and of connections that have not made an admitted call yet the oldest are shut
down where there are too many: a node needs some milliseconds from its connection to its first call.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote

from coterie.ratls.refusals import origin

_DESCRIPTORS = "/proc/self/fd"
_EVERY = 8  # connections that may come between two looks

Endpoint = tuple[str, int]


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds of a gRPC port.

    Attributes:
        unproved: Connections that have not made an admitted call.
        unproved_per_host: The same of one remote address.
        per_peer: Connections of each node of the contract.
    """

    unproved: int = 64
    unproved_per_host: int = 16
    per_peer: int = 8

    @classmethod
    def for_nodes(cls, nodes: int) -> ConnectionLimits:
        """For a contract of so many nodes: they may all come from one address, and at once."""
        return cls(cls.unproved + nodes, cls.unproved_per_host + nodes)

    def in_all(self, nodes: int) -> int:
        """Most connections that gRPC may accept at once, under a contract of so many nodes."""
        return self.unproved + 2 * _EVERY + self.per_peer * nodes


class Connections:
    """Watches the connections to one port of this process. Thread-safe.

    Args:
        limits: Bounds.
        proc: Lists this process's descriptors; where it is absent, only gRPC's own bound holds.
    """

    def __init__(self, limits: ConnectionLimits, *, proc: str = _DESCRIPTORS) -> None:
        self._limits = limits
        self._proc = proc
        self._lock = threading.Lock()
        self._port = 0
        self._accepted = 0
        self._unproved: dict[Endpoint, None] = {}  # in the order in which they were seen
        self._proved: set[Endpoint] = set()
        self._named: set[str] = set()  # the same as gRPC names them, since the last look

    def watch(self, port: int) -> None:
        """Says which port it is."""
        self._port = port

    def proved(self, peer: str) -> None:
        """Notes that an admitted call came through a connection.

        Args:
            peer: As gRPC names its other end: ``ipv4:10.0.0.7:4711``, ``ipv6:%5B::1%5D:4711``.
        """
        if peer in self._named:
            return
        self._named.add(peer)
        host, _, port = unquote(peer).partition(":")[2].rpartition(":")
        if port.isdigit():
            self._proved.add((_plain(host.strip("[]")), int(port)))

    def accepted(self) -> None:
        """To be called whenever a connection was accepted: looks after every eighth."""
        with self._lock:
            self._accepted += 1
            if self._accepted % _EVERY == 0 and self._port:
                self._look()

    def _look(self) -> None:
        there = self._connected()
        self._proved &= there.keys()
        self._named = set()
        self._unproved = {
            end: None
            for end in (*self._unproved, *there)
            if end in there and end not in self._proved
        }
        for end in self._surplus():
            _shut(there[end], self._port, end)

    def _surplus(self) -> list[Endpoint]:
        """The oldest connections of whoever has most, until no address and all together have too many."""
        held: dict[str, list[Endpoint]] = {}  # by address, in the order in which it was seen first
        for end in self._unproved:
            held.setdefault(origin(end[0]), []).append(end)
        surplus: list[Endpoint] = []
        while held:
            most = max(held.values(), key=len)
            too_many = len(self._unproved) - len(surplus) > self._limits.unproved
            if not too_many and len(most) <= self._limits.unproved_per_host:
                break
            surplus.append(most.pop(0))
        return surplus

    def _connected(self) -> dict[Endpoint, int]:
        """The other ends of this port's connections, and a descriptor of each."""
        found: dict[Endpoint, int] = {}
        with suppress(OSError):
            for name in os.listdir(self._proc):  # noqa: PTH208 (no paths are wanted)
                end = _other_end(int(name), self._port)
                if end is not None:
                    found[end] = int(name)
        return found


def _other_end(descriptor: int, port: int) -> Endpoint | None:
    """The other end of a connection to a port; None for any other descriptor."""
    try:
        with _copy(descriptor) as sock:
            return _end_of(sock, port)
    except OSError:
        return None


def _shut(descriptor: int, port: int, expected: Endpoint) -> None:
    """Shuts a connection down, if its descriptor is still what it was."""
    with suppress(OSError), _copy(descriptor) as sock:
        if _end_of(sock, port) == expected:
            sock.shutdown(socket.SHUT_RDWR)


def _copy(descriptor: int) -> socket.socket:
    """The socket behind a descriptor, which may be closed, and its number used again, at any moment.

    Raises:
        OSError: There is none.
    """
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def _end_of(sock: socket.socket, port: int) -> Endpoint | None:
    if sock.family not in {socket.AF_INET, socket.AF_INET6} or sock.getsockname()[1] != port:
        return None
    host, other = sock.getpeername()[:2]
    return _plain(str(host)), int(other)


def _plain(host: str) -> str:
    """One spelling per address; gRPC and the kernel differ."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
