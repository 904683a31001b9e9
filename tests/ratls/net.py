"""A gRPC service of every arity behind an attested server, and what dials it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from coterie.errors import CoterieError, MessageRefused, StepRefused
from coterie.ratls.connections import ConnectionLimits
from coterie.ratls.data_connections import DataPort
from coterie.ratls.transport import (
    AttestedChannel,
    AttestedServer,
    CallLimits,
    ListenerLimits,
    Peer,
    Permissions,
    TrustContext,
    peer_of,
)

if TYPE_CHECKING:
    from coterie.ratls.identity import NodeIdentity
    from tests.ratls.conftest import World

LIMIT = 1 << 20
WORKER = frozenset({"worker"})
PERMISSIONS: Permissions = {
    "/test.S/Who": frozenset({"worker", "chief"}),
    "/test.S/Wait": frozenset({"worker"}),
    "/test.S/Fail": frozenset({"worker"}),
    "/test.S/Count": frozenset({"worker"}),
    "/test.S/Sum": frozenset({"worker"}),
    "/test.S/Each": frozenset({"worker"}),
    "/test.S/ForTheChief": frozenset({"chief"}),
    "/test.S/Missing": frozenset({"worker"}),
}


class Service:
    """Handlers of every arity."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def who(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        return peer_of(context).node.encode()

    def wait(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        self.entered.set()
        assert self.leave.wait(240)  # `Net.close` ends it, however a test ends
        return request

    def fail(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        if request == b"message":
            raise MessageRefused("too many rows", expected="3", seen="4", remedy="send 3")
        if request == b"bug":
            raise ZeroDivisionError("user 4711 has 0 clicks")
        raise StepRefused("too late", expected="step 4", seen="step 3", remedy="join again")

    def count(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield f"{peer_of(context).node} {number}".encode()

    def sum(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
        return str(sum(int(request) for request in requests)).encode()

    def each(self, requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield request * 2

    def handler(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        return grpc.method_handlers_generic_handler(
            "test.S",
            {
                "Who": grpc.unary_unary_rpc_method_handler(self.who),
                "Wait": grpc.unary_unary_rpc_method_handler(self.wait),
                "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
                "Count": grpc.unary_stream_rpc_method_handler(self.count),
                "Sum": grpc.stream_unary_rpc_method_handler(self.sum),
                "Each": grpc.stream_stream_rpc_method_handler(self.each),
                "ForTheChief": grpc.unary_unary_rpc_method_handler(self.who),
                "Unlisted": grpc.unary_unary_rpc_method_handler(self.who),
            },
        )


def raw(message: bytes) -> bytes:
    """Messages of this service are bytes."""
    return message


class Net:
    """One server and what tests dial it with; closes all of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.service = Service()
        self.refused: list[CoterieError] = []
        self.refusal = threading.Event()
        self.serving = False
        self._open: list[Callable[[], None]] = []

    def note(self, _: str, error: CoterieError, __: int) -> None:
        self.refused.append(error)
        self.refusal.set()

    def serve(
        self,
        trust: TrustContext | None = None,
        *,
        listen: str = "127.0.0.1:0",
        limits: ListenerLimits | None = None,
        calls: CallLimits | None = None,
        connections: ConnectionLimits | None = None,
        data: DataPort | None = None,
    ) -> AttestedServer:
        server = AttestedServer(
            trust or self.world.trust("ps0"),
            listen=listen,
            handlers=[self.service.handler()],
            permissions=PERMISSIONS,
            max_message_bytes=LIMIT,
            refused=self.note,
            limits=limits,
            calls=calls,
            connections=connections,
            data=data,
        )
        server.start()
        self.serving = True
        self._open.append(server.stop)
        return server

    def dial(
        self,
        server: AttestedServer,
        trust: TrustContext | None = None,
        *,
        waiter: Callable[[float], bool] | None = None,
        patience_seconds: float = 10,
    ) -> AttestedChannel:
        channel = AttestedChannel(
            trust or self.world.trust("acme-worker"),
            server.address,
            "ps0",
            LIMIT,
            patience_seconds=patience_seconds,
            waiter=waiter,
        )
        self._open.append(channel.close)
        return channel

    def close(self) -> None:
        self.service.leave.set()
        for close in reversed(self._open):
            close()


def call(channel: AttestedChannel, method: str, request: bytes = b"") -> bytes:
    return channel.channel.unary_unary(f"/test.S/{method}", raw, raw)(request)


@contextmanager
def thief(peer: Peer, identity: NodeIdentity) -> Iterator[grpc.Channel]:
    """A connection of whoever has a node's key and certificate, and no more."""
    with grpc.secure_channel(
        f"127.0.0.1:{peer.grpc_port}",
        grpc.ssl_channel_credentials(
            peer.certificate_pem, identity.private_key_pem(), identity.certificate_pem
        ),
        (
            ("grpc.ssl_target_name_override", peer.dns_name),
            ("grpc.use_local_subchannel_pool", 1),
        ),
    ) as channel:
        yield channel
