"""Limits connections to a gRPC port that have not made a call, per address and in all.

gRPC accepts connections itself. It can bound the number of all connections
(``grpc.max_allowed_incoming_connections``), but then an attacker who takes all places keeps nodes
out, and it has no bound per address. However, it asks for its certificates after every accepted
connection. On some of these occasions this module examines the process's sockets. If too many
connections have not made an admitted call, it shuts the oldest of them down; a node needs only
milliseconds to its first call.
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
_EVERY = 8  # connections that may be accepted between two examinations

Endpoint = tuple[str, int]


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds of a gRPC port.

    Attributes:
        unproved: Largest number of connections without an admitted call.
        unproved_per_host: The same for one remote address.
        per_peer: Connections of each node of the contract.
    """

    unproved: int = 64
    unproved_per_host: int = 16
    per_peer: int = 8

    @classmethod
    def for_nodes(cls, nodes: int) -> ConnectionLimits:
        """Limits for so many nodes, which may all connect at once from one address."""
        return cls(cls.unproved + nodes, cls.unproved_per_host + nodes)

    def in_all(self, nodes: int) -> int:
        """Largest number of connections that gRPC accepts, for a contract of so many nodes."""
        return self.unproved + 2 * _EVERY + self.per_peer * nodes


class Connections:
    """Watches the connections to one port of this process. Thread-safe.

    Args:
        limits: Bounds.
        proc: Directory that lists this process's descriptors; if absent, only gRPC's bound applies.
    """

    def __init__(self, limits: ConnectionLimits, *, proc: str = _DESCRIPTORS) -> None:
        self._limits = limits
        self._proc = proc
        self._lock = threading.Lock()  # gRPC's threads report connections and calls concurrently
        self._port = 0
        self._accepted = 0
        self._unproved: dict[Endpoint, None] = {}  # in order of first observation
        self._proved: set[Endpoint] = set()
        self._named: set[str] = set()  # proved since the last examination, by gRPC's names

    def watch(self, port: int) -> None:
        """Sets the port."""
        self._port = port

    def proved(self, peer: str) -> None:
        """Records that an admitted call came through a connection.

        Args:
            peer: gRPC's name of its other end: ``ipv4:10.0.0.7:4711``, ``ipv6:%5B::1%5D:4711``.
        """
        if peer in self._named:
            return
        self._named.add(peer)
        host, _, port = unquote(peer).partition(":")[2].rpartition(":")
        if port.isdigit():
            self._proved.add((_plain(host.strip("[]")), int(port)))

    def accepted(self) -> None:
        """Call it for every accepted connection; every eighth call examines the connections."""
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
        """The surplus: oldest connections first, of addresses with most, until both limits hold."""
        held: dict[str, list[Endpoint]] = {}  # by address, in order of first observation
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
        """The other ends of this port's connections, each with its descriptor."""
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
    """Shuts a connection down, if its descriptor still belongs to it."""
    with suppress(OSError), _copy(descriptor) as sock:
        if _end_of(sock, port) == expected:
            sock.shutdown(socket.SHUT_RDWR)


def _copy(descriptor: int) -> socket.socket:
    """A copy of a descriptor's socket; the descriptor may be closed and reused at any time.

    Raises:
        OSError: There is no such socket.
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
    """The canonical spelling of an address; gRPC's and the kernel's differ."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
