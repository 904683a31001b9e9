"""A gRPC server that only attested peers can reach.

It has two ports. On the first, peers are attested and pinned, and make data connections. On the
second, gRPC over mutual TLS trusts only the pinned certificates. gRPC accepts no custom verifier, so each of its TLS handshakes
fetches the certificates that are pinned at that time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import cast

import grpc

from coterie import grpc_settings
from coterie.address import Address
from coterie.permissions import Permissions
from coterie.ratls.call_limits import CallLimits
from coterie.ratls.connections import ConnectionLimits, Connections
from coterie.ratls.data_connections import DataPort, DataProtocol
from coterie.ratls.guests import OtherProtocol
from coterie.ratls.handshake import accept
from coterie.ratls.interceptor import AttestationInterceptor
from coterie.ratls.issue import stray_certificate_pem
from coterie.ratls.listener import (
    AttestationListener,
    ListenerLimits,
    address_in_use,
    bound,
    listen,
)
from coterie.ratls.peer import Peer
from coterie.ratls.pins import PinBoard
from coterie.ratls.refusals import Refused, log_refusal
from coterie.ratls.trust import TrustContext

_GRACE_SECONDS = 60.0
_SPARE_THREADS = 4  # refuse connections over the limits


class AttestedServer:
    """Serves gRPC handlers to attested peers.

    Args:
        trust: This node's trust.
        listen: ``HOST:PORT`` of the attestation port; gRPC takes the next one. With port 0 the
            system chooses both.
        handlers: The services.
        permissions: Which roles may call a method, by full name such as
            ``/coterie.ParameterServer/Join``; methods that are not listed are refused.
        max_message_bytes: Longest message, both ways.
        refused: Called for peers that the handshake refuses, as `Tally` reports them; by default
            logs.
        admitted: Called for every peer that is pinned.
        limits: Bounds of the attestation port.
        calls: Bounds of calls at the gRPC port.
        connections: Bounds of connections to it.
        others: Further protocols at the attestation port.
        data: Serves peers' data connections; if absent, there are none.
    """

    def __init__(
        self,
        trust: TrustContext,
        *,
        listen: str,
        handlers: Sequence[grpc.GenericRpcHandler],  # type: ignore[type-arg]  # of any messages
        permissions: Permissions,
        max_message_bytes: int,
        refused: Refused = log_refusal,
        admitted: Callable[[Peer], None] = lambda _: None,
        limits: ListenerLimits | None = None,
        calls: CallLimits | None = None,
        connections: ConnectionLimits | None = None,
        others: Sequence[OtherProtocol] = (),
        data: DataPort | None = None,
    ) -> None:
        self._trust = trust
        self._wanted = Address.parse(listen)
        self._handlers = list(handlers)
        self._permissions = permissions
        self._max_message_bytes = max_message_bytes
        self._refused = refused
        self._admitted = admitted
        self._limits = limits
        self._calls = calls or CallLimits()
        nodes = len(trust.contract.nodes)
        self._connection_limits = connections or ConnectionLimits.for_nodes(nodes)
        self._connections = Connections(self._connection_limits)
        self._pins = PinBoard()
        self._others = list(others)
        self._data = data
        if data is not None:
            self._others.append(DataProtocol(self._pins, trust.clock, data))
        # gRPC needs at least one trusted certificate; the key of this one was discarded.
        self._nobody = stray_certificate_pem(datetime.now(UTC))
        self._seen: tuple[tuple[bytes, ...], tuple[bytes, ...]] | None = None
        self._grpc: grpc.Server | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._listener: AttestationListener | None = None
        self._address: Address | None = None
        self._grpc_port = 0

    @property
    def address(self) -> str:
        """``HOST:PORT`` of the attestation port, once started."""
        assert self._address is not None
        return str(self._address)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The peers that are pinned now."""
        return self._pins.trusted(self._trust.clock())

    def start(self) -> None:
        """Binds both ports and serves.

        Raises:
            AddressInUse: A port cannot be bound.
            EnvironmentUnfit: gRPC would accept TLS 1.2.
        """
        grpc_settings.check()
        following = self._wanted.following()
        sock = listen(self._wanted)
        port = bound(sock).port
        try:
            self._start_grpc(Address(bound(sock).host, following.port))
        except BaseException:
            sock.close()
            raise
        self._address = Address(self._wanted.host, port)
        self._listener = AttestationListener(
            sock, self._handshake, refused=self._refused, limits=self._limits
        )
        self._listener.start()

    def stop(self, grace: float = 0.5) -> None:
        """Stops both ports; calls in progress get ``grace`` seconds."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        if self._data is not None:
            self._data.stop(grace)
        if self._grpc is not None:
            self._grpc.stop(grace).wait()
            self._grpc = None
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def _handshake(self, sock: socket.socket, seconds: float) -> None:
        accept(sock, self._trust, self._admit, seconds=seconds, others=self._others)

    def _start_grpc(self, wanted: Address) -> None:
        age = int(self._trust.reattestation.total_seconds() * 1000)
        grace = int((self._trust.contract.limits.step_seconds + _GRACE_SECONDS) * 1000)
        # A waiting handler holds a thread, so there is a thread for every allowed call.
        threads = self._calls.per_peer * len(self._trust.contract.nodes) + _SPARE_THREADS
        pool = ThreadPoolExecutor(threads, thread_name_prefix="grpc-handler")
        server = grpc.server(
            pool,
            handlers=self._handlers,
            interceptors=[
                AttestationInterceptor(
                    self._pins,
                    self._permissions,
                    self._trust.clock,
                    self._calls.per_peer,
                    admitted=self._connections.proved,
                )
            ],
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", self._max_message_bytes),
                ("grpc.max_send_message_length", self._max_message_bytes),
                (
                    "grpc.max_allowed_incoming_connections",
                    self._connection_limits.in_all(len(self._trust.contract.nodes)),
                ),
                ("grpc.max_connection_age_ms", age),
                ("grpc.max_connection_age_grace_ms", grace),
                *self._calls.server_options(),
            ),
        )
        configuration = self._configuration()
        try:
            port = server.add_secure_port(
                str(wanted),
                grpc.dynamic_ssl_server_credentials(
                    configuration, self._configuration, require_client_authentication=True
                ),
            )
        except RuntimeError as error:
            raise address_in_use(wanted, str(error)[:200]) from error
        if port == 0:
            raise address_in_use(wanted, "gRPC cannot bind it")
        self._connections.watch(port)
        server.start()
        self._grpc, self._pool, self._grpc_port = server, pool, port

    def _admit(self, peer: Peer) -> int:
        self._pins.add(peer)
        self._admitted(peer)
        return self._grpc_port

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        """The present certificates; None if nothing has changed (the stub's type is wrong).

        gRPC asks for them whenever it has accepted a connection.
        """
        self._connections.accepted()
        held = [item.identity for item in self._trust.credentials.held()]
        peers = self._pins.trusted(self._trust.clock())
        trusted = tuple(peer.certificate_pem for peer in peers)
        state = (tuple(item.spki_digest for item in held), trusted)
        if state == self._seen or not held:  # no new certificate to show
            return cast("grpc.ServerCertificateConfiguration", None)
        self._seen = state
        return grpc.ssl_server_certificate_configuration(
            [(item.private_key_pem(), item.certificate_pem) for item in held],
            root_certificates=b"".join((self._nobody, *trusted)),
        )
