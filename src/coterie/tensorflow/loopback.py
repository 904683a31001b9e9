"""Connections of a node with itself; the chief, for example, dials its own coordination service.

They use TLS like all others, since they pass through the host's kernel, which must not read them.
The host must not be able to stand in between either: both ends show this node's own certificate,
and prove that they know a secret that does not leave this process.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import socket
import threading
from collections.abc import Callable

from coterie.errors import CoterieError, EnvironmentUnfit
from coterie.ratls.deadline import Deadline
from coterie.ratls.session_proof import showing_only
from coterie.ratls.trust import TrustContext
from coterie.tensorflow.connections import DataConnection
from coterie.tensorflow.native import Native

_LOOK_SECONDS = 1.0
_HANDSHAKE_SECONDS = 10.0
_INCARNATION = 1  # one key is enough: it is used only as long as this process runs
_log = logging.getLogger(__name__)


class LoopbackConnections:
    """Keeps a number of connections of this node with itself ready for use.

    Args:
        native: The native part.
        trust: This node's certificates, and the time.
        index: This node's place among the contract's nodes.
        ready: Number of connections that are kept ready.
    """

    def __init__(self, native: Native, trust: TrustContext, index: int, ready: int) -> None:
        self._native = native
        self._trust = trust
        self._index = index
        self._ready = ready
        self._token = secrets.token_bytes(32)
        self._stopping = False
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="keeper-of-itself")

    def start(self) -> None:
        """Makes the first connections, then starts the thread that replaces used ones."""
        self._fill()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and cuts the connections."""
        self._stopping = True
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._native.cut(self._index, 0)

    def look(self) -> None:
        """Wakes the thread because a connection was used."""
        self._changed.set()

    def _look_after(self) -> None:
        while not self._stopping:
            self._changed.clear()
            try:
                self._fill()
            except CoterieError as error:
                _log.warning("no connection of this node with itself: %s", error)
            self._changed.wait(_LOOK_SECONDS)

    def _fill(self) -> None:
        for _ in range(self._ready - self._native.parked(self._index)):
            self._connect()

    def _connect(self) -> None:
        ends = socket.socketpair()
        dialler, listener = (self._end(sock, listener=sock is ends[1]) for sock in ends)
        failed: list[CoterieError] = []

        def shake_hands(end: DataConnection) -> None:
            try:
                end.handshake()
                if end is dialler:
                    end.prove(self._token)
                else:
                    end.demand(self._find)
            except CoterieError as error:
                failed.append(error)

        answering = threading.Thread(target=shake_hands, args=(listener,))
        answering.start()
        shake_hands(dialler)
        answering.join()
        if failed:
            dialler.close()
            listener.close()
            raise _meddled() from failed[0]
        listener.hand_over(self._native, self._index, _INCARNATION, to_dial=False)
        dialler.hand_over(self._native, self._index, _INCARNATION, to_dial=True)

    def _find(self, shown: bytes, made_of: Callable[[bytes], bytes]) -> bytes:
        if not hmac.compare_digest(shown, made_of(self._token)):
            raise _meddled()
        return self._token

    def _end(self, sock: socket.socket, *, listener: bool) -> DataConnection:
        identity = self._trust.credentials.current().identity
        return DataConnection(
            sock,
            identity,
            showing_only(identity.certificate_der, _meddled),
            listener=listener,
            at=self._trust.clock(),
            deadline=Deadline.after(_HANDSHAKE_SECONDS),
            peer_name="this node itself",
        )


def _meddled() -> EnvironmentUnfit:
    return EnvironmentUnfit(
        "this node's TLS handshake with itself failed",
        expected="this node itself at both ends",
        seen="another certificate, another TLS session at the other end, or no handshake in time",
        remedy="the host meddles with this process's own sockets, or is too slow: find out which",
    )
