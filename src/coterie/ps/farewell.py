"""What a node that ends with an error says to the server: no more than may leave a TEE.

Errors about data can quote data. So only the class of an error goes out, and, of errors about machines
and peers, what happened and what was seen.
"""

from __future__ import annotations

from coterie.errors import CoterieError, RunError
from coterie.ps.wire import ps_pb2 as pb
from coterie.text import printable

_NAME, _REASON = 60, 300


def farewell_of(error: CoterieError, *, goes_on: bool = False) -> pb.TellRequest:
    """The message that tells of an error; ``goes_on``: of one that ends nothing yet."""
    reason = ""
    if isinstance(error, RunError):
        reason = f"{error.what} ({error.seen})" if error.seen else error.what
    return pb.TellRequest(
        error=type(error).__name__, reason=printable(reason, _REASON), goes_on=goes_on
    )


def farewell_from(request: pb.TellRequest) -> tuple[str, str]:
    """Class and reason, bounded: a peer may send anything."""
    return printable(request.error, _NAME), printable(request.reason, _REASON)
