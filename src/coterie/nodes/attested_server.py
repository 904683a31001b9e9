"""Serves an attested node's calls and a server's progress; imported only by nodes that listen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from typing_extensions import override

from coterie.nodes.fabric import Service
from coterie.ps.call_metrics import CallObserver
from coterie.ps.caller import Caller
from coterie.ps.data_server import DataServer, bulk_methods
from coterie.ps.methods import Port, permissions
from coterie.ps.rpc import handler
from coterie.ratls.data_connections import DataConnection, DataPort
from coterie.ratls.guests import OtherProtocol
from coterie.ratls.interceptor import peer_of
from coterie.ratls.peer import Peer
from coterie.ratls.refusals import Refused
from coterie.ratls.server import AttestedServer
from coterie.ratls.trust import TrustContext

if TYPE_CHECKING:
    import grpc

    from coterie.ps.progress import Progress


def attested_server(
    trust: TrustContext,
    listen: str,
    table: type[Port],
    service: Service,
    *,
    max_message_bytes: int,
    refused: Refused,
    admitted: Callable[[Peer], None],
    observe: CallObserver,
    progress: Callable[[], Progress] | None = None,
) -> AttestedServer:
    """Makes a server, not started yet, of a table's calls for attested peers.

    Args:
        trust: Evidence of this node, and verification of the others.
        listen: ``HOST:PORT`` of the attestation port.
        table: The calls.
        service: Serves them.
        max_message_bytes: Longest message, both ways.
        refused: Called for every refused peer.
        admitted: Called for every peer before its first call.
        observe: Called for every call.
        progress: Gives the progress that parties may query; if absent, there are no queries.
    """
    others: list[OtherProtocol] = []
    if progress is not None:
        from coterie.status.service import StatusService

        others.append(StatusService(trust, progress, lambda: server.peers).reception)
    server = AttestedServer(
        trust,
        listen=listen,
        handlers=[handler(table, service, _caller_of, observe)],
        permissions=permissions(table),
        max_message_bytes=max_message_bytes,
        refused=refused,
        admitted=admitted,
        others=others,
        data=_data_port(table, service, max_message_bytes, observe),
    )
    return server


def _data_port(
    table: type[Port], service: Service, most_bytes: int, observe: CallObserver
) -> _DataPort | None:
    if not bulk_methods(table):
        return None
    return _DataPort(DataServer(table, service, most_bytes=most_bytes, observe=observe))


class _DataPort(DataPort):
    """Serves the calls of attested peers on data connections."""

    def __init__(self, server: DataServer) -> None:
        self._server = server

    @override
    def take(self, connection: DataConnection) -> None:
        self._server.take(connection.stream, lambda: _caller(connection.admitted()))

    @override
    def stop(self, grace: float) -> None:
        self._server.stop(grace)


def _caller_of(context: grpc.ServicerContext) -> Caller:
    return _caller(peer_of(context))


def _caller(peer: Peer) -> Caller:
    return Caller(peer.node, peer.role, peer.incarnation)
