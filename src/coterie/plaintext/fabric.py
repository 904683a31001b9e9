"""A Fabric over gRPC without TLS, on loopback only; callers are believed when they say their name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from typing_extensions import override

from coterie.address import Address
from coterie.contract import Contract, Node
from coterie.errors import AddressInUse, CallRefused, EnvironmentUnfit, PeerUnreachable
from coterie.nodes.fabric import Service, UnattestedFabric
from coterie.plaintext.data import PlainDataConnections, PlainDataListener
from coterie.ps.call_metrics import ignore_call
from coterie.ps.caller import Caller
from coterie.ps.data_calls import DataCalls
from coterie.ps.data_server import DataServer, bulk_methods
from coterie.ps.methods import Port
from coterie.ps.ports import DataReceiverPort, ParameterServerPort
from coterie.ps.rpc import GrpcTransport, handler
from coterie.ps.service import ParameterService
from coterie.ps.wire.bounds import max_message_bytes
from coterie.runs.events import EventSink, Listening

_NAME_KEY = "coterie-node"
_TRIES = 20


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
        self._said = f"{node.name} {incarnation}"
        self._on_event = on_event
        self._channels: list[grpc.Channel] = []
        self._data: list[PlainDataConnections] = []
        self._size = max_message_bytes(contract)

    @override
    @contextmanager
    def serve_parameter_server(self, service: ParameterService) -> Iterator[None]:
        with self._serving(ParameterServerPort, service):
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
        server = self._contract.by_role("ps")[shard].name
        seconds = patience_seconds or self._contract.limits.join_seconds
        return ParameterServerPort(self._transport(server, seconds))

    @override
    def data_receiver(self, worker: str, patience_seconds: float) -> DataReceiverPort:
        return DataReceiverPort(self._transport(worker, patience_seconds))

    @override
    def close(self) -> None:
        for data in self._data:
            data.close()
        for channel in self._channels:
            channel.close()

    @contextmanager
    def _serving(self, table: type[Port], service: Service) -> Iterator[None]:
        server = grpc.server(
            ThreadPoolExecutor(len(self._contract.nodes) + 4), options=self._options()
        )
        server.add_generic_rpc_handlers((handler(table, service, self._caller_of),))
        sock, port = self._bind(server)
        data = None
        if bulk_methods(table):
            calls = DataServer(table, service, most_bytes=self._size, observe=ignore_call)
            data = PlainDataListener(sock, calls, self._caller)
        server.start()
        self._on_event(Listening(self._node.name, f"127.0.0.1:{port}"))
        try:
            yield
        finally:
            if data is not None:
                data.stop(grace=5)
            sock.close()
            server.stop(grace=5).wait()

    def _bind(self, server: grpc.Server) -> tuple[socket.socket, int]:
        """Binds two ports: data connections take the one after gRPC's.

        Raises:
            AddressInUse: One of them cannot be bound.
        """
        wanted = Address.parse(self._listen)
        for _ in range(_TRIES if wanted.port == 0 else 1):
            sock = None
            try:
                port = wanted.port or _free_port()
                sock = socket.create_server((wanted.host, port + 1))
                server.add_insecure_port(f"{wanted.host}:{port}")
            except (RuntimeError, OSError) as error:
                seen = str(error)[:200]
                if sock is not None:
                    sock.close()
            else:
                return sock, port
        raise AddressInUse(f"{self._listen} and the port after it cannot be bound", seen=seen)

    def _transport(self, name: str, patience_seconds: float) -> GrpcTransport:
        channel = self._dial(name, patience_seconds)
        data = PlainDataConnections(
            Address.parse(self._addresses[name]).following(), name, self._said
        )
        self._data.append(data)
        return GrpcTransport(
            channel,
            name,
            metadata=((_NAME_KEY, self._said),),
            data=DataCalls(data.lease, name, self._size, ignore_call),
        )

    def _dial(self, name: str, patience_seconds: float) -> grpc.Channel:
        channel = grpc.insecure_channel(self._addresses[name], options=self._options())
        self._channels.append(channel)
        try:
            grpc.channel_ready_future(channel).result(patience_seconds)
        except grpc.FutureTimeoutError as error:
            raise PeerUnreachable(f"{name} cannot be reached") from error
        return channel

    def _caller_of(self, context: grpc.ServicerContext) -> Caller:
        return self._caller(str(dict(context.invocation_metadata()).get(_NAME_KEY, "")))

    def _caller(self, said: str) -> Caller:
        name, _, incarnation = said.partition(" ")
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


def _free_port() -> int:
    """A port that is free now, and the next one perhaps, too."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return min(int(sock.getsockname()[1]), 65534)
