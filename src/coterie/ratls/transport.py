"""The transport, gRPC among attested nodes: the names that other folders use."""

from coterie.permissions import Permissions
from coterie.ratls.call_limits import CallLimits
from coterie.ratls.channel import AttestedChannel
from coterie.ratls.connections import ConnectionLimits
from coterie.ratls.interceptor import peer_of
from coterie.ratls.listener import ListenerLimits
from coterie.ratls.peer import Peer
from coterie.ratls.server import AttestedServer
from coterie.ratls.trust import TrustContext, make_trust
from coterie.ratls.wire_errors import error_of

__all__ = [
    "AttestedChannel",
    "AttestedServer",
    "CallLimits",
    "ConnectionLimits",
    "ListenerLimits",
    "Peer",
    "Permissions",
    "TrustContext",
    "error_of",
    "make_trust",
    "peer_of",
]
