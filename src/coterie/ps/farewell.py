"""The message of a node that ends with an error, limited to what may leave a TEE.

Errors about data can quote data. So only the class of an error is sent and, for errors about
machines and peers, also what happened and what was seen.
"""

from __future__ import annotations

from coterie.errors import CoterieError, RunError
from coterie.ps.wire import ps_pb2 as pb
from coterie.text import printable

_NAME, _REASON = 60, 300


def farewell_of(error: CoterieError, *, goes_on: bool = False) -> pb.TellRequest:
    """The message that reports an error; ``goes_on``: the node does not end yet."""
    reason = ""
    if isinstance(error, RunError):
        reason = f"{error.what} ({error.seen})" if error.seen else error.what
    return pb.TellRequest(
        error=type(error).__name__, reason=printable(reason, _REASON), goes_on=goes_on
    )


def farewell_from(request: pb.TellRequest) -> tuple[str, str]:
    """Class and reason of a message, bounded, since a peer may send anything."""
    return printable(request.error, _NAME), printable(request.reason, _REASON)
