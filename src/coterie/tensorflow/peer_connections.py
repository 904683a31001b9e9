"""Keeps a peer attested and connections with it ready, on a thread for each peer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from coterie.address import Address
from coterie.errors import CoterieError, MessageRefused, PeerUnreachable
from coterie.ratls.handshake import AttestedPeer, dial
from coterie.ratls.peer import Peer
from coterie.ratls.refusals import Refused, Tally
from coterie.ratls.request import HANDSHAKE_SECONDS
from coterie.ratls.trust import TrustContext
from coterie.tensorflow.attested_peers import AttestedPeers
from coterie.tensorflow.calls.inspection import Inspection
from coterie.tensorflow.connections import DataConnection, connect
from coterie.tensorflow.native import Native
from coterie.waiting import Backoff, Failure

Attested = Callable[[Peer], None]

# Connections that wait for TensorFlow to dial. It opens two or three to a peer, some of them in calls that
# hold the interpreter's lock, during which no thread can make more. The peer's server drops
# connections that stay silent for a minute.
READY = 4
_LOOK_SECONDS = 1.0
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 5.0


@dataclass(frozen=True)
class Layer:
    """The objects that all of a node's ``PeerConnections`` share.

    Attributes:
        trust: This node's trust.
        native: The native part.
        board: The attested peers.
        data_port: This node's data port; 0 if it only dials out.
        inspection: Inspects the calls of peers; None if they are not inspected.
        admitted: Called for every peer before it is told that it is accepted.
    """

    trust: TrustContext
    native: Native
    board: AttestedPeers
    data_port: int
    inspection: Inspection | None
    admitted: Attested

    def admit(self, peer: Peer) -> int:
        """Pins a peer; returns the data port to tell it."""
        self.board.admit(peer)
        self.admitted(peer)
        return self.data_port


class PeerConnections:
    """Looks after one peer until it is stopped.

    Args:
        layer: The shared objects.
        node: The peer's name.
        index: Its place among the contract's nodes.
        address: Its attestation port; None if it only dials out.
        attested: Called with the peer whenever this side has attested it.
        refused: Called with the reason whenever the peer was refused.
    """

    def __init__(
        self,
        layer: Layer,
        node: str,
        index: int,
        address: Address | None,
        *,
        attested: Attested,
        refused: Refused,
    ) -> None:
        self.node = node
        self._layer = layer
        self._index = index
        self._address = address
        self._attested = attested
        self._tally = Tally(refused)
        self._suspect = False  # whether the peer may have a new key: renewed, or of a new process
        self._backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        # Whether the peer was attested since a connection last failed.
        self._fresh: AttestedPeer | None = None
        self._stopping = False
        self._changed = threading.Event()
        self.ready = threading.Event()
        self.error: CoterieError | None = None
        self.absence = Failure(
            f"{node} has not answered yet at {address}"
            if address
            else f"{node} has not dialled yet"
        )
        self._thread = threading.Thread(target=self._look_after, name=f"keeper-{node}")

    def start(self) -> None:
        """Starts."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread; takes at most the time of a handshake."""
        self._stopping = True
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Wakes the thread because a connection was used or the peer has appeared."""
        self._changed.set()

    def _look_after(self) -> None:
        while not self._stopping:
            self._changed.clear()
            wait = _LOOK_SECONDS
            self._cut()
            self._tell_unruly()
            try:
                self._attest()
                self._fill()
                self._backoff.reset()
            except PeerUnreachable as error:
                self.absence.note(error)
                wait = self._backoff.pause()
            except _OtherKey:
                wait = 0.0
            except CoterieError as error:
                self.error = error
                self.absence.note(error)
                self._tally.note(str(self._address or self.node), error)
                wait = self._backoff.pause()
            self._changed.wait(wait)

    def _cut(self) -> None:
        incarnation = self._layer.board.live_incarnation(self.node)
        self._layer.native.cut(self._index, incarnation)

    def _tell_unruly(self) -> None:
        """Reports a peer that sends empty records. TensorFlow may dial it again: it is attested."""
        if ended := self._layer.native.unruly(self._index):
            self._tally.note(str(self._address or self.node), unruly(self.node, ended))

    def _attest(self) -> None:
        standing = self._layer.board.standing(self.node)
        if self._address is None:
            return  # the peer dials this node; its handshake attests both sides
        now = self._layer.trust.clock()
        if standing is not None and now < renewal_time(standing.peer) and not self._suspect:
            return
        try:
            attested = dial(self._address, self.node, self._layer.trust, admit=self._layer.admit)
        except CoterieError as error:
            if standing is None or self._suspect or not error.may_pass:
                raise
            if not isinstance(error, PeerUnreachable):
                self._tally.note(str(self._address), error)
            return  # the pin is still valid: attest again at the next wake-up
        self._layer.board.record(attested)
        self._suspect, self._fresh = False, attested
        self.error = None
        self.absence.words = f"{self.node} is attested, and has no connection yet"
        self._attested(attested.peer)
        self._cut()

    def _fill(self) -> None:
        """Makes connections until enough are ready, also for a peer that cannot dial this node."""
        layer = self._layer
        standing = layer.board.standing(self.node)
        if standing is None:
            return
        if self._address is not None and standing.peer.grpc_port:
            self._add(standing, READY - layer.native.parked(self._index), back=False)
            if not layer.data_port:
                self._add(standing, READY - layer.native.unused(self._index), back=True)
        if layer.native.parked(self._index):
            self.ready.set()

    def _add(self, standing: AttestedPeer, number: int, *, back: bool) -> None:
        """Makes a number of connections. Those that the host cuts at once are replaced next time.

        A loop until enough are ready might never end, and pins would no longer be renewed.
        """
        for _ in range(number):
            if self._stopping:
                return
            inspection = self._layer.inspection
            self._connect(standing, back=back).hand_over(
                self._layer.native,
                self._index,
                standing.peer.incarnation,
                to_dial=not back,
                put_between=None
                if inspection is None
                else partial(inspection.put_between, peer=self.node),
            )
            self._cut()

    def _connect(self, standing: AttestedPeer, *, back: bool) -> DataConnection:
        assert self._address is not None
        try:
            return connect(
                self._layer.trust,
                self._address.host,
                standing,
                back=back,
                seconds=HANDSHAKE_SECONDS,
            )
        except CoterieError as error:
            fresh = standing is self._fresh
            self._suspect, self._fresh = True, None
            if fresh or isinstance(error, PeerUnreachable):
                raise
            raise _OtherKey from error


def unruly(node: str, ended: int) -> MessageRefused:
    """The error of a peer whose empty records would only keep this node busy."""
    return MessageRefused(
        f"{node} sent TLS records without data, so {ended} of its connections were ended",
        expected="16 of them at most, and one more per 4,096 records with data",
        seen="more key updates, or empty records",
        remedy="no release of Coterie sends them: find out what runs there, and whether its program was touched",
    )


class _OtherKey(Exception):
    """A connection failed after an older attestation: attest the peer again before reporting it."""


def renewal_time(peer: Peer) -> datetime:
    """Time at which a peer is attested again: after three quarters of its pin's time."""
    return peer.attested_at + (peer.expires_at - peer.attested_at) * 3 / 4
