"""The attested layer under a node's TensorFlow: two ports, and a thread for each peer."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from coterie.address import Address
from coterie.contract import Node
from coterie.errors import ContractInvalid, NodeMissing
from coterie.ratls.handshake import accept
from coterie.ratls.listener import AttestationListener, bound, listen
from coterie.ratls.peer import Peer
from coterie.ratls.refusals import Refused
from coterie.ratls.trust import TrustContext
from coterie.tensorflow.attested_peers import AttestedPeers
from coterie.tensorflow.calls.inspection import Inspection
from coterie.tensorflow.connections import receive
from coterie.tensorflow.loopback import LoopbackConnections
from coterie.tensorflow.native import Native
from coterie.tensorflow.peer_connections import READY, Attested, Layer, PeerConnections

if TYPE_CHECKING:  # imported only by nodes that answer parties
    from coterie.ratls.guests import OtherProtocol
    from coterie.status.messages import SeenCluster


@dataclass(frozen=True)
class Ports:
    """A listening node's two sockets.

    Attributes:
        attestation: Socket of attested handshakes.
        data: Socket of TensorFlow's connections.
    """

    attestation: socket.socket
    data: socket.socket

    @classmethod
    def bind(cls, wanted: Address) -> Ports:
        """Binds PORT and PORT + 1; with port 0 the system chooses both.

        Raises:
            AddressInUse: One of them cannot be bound.
        """
        following = wanted.following()
        attestation = listen(wanted)
        try:
            return cls(attestation, listen(Address(bound(attestation).host, following.port)))
        except BaseException:
            attestation.close()
            raise

    def close(self) -> None:
        """Closes both."""
        self.attestation.close()
        self.data.close()


class AttestedSockets:
    """Everything below TensorFlow, for one node.

    Args:
        trust: Evidence of this node, and verification of the others.
        native: The native part, armed.
        places: Attestation ports by node; nodes that are missing here only dial out.
        ports: This node's listening sockets, which this object then owns; None if it only dials
            out.
        inspection: Inspects the calls of peers; None if they are not inspected.
        attested: Called for every peer that is attested.
        refused: Called for every refusal.
        admitted: Called for every peer before it is told that it is accepted.
        overview: Tells parties how this node is; if absent, it does not answer them.

    Raises:
        ContractInvalid: This node and another one both only dial out.
    """

    def __init__(
        self,
        trust: TrustContext,
        native: Native,
        places: Mapping[str, Address],
        ports: Ports | None,
        *,
        inspection: Inspection | None,
        attested: Attested,
        refused: Refused,
        admitted: Attested = lambda _peer: None,
        overview: Callable[[], SeenCluster] | None = None,
    ) -> None:
        contract = trust.contract
        peers = contract.tensorflow_peers(trust.node)
        check_reachable(trust.node, peers, places, listens=ports is not None)
        self._index_of = {node.name: i for i, node in enumerate(contract.nodes)}
        self._attested = attested
        self._native = native
        self._layer = Layer(
            trust=trust,
            native=native,
            board=AttestedPeers(trust.clock),
            data_port=0 if ports is None else int(ports.data.getsockname()[1]),
            inspection=inspection,
            admitted=admitted,
        )
        self._guests = () if overview is None else (self._status(trust, overview),)
        self._own = LoopbackConnections(native, trust, self._index_of[trust.node.name], READY)
        self._own_index = self._index_of[trust.node.name]
        self._keepers = {
            self._index_of[node.name]: PeerConnections(
                self._layer,
                node.name,
                self._index_of[node.name],
                places.get(node.name),
                attested=attested,
                refused=refused,
            )
            for node in peers
        }
        self._listeners = (
            ()
            if ports is None
            else (
                AttestationListener(ports.attestation, self._attest, refused=refused),
                AttestationListener(ports.data, self._receive, refused=refused),
            )
        )
        self._bell = threading.Thread(target=self._hear, name="tensorflow-dials")
        self._wake, self._woken = socket.socketpair()
        self._stopped = False

    def _status(self, trust: TrustContext, overview: Callable[[], SeenCluster]) -> OtherProtocol:
        from coterie.status.service import StatusService

        return StatusService(trust, overview, self.peers).reception

    def start(self) -> None:
        """Starts to attest peers and to answer their handshakes."""
        if self._layer.inspection is not None:
            self._layer.inspection.start()
        self._own.start()
        self._bell.start()
        for listener in self._listeners:
            listener.start()
        for keeper in self._keepers.values():
            keeper.start()

    def stop(self) -> None:
        """Ends all threads and cuts every connection; does nothing when repeated."""
        if self._stopped:
            return
        self._stopped = True
        self._wake.send(b"x")
        self._bell.join()
        for listener in self._listeners:
            listener.stop()
        for keeper in self._keepers.values():
            keeper.stop()
        self._own.stop()
        for index in self._keepers:
            self._native.cut(index, 0)
        if self._layer.inspection is not None:
            self._layer.inspection.stop()
        self._wake.close()
        self._woken.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def peers(self) -> tuple[Peer, ...]:
        """The peers that are attested at present; one with a renewed certificate is there twice."""
        return self._layer.board.trusted()

    def away(self) -> dict[str, str]:
        """The nodes that are not attested or cannot be dialled yet, each with its last failure."""
        return {
            one.node: one.absence.words for one in self._keepers.values() if not one.ready.is_set()
        }

    def wait_ready(self, seconds: float, *, now: Callable[[], float] = time.monotonic) -> None:
        """Waits until every other node is attested and can be dialled.

        Raises:
            CoterieError: A node was refused, or refused this node. Raised at once if the node was
                attested; otherwise only when the time is up, since an attacker may have answered.
            NodeMissing: Some nodes did not appear in time.
        """
        until = now() + seconds
        for keeper in self._keepers.values():
            while not keeper.ready.wait(min(0.2, max(0.0, until - now()))):
                late = now() >= until
                for error in (one.error for one in self._keepers.values()):
                    if error is not None and (late or not error.may_pass):
                        raise error
                if late:
                    raise self._missing(seconds)

    def _missing(self, seconds: float) -> NodeMissing:
        away = self.away()
        return NodeMissing(
            f"waited {seconds:.0f} s for {', '.join(away)} to be attested",
            expected="every node of the contract",
            seen="; ".join(away.values())[:500] or "no connection",
            remedy="start every node, and open the port after its attestation port too; "
            "limits.join_seconds says how long nodes wait",
        )

    def _attest(self, sock: socket.socket, seconds: float) -> None:
        trust, admit = self._layer.trust, self._layer.admit
        attested = accept(sock, trust, admit, seconds=seconds, others=self._guests)
        if attested is None:
            return  # a party that asked for the status
        self._layer.board.record(attested)
        self._attested(attested.peer)
        self._look(self._index_of[attested.peer.node])

    def _receive(self, sock: socket.socket, seconds: float) -> None:
        layer = self._layer
        peer: Peer = receive(
            sock,
            seconds,
            trust=layer.trust,
            native=self._native,
            board=layer.board,
            index_of=self._index_of,
            inspection=layer.inspection,
        )
        self._look(self._index_of[peer.node])

    def _look(self, index: int) -> None:
        if index == self._own_index:
            self._own.look()
        elif index in self._keepers:
            self._keepers[index].look()

    def _hear(self) -> None:
        """Wakes the threads of the peers that TensorFlow dials."""
        poll = select.poll()
        poll.register(self._native.dialled, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while self._woken.fileno() not in {descriptor for descriptor, _ in poll.poll()}:
            for index in self._native.dialled.heard():
                self._look(index)


def check_reachable(
    node: Node, peers: Iterable[Node], places: Mapping[str, Address], *, listens: bool
) -> None:
    """Checks that a node can connect with each of its peers: one of each two must listen.

    Raises:
        ContractInvalid: Two nodes both only dial out.
    """
    silent = [one.name for one in peers if one.name not in places]
    if silent and not listens:
        raise ContractInvalid(
            f"nodes {node.name} and {', '.join(silent)} only dial out, so they cannot reach each other",
            expected="an address for every node but one",
            seen=f"none for {node.name}, {', '.join(silent)}",
            remedy="give the nodes addresses in the contract, or with --listen and --address",
        )
