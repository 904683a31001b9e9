"""Serves an attested node's calls and a server's progress; imported only by nodes that listen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from coterie.nodes.fabric import Service
from coterie.ps.call_metrics import CallObserver
from coterie.ps.caller import Caller
from coterie.ps.methods import Port, permissions
from coterie.ps.rpc import handler
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
    reception = None
    if progress is not None:
        from coterie.status.service import StatusService

        reception = StatusService(trust, progress, lambda: server.peers).reception
    server = AttestedServer(
        trust,
        listen=listen,
        handlers=[handler(table, service, _caller_of, observe)],
        permissions=permissions(table),
        max_message_bytes=max_message_bytes,
        refused=refused,
        admitted=admitted,
        reception=reception,
    )
    return server


def _caller_of(context: grpc.ServicerContext) -> Caller:
    peer = peer_of(context)
    return Caller(peer.node, peer.role, peer.incarnation)
