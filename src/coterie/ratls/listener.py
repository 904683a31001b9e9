"""The attestation port: accepts connections and does handshakes, with bounds on number and time."""

from __future__ import annotations

import logging
import select
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from coterie.address import Address
from coterie.errors import AddressInUse, CoterieError, PeerBusy
from coterie.ratls.refusals import Refused, Tally, log_refusal, origin
from coterie.ratls.request import HANDSHAKE_SECONDS

_PAUSE_SECONDS = 0.05
_BACKLOG = 128
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 (what users may ask for)
_log = logging.getLogger(__name__)

Handle = Callable[[socket.socket, float], None]


@dataclass(frozen=True)
class ListenerLimits:
    """Bounds of an attestation port.

    Attributes:
        pending: Largest number of concurrent handshakes. A further connection from an address that
            has fewer of them than another replaces that address's oldest; others are closed.
        pending_per_host: Largest number from one address; further connections are closed.
        seconds: Time for one handshake; slower peers are dropped.
    """

    pending: int = 32
    pending_per_host: int = 16
    seconds: float = HANDSHAKE_SECONDS


def listen(address: Address) -> socket.socket:
    """Binds a listening TCP socket: to one address, or, for ``0.0.0.0`` and ``[::]``, to both families.

    Of a name with several addresses the first is used, IPv4 before IPv6. gRPC takes both wildcards
    for both families, and uses all addresses of a name. Give it the result of ``bound``, so that
    both ports of a node have the same addresses.

    Raises:
        AddressInUse: The address cannot be bound.
    """
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, target = min(found, key=lambda one: one[0] != socket.AF_INET)
        host, port = str(target[0]), int(target[1])
        if host in _WILDCARDS and _has_both_families():
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
            )
        # Reuse addresses but not ports, so that a second listener on the port is refused.
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise address_in_use(address, error.strerror or str(error)) from error


def _has_both_families() -> bool:
    """Whether this machine has IPv6, and IPv6 sockets that also accept IPv4."""
    if not socket.has_dualstack_ipv6():
        return False
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:  # the kernel has IPv6, but it is disabled
        return False


def bound(sock: socket.socket) -> Address:
    """The numeric address of a listening socket."""
    host, port = sock.getsockname()[:2]
    return Address(str(host), int(port))


def plain_host(host: str) -> str:
    """A peer's address; an IPv4 address mapped to IPv6 is given as IPv4."""
    return host.removeprefix("::ffff:") if "." in host else host


def address_in_use(address: Address, seen: str) -> AddressInUse:
    """The error for an address that cannot be bound."""
    return AddressInUse(
        f"the address {address} cannot be bound",
        expected="an address of this machine with a free port",
        seen=seen,
        remedy="stop what listens there, or choose another port (Coterie uses PORT and PORT + 1)",
    )


class AttestationListener:
    """Does the listener's side of handshakes until it is stopped.

    Args:
        sock: A listening socket, which this object owns.
        handle: Does a handshake on a connection within so many seconds; raises to refuse the peer.
        refused: Called for refusals, as `Tally` reports them: remote host, reason, and count.
        limits: Bounds.
    """

    def __init__(
        self,
        sock: socket.socket,
        handle: Handle,
        *,
        refused: Refused = log_refusal,
        limits: ListenerLimits | None = None,
    ) -> None:
        self._socket = sock
        self._handle = handle
        self._tally = Tally(refused)
        self._limits = limits or ListenerLimits()
        # Guards `_pending` and `_defects`; not held during handshakes.
        self._lock = threading.Lock()
        # Handshakes in progress, oldest first, by address.
        self._pending: dict[socket.socket, str] = {}
        self._defects: set[tuple[type[Exception], str, int | None]] = set()
        self._wake, self._woken = socket.socketpair()  # ends the acceptor's poll()
        self._pool = ThreadPoolExecutor(self._limits.pending, thread_name_prefix="attestation")
        self._acceptor = threading.Thread(target=self._accept_all, name="attestation-acceptor")
        sock.settimeout(0)

    def start(self) -> None:
        """Starts to accept."""
        self._acceptor.start()

    def stop(self) -> None:
        """Stops: aborts handshakes in progress and waits for all threads."""
        self._wake.send(b"x")
        if self._acceptor.ident is not None:
            self._acceptor.join()
        with self._lock:
            for sock in self._pending:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # it has just ended by itself
        self._pool.shutdown(wait=True)
        self._tally.flush()
        for end in (self._socket, self._wake, self._woken):
            end.close()

    def _accept_all(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        stopping = select.poll()  # unlike select(), poll() works with any descriptor number
        stopping.register(self._woken, select.POLLIN)
        while self._woken.fileno() not in {fd for fd, _ in poll.poll()}:
            try:
                sock, remote = self._socket.accept()
            except OSError:
                # The peer has left again, or there are no free descriptors. That is load, and
                # passes: waiting connections are accepted when handshakes in progress have ended.
                stopping.poll(_PAUSE_SECONDS * 1000)
                continue
            self._take(sock, plain_host(str(remote[0])))

    def _take(self, sock: socket.socket, host: str) -> None:
        place = origin(host)
        with self._lock:
            taken = self._has_room(place)
            if taken:
                self._pending[sock] = place
                try:
                    self._pool.submit(self._handshake, sock, host)
                except RuntimeError:  # the system has no further thread: also load
                    del self._pending[sock]
                    taken = False
        if not taken:
            sock.close()
            self._tally.note(host, self._busy())

    def _has_room(self, place: str) -> bool:
        """Whether an address gets a place; may take one from the address that has most of them."""
        held = Counter(self._pending.values())
        if held[place] >= self._limits.pending_per_host:
            return False
        if len(self._pending) < self._limits.pending:
            return True
        greedy, most = held.most_common(1)[0]
        if most <= held[place] + 1:
            return False
        oldest = next(sock for sock, other in self._pending.items() if other == greedy)
        del self._pending[oldest]
        with suppress(OSError):  # it has just ended by itself
            oldest.shutdown(socket.SHUT_RDWR)
        return True

    def _busy(self) -> PeerBusy:
        return PeerBusy(
            "dropped a connection: too many handshakes are under way",
            expected=f"at most {self._limits.pending_per_host} of one address, "
            f"{self._limits.pending} in all",
            seen="one more",
            remedy="nodes dial again by themselves; if this goes on, find out who knocks",
        )

    def _defect(self, error: Exception) -> CoterieError:
        """The reported error for an internal error; logs the traceback once for each place."""
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = (type(error), last.filename, last.lineno)
        with self._lock:
            known = place in self._defects
            self._defects.add(place)
        if not known:
            _log.error("a handshake failed for an internal reason", exc_info=error)
        return CoterieError(
            "a handshake failed for an internal reason",
            expected="that whatever a peer sends is accepted, or refused for a reason of its own",
            seen=type(error).__name__,
            remedy="report it, with the traceback in this node's log",
        )

    def _handshake(self, sock: socket.socket, host: str) -> None:
        with self._lock:
            dropped = sock not in self._pending
        if dropped:  # it was dropped before its turn
            sock.close()
            return
        try:
            self._handle(sock, self._limits.seconds)
        except CoterieError as error:
            self._tally.note(host, error)
        except Exception as error:  # noqa: BLE001 (reported like a refusal, since a peer can cause it again)
            self._tally.note(host, self._defect(error))
        finally:
            with self._lock:
                self._pending.pop(sock, None)
