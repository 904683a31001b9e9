"""A Fabric over gRPC without TLS, on loopback only; callers are believed when they say their name."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from typing_extensions import override

from coterie.address import Address
from coterie.contract import Contract, Node
from coterie.errors import AddressInUse, CallRefused, EnvironmentUnfit, PeerUnreachable
from coterie.nodes.fabric import Service, UnattestedFabric
from coterie.ps.caller import Caller
from coterie.ps.ports import DataReceiverPort, ParameterServerPort
from coterie.ps.rpc import GrpcTransport, handler
from coterie.ps.service import ParameterService
from coterie.ps.wire.bounds import max_message_bytes
from coterie.runs.events import EventSink, Listening

if TYPE_CHECKING:
    from coterie.ps.rpc import Handler

_NAME_KEY = "coterie-node"


class PlaintextFabric(UnattestedFabric):
    """Connects a node without protection.

    Args:
        contract: Names the nodes.
        node: This node.
        listen: Where it listens, ``127.0.0.1:PORT``.
        addresses: Where the others listen, by name.
        incarnation: Of this process.
        on_event: Receives the event of the node's address.

    Raises:
        EnvironmentUnfit: An address is not on loopback.
    """

    def __init__(
        self,
        contract: Contract,
        node: Node,
        *,
        listen: str,
        addresses: dict[str, str],
        incarnation: int,
        on_event: EventSink,
    ) -> None:
        for address in (listen, *addresses.values()):
            if Address.parse(address).host != "127.0.0.1":
                raise EnvironmentUnfit(
                    "the plaintext transport never leaves this machine",
                    expected="addresses 127.0.0.1:PORT",
                    seen=address,
                    remedy="use coterie run or coterie node, which attest",
                )
        self._contract = contract
        super().__init__(node)
        self._listen = listen
        self._addresses = addresses
        self._identity = ((_NAME_KEY, f"{node.name} {incarnation}"),)
        self._on_event = on_event
        self._channels: list[grpc.Channel] = []
        self._size = max_message_bytes(contract)

    @override
    @contextmanager
    def serve_parameter_server(self, service: ParameterService) -> Iterator[None]:
        with self._serving(handler(ParameterServerPort, service, self._caller_of)):
            yield

    @override
    @contextmanager
    def serve_data_receiver(self, service: Service) -> Iterator[None]:
        with self._serving(handler(DataReceiverPort, service, self._caller_of)):
            yield

    @override
    def parameter_server(
        self, shard: int, patience_seconds: float | None = None
    ) -> ParameterServerPort:
        server = self._contract.by_role("ps")[shard].name
        seconds = patience_seconds or self._contract.limits.join_seconds
        return ParameterServerPort(self._transport(server, seconds))

    @override
    def data_receiver(self, worker: str, patience_seconds: float) -> DataReceiverPort:
        return DataReceiverPort(self._transport(worker, patience_seconds))

    @override
    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    @contextmanager
    def _serving(self, served: Handler) -> Iterator[None]:
        server = grpc.server(
            ThreadPoolExecutor(len(self._contract.nodes) + 4), options=self._options()
        )
        server.add_generic_rpc_handlers((served,))
        try:
            port = server.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise AddressInUse(f"{self._listen} cannot be bound", seen=str(error)[:200]) from error
        server.start()
        self._on_event(Listening(self._node.name, f"127.0.0.1:{port}"))
        try:
            yield
        finally:
            server.stop(grace=5).wait()

    def _transport(self, name: str, patience_seconds: float) -> GrpcTransport:
        return GrpcTransport(self._dial(name, patience_seconds), name, metadata=self._identity)

    def _dial(self, name: str, patience_seconds: float) -> grpc.Channel:
        channel = grpc.insecure_channel(self._addresses[name], options=self._options())
        self._channels.append(channel)
        try:
            grpc.channel_ready_future(channel).result(patience_seconds)
        except grpc.FutureTimeoutError as error:
            raise PeerUnreachable(f"{name} cannot be reached") from error
        return channel

    def _caller_of(self, context: grpc.ServicerContext) -> Caller:
        said = dict(context.invocation_metadata()).get(_NAME_KEY, "")
        name, _, incarnation = str(said).partition(" ")
        for node in self._contract.nodes:
            if node.name == name and incarnation.isdigit():
                return Caller(name, node.role, int(incarnation))
        raise CallRefused("the caller did not say its name", seen=repr(said)[:80])

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.max_receive_message_length", self._size),
            ("grpc.max_send_message_length", self._size),
            ("grpc.so_reuseport", 0),
            ("grpc.enable_http_proxy", 0),
        ]
