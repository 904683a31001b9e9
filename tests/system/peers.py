"""A peer that has attested itself and speaks as no TensorFlow does: a worker, or a parameter server.

Whoever can forge a quote can do this. It has Coterie's handshake, and connections in place of TensorFlow's.
"""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from coterie.address import Address
from coterie.contract import Contract
from coterie.nodes.options import NodeOptions
from coterie.nodes.process import new_incarnation
from coterie.nodes.trust import node_trust
from coterie.ratls.handshake import accept, dial
from coterie.ratls.key_updates import LastingOpening, LastingSealing
from coterie.ratls.listener import AttestationListener
from coterie.ratls.peer import Peer
from coterie.ratls.record_protection import HEAD_BYTES, MOST_INNER_BYTES, inner_bytes
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.attested_peers import AttestedPeers
from coterie.tensorflow.connections import connect, receive
from coterie.tensorflow.native import Native
from coterie.tensorflow.sockets import Ports

SECONDS = 60.0


class Line:
    """A connection on which the peer calls a node's TensorFlow."""

    def __init__(self, taken: Taken) -> None:
        self._socket = taken.socket
        self._socket.settimeout(SECONDS)
        self._sealing, self._opening = (
            LastingSealing(taken.sending),
            LastingOpening(taken.receiving),
        )

    def say(self, octets: bytes) -> None:
        """Sends bytes of HTTP/2."""
        for sealed in self._sealing.message((octets,)):
            self._socket.sendall(sealed)

    def rest(self) -> bytes:
        """What is answered until the node ends the connection."""
        heard, inner = b"", memoryview(bytearray(MOST_INNER_BYTES))
        try:
            while head := self._socket.recv(HEAD_BYTES, socket.MSG_WAITALL):
                body = self._socket.recv(int.from_bytes(head[3:]), socket.MSG_WAITALL)
                record = memoryview(head + body)
                count = self._opening.open_or_update(record, inner[: inner_bytes(record)])
                heard += bytes(inner[: count or 0])
        except ConnectionError:
            pass
        self._socket.close()
        return heard


class Lines:
    """Takes connections where TensorFlow's sockets would."""

    def __init__(self) -> None:
        self.of: queue.Queue[Taken] = queue.Queue()
        self._kept: list[Taken] = []  # on which the node calls; nobody answers

    def parked(self, _: int) -> int:
        """As in ``Native``."""
        return 0

    unused = parked

    def hand_over(self, taken: Taken, _node: int, _incarnation: int, *, to_dial: bool) -> None:
        """As in ``Native``."""
        if to_dial:
            self.of.put(taken)
        else:
            self._kept.append(taken)

    def close(self) -> None:
        """Closes all that were not taken."""
        while not self.of.empty():
            self._kept.append(self.of.get())
        for taken in self._kept:
            taken.socket.close()

    def next(self) -> Line:
        """The next one on which the peer may call."""
        return Line(self.of.get(timeout=SECONDS))


class HostileWorker:
    """A worker that dials a parameter server."""

    def __init__(self, contract: Contract, name: str, key: Path, server: str) -> None:
        node = contract.node(name)
        self._trust = node_trust(
            contract, node, NodeOptions(party_key=key), incarnation=new_incarnation()
        )
        self._server = contract.node(server)
        assert self._server.address is not None
        self._address = self._server.address
        self._attested = dial(self._address, server, self._trust, seconds=SECONDS)

    def line(self) -> Line:
        """A new connection."""
        lines = Lines()
        connection = connect(
            self._trust, self._address.host, self._attested, back=False, seconds=SECONDS
        )
        connection.hand_over(
            cast("Native", lines), 0, self._attested.peer.incarnation, to_dial=True
        )
        return lines.next()


@contextmanager
def hostile_server(contract: Contract, name: str, key: Path) -> Iterator[Lines]:
    """A parameter server, at its address in the contract: gives the connections with its workers."""
    node = contract.node(name)
    trust = node_trust(contract, node, NodeOptions(party_key=key), incarnation=new_incarnation())
    board, lines = AttestedPeers(trust.clock), Lines()
    index_of = {one.name: i for i, one in enumerate(contract.nodes)}
    assert node.address is not None
    ports = Ports.bind(Address(node.address.host, node.address.port))

    def attest(sock: socket.socket, seconds: float) -> None:
        def admit(peer: Peer) -> int:
            board.admit(peer)
            return int(ports.data.getsockname()[1])

        attested = accept(sock, trust, admit, seconds=seconds)
        assert attested is not None
        board.record(attested)

    def take(sock: socket.socket, seconds: float) -> None:
        receive(
            sock,
            seconds,
            trust=trust,
            native=cast("Native", lines),
            board=board,
            index_of=index_of,
            inspection=None,
        )

    listeners = [
        AttestationListener(ports.attestation, attest),
        AttestationListener(ports.data, take),
    ]
    for listener in listeners:
        listener.start()
    try:
        yield lines
    finally:
        for listener in listeners:
            listener.stop()
        lines.close()
