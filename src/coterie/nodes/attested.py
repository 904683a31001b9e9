"""The attested fabric: gRPC over mutual RA-TLS, with this machine's TEE and the party's voucher."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from coterie.contract import Contract, Node
from coterie.errors import ContractInvalid, CoterieError
from coterie.files import make_folder, writing
from coterie.nodes.descriptors import OWN
from coterie.nodes.fabric import Fabric, Service
from coterie.nodes.options import NodeOptions
from coterie.nodes.trust import data_key, model_key, node_trust, waiting_for
from coterie.ps.call_metrics import CallObserver, ignore_call
from coterie.ps.data_calls import MOST_PER_NODE, DataCalls
from coterie.ps.methods import Port
from coterie.ps.ports import DataReceiverPort, ParameterServerPort
from coterie.ps.rpc import GrpcTransport
from coterie.ps.wire.bounds import max_message_bytes
from coterie.ratls.connections import ConnectionLimits
from coterie.ratls.listener import ListenerLimits
from coterie.ratls.peer import Peer
from coterie.ratls.trust import TrustContext
from coterie.runs.events import Attested, EventSink, Listening, Refused
from coterie.spans import Tracer, untraced

if TYPE_CHECKING:  # imported only by nodes that dial, serve, or keep a receipt
    from coterie.contract.signatures import ContractSignature
    from coterie.ps.progress import Progress
    from coterie.ps.service import ParameterService
    from coterie.ratls.channel import AttestedChannel
    from coterie.receipts.recorder import Recorder


def descriptors_needed(contract: Contract) -> int:
    """Largest number of descriptors that a node may hold, whatever strangers do at its ports."""
    nodes = len(contract.nodes)
    strangers = ListenerLimits().pending + ConnectionLimits.for_nodes(nodes).in_all(nodes)
    return OWN + strangers + MOST_PER_NODE * nodes


def attested_fabric(
    contract: Contract,
    node: Node,
    options: NodeOptions,
    *,
    on_event: EventSink,
    incarnation: int,
    signatures: tuple[ContractSignature, ...] = (),
    observe: CallObserver = ignore_call,
    tracer: Tracer = untraced,
) -> AttestedFabric:
    """Makes a node's trust and its fabric.

    Args:
        contract: Names nodes and addresses.
        node: This node.
        options: The host's settings.
        on_event: Receives events of peers and refusals.
        incarnation: Number of this start of the node.
        signatures: The parties' signatures beside the contract, for the receipt.
        observe: Called for every call.
        tracer: Takes the spans of handshakes.

    Raises:
        CoterieError: As ``node_trust``.
    """
    trust = node_trust(
        contract,
        node,
        options,
        incarnation=incarnation,
        on_wait=lambda server: waiting_for(node.name, server, on_event),
    )
    trust = replace(trust, tracer=tracer)
    return AttestedFabric(
        contract, node, options, trust, on_event=on_event, signatures=signatures, observe=observe
    )


class AttestedFabric(Fabric):
    """A Fabric over RA-TLS.

    Args:
        contract: Names nodes and addresses.
        node: This node.
        options: Addresses that replace the contract's.
        trust: Evidence of this node, and verification of the others.
        on_event: Receives events of peers and refusals.
        signatures: The parties' signatures beside the contract, for the receipt.
        observe: Called for every call.
    """

    proves_nothing = False

    def __init__(
        self,
        contract: Contract,
        node: Node,
        options: NodeOptions,
        trust: TrustContext,
        *,
        on_event: EventSink,
        signatures: tuple[ContractSignature, ...] = (),
        observe: CallObserver = ignore_call,
    ) -> None:
        self._contract = contract
        self._node = node
        self._options = options
        self._trust = trust
        self._on_event = on_event
        self._signatures = signatures
        self._observe = observe
        self._channels: list[AttestedChannel] = []
        self._closing = threading.Event()
        self._size = max_message_bytes(contract)
        self._receipt: Recorder | None = None

    @override
    @contextmanager
    def serve_parameter_server(self, service: ParameterService) -> Iterator[None]:
        with self._serving(ParameterServerPort, service, service.overview):
            yield

    @override
    @contextmanager
    def serve_data_receiver(self, service: Service) -> Iterator[None]:
        with self._serving(DataReceiverPort, service):
            yield

    @override
    def parameter_server(
        self, shard: int, patience_seconds: float | None = None
    ) -> ParameterServerPort:
        server = self._contract.by_role("ps")[shard]
        return ParameterServerPort(
            self._dial(server, patience_seconds or self._contract.limits.join_seconds)
        )

    @override
    def data_receiver(self, worker: str, patience_seconds: float) -> DataReceiverPort:
        (node,) = (node for node in self._contract.by_role("worker") if node.name == worker)
        return DataReceiverPort(self._dial(node, patience_seconds))

    @override
    def data_key(self, set_id: bytes) -> bytes:
        return data_key(self._trust, set_id)

    @override
    def model_key(self) -> tuple[bytes, bytes] | None:
        return model_key(self._trust)

    @override
    def checkpoint_key(self) -> bytes:
        from coterie.nodes.checkpoint_key import fetch_checkpoint_key

        return fetch_checkpoint_key(
            self._trust,
            self._options,
            on_wait=lambda server: waiting_for(self._node.name, server, self._on_event),
        )

    @override
    def open_receipt(self, folder: Path) -> Recorder:
        from coterie.receipts.recorder import Recorder

        with writing(f"the folder {folder}"):
            make_folder(folder)
        self._receipt = Recorder(folder, self._trust, self._signatures)
        return self._receipt

    @override
    def close(self) -> None:
        self._closing.set()
        for channel in list(self._channels):
            self._hang_up(channel)

    def _hang_up(self, channel: AttestedChannel) -> None:
        if channel in self._channels:
            self._channels.remove(channel)
            channel.close()

    @contextmanager
    def _serving(
        self,
        table: type[Port],
        service: Service,
        progress: Callable[[], Progress] | None = None,
    ) -> Iterator[None]:
        from coterie.nodes.attested_server import attested_server

        server = attested_server(
            self._trust,
            self._options.listen or self._address_of(self._node),
            table,
            service,
            max_message_bytes=self._size,
            refused=self._refused,
            admitted=self._admitted,
            observe=self._observe,
            progress=progress,
        )
        server.start()
        self._on_event(Listening(self._node.name, server.address))
        try:
            yield
        finally:
            server.stop(grace=5.0)

    def _dial(self, node: Node, patience_seconds: float) -> GrpcTransport:
        from coterie.ratls.channel import AttestedChannel

        channel = AttestedChannel(
            self._trust,
            self._address_of(node),
            node.name,
            self._size,
            patience_seconds=patience_seconds,
            failed=self._refused,
            on_wait=waiting_for(self._node.name, node.name, self._on_event),
            waiter=self._closing.wait,
        )
        self._channels.append(channel)
        self._admitted(channel.peer)
        return GrpcTransport(
            channel.channel,
            node.name,
            hang_up=lambda: self._hang_up(channel),
            observe=self._observe,
            data=DataCalls(channel.data_connection, node.name, self._size, self._observe),
        )

    def _admitted(self, peer: Peer) -> None:
        if self._receipt is not None:
            self._receipt.attested(peer)
        self._on_event(_attested(self._node.name, peer))

    def _address_of(self, node: Node) -> str:
        address = self._options.addresses.get(node.name) or node.address
        if address is None:
            raise ContractInvalid(
                f"node {node.name} has no address",
                expected="HOST:PORT",
                seen="none in the contract, none given",
                remedy=f"give --address {node.name}=HOST:PORT, or --listen on that node itself",
            )
        return str(address)

    def _refused(self, address: str, error: CoterieError, count: int) -> None:
        reason = f"{error} (from {address})"
        refused = Refused(self._node.name, type(error).__name__, reason[:1000], count)
        if self._receipt is not None:
            self._receipt.on_event(refused)
        self._on_event(refused)


def _attested(node: str, peer: Peer) -> Attested:
    return Attested(
        node=node,
        peer=peer.node,
        role=peer.role,
        party=peer.party,
        tcb_status=peer.verdict.tcb_status,
        measurement=next(iter(dict(peer.verdict.measurements).values()), ""),
    )
