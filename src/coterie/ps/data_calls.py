"""Calls over data connections: one message and one reply at a time, each with its length.

    request:  4 bytes length, message
    reply:    1 byte kind, 4 bytes length, message or error

Lengths are little-endian and bounded before memory is taken. A connection carries one method. The
kinds are a reply, an error of the service, after which the connection goes on, and a refusal of
the caller, after which it ends. gRPC carries all other calls (``rpc.py``). It copies each message
several times at either end, which is most of what an exchange costs there.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol

import numpy as np
from google.protobuf.message import DecodeError

from coterie.errors import CoterieError, MessageRefused, PeerUnreachable, ProtocolError
from coterie.ps.call_metrics import CallObserver, CallTimer
from coterie.ps.caller import Caller
from coterie.ps.methods import CALL_SECONDS, Unary
from coterie.ps.wire.codecs import Reply, Request, decoded
from coterie.ps.wire.frames import Octets
from coterie.ratls.deadline import Deadline
from coterie.ratls.wire_errors import MAX_ERROR_BYTES, error_octets, read_error

MOST_PER_NODE = 4  # connections to one server
_LENGTH = struct.Struct("<I")
_REPLY = struct.Struct("<BI")
_GOOD, _ERROR, _REFUSED = range(3)
_log = logging.getLogger(__name__)


class Stream(Protocol):
    """One side of a data connection, used by one thread at a time."""

    def wait(self) -> bool:
        """Waits for the next message; False if the peer has closed the connection, or ``abort``."""
        ...

    def receive_into(self, target: memoryview, deadline: Deadline, /) -> None:
        """Fills ``target``; raises PeerUnreachable."""
        ...

    def send(self, parts: Sequence[Octets], deadline: Deadline, /) -> None:
        """Sends the parts as one message; raises PeerUnreachable."""
        ...

    def close(self) -> None:
        """Closes the connection."""
        ...

    def abort(self) -> None:
        """Ends what another thread waits for on this connection; it closes the stream then."""
        ...


Lease = Callable[[], AbstractContextManager[Stream]]


@dataclass(frozen=True)
class DataCalls:
    """A caller's side.

    Attributes:
        lease: Gives a connection for one call, and closes it if the call raises.
        peer: The service's node, for errors and metrics.
        most_bytes: Longest message, both ways.
        observe: Called for every call.
    """

    lease: Lease
    peer: str
    most_bytes: int
    observe: CallObserver

    def call(self, method: Unary[Request, Reply], request: Request) -> Reply:
        """Sends one message and returns the reply.

        Raises:
            PeerUnreachable: The peer cannot be reached, or the connection broke.
            CoterieError: The service's error.
        """
        with CallTimer(self.observe, "client", method.name, self.peer) as timer:
            message = method.codec.encode_request(request)
            timer.sent = _length(message)
            self._check(timer.sent)
            with self.lease() as stream:
                kind, answer = self._answer(stream, message, Deadline.after(method.seconds))
            timer.received = len(answer)
            if kind == _ERROR:
                raise read_error(bytes(answer)) or _unreadable(self.peer)
            try:
                reply = method.codec.decode_reply(answer)
            except DecodeError as error:
                raise _unreadable(self.peer) from error
            timer.work = method.work(request, reply)
            return reply

    def _answer(
        self, stream: Stream, message: Sequence[Octets], deadline: Deadline
    ) -> tuple[int, memoryview]:
        stream.send((_LENGTH.pack(_length(message)), *message), deadline)
        head = _read(stream, _REPLY.size, deadline)
        kind, length = _REPLY.unpack(head)
        if kind == _GOOD:
            self._check(length)
        elif kind > _REFUSED or length > MAX_ERROR_BYTES:
            raise _unreadable(self.peer)
        answer = _read(stream, length, deadline)
        if kind == _REFUSED:
            raise read_error(bytes(answer)) or _unreadable(self.peer)
        return kind, answer

    def _check(self, length: int) -> None:
        if length > self.most_bytes:
            raise too_long(self.peer, self.most_bytes, length)


class DataService(Generic[Request, Reply]):
    """A service's side.

    Args:
        method: The method that connections carry.
        call: Serves it.
        most_bytes: Longest message, both ways.
        observe: Called for every call.
    """

    def __init__(
        self,
        method: Unary[Request, Reply],
        call: Callable[[Caller, Request], Reply],
        *,
        most_bytes: int,
        observe: CallObserver,
    ) -> None:
        self._method = method
        self._call = call
        self._most_bytes = most_bytes
        self._observe = observe

    def serve_one(self, stream: Stream, admitted: Callable[[], Caller]) -> bool:
        """Serves the call whose first byte has arrived.

        Args:
            stream: The connection.
            admitted: The caller; raises CallRefused if it may not call any more.

        Returns:
            Whether the connection goes on.

        Raises:
            PeerUnreachable: The caller went away or was too slow.
        """
        deadline = Deadline.after(CALL_SECONDS)
        with CallTimer(self._observe, "server", self._method.name) as timer:
            kind, answer = self._served(stream, admitted, deadline, timer)
            timer.sent = _length(answer)
            head = _REPLY.pack(kind, timer.sent)
            stream.send((head, *answer), Deadline.after(CALL_SECONDS))
        return kind != _REFUSED

    def _served(
        self,
        stream: Stream,
        admitted: Callable[[], Caller],
        deadline: Deadline,
        timer: CallTimer,
    ) -> tuple[int, Sequence[Octets]]:
        try:
            (length,) = _LENGTH.unpack(_read(stream, _LENGTH.size, deadline))
            timer.received = length
            if length > self._most_bytes:
                raise too_long("this node", self._most_bytes, length)
            octets = _read(stream, length, deadline)
            caller = admitted()  # after the message, which a caller may delay
            timer.peer = caller.node
            self._method.check(caller)
        except PeerUnreachable:
            raise
        except CoterieError as error:
            timer.error = type(error).__name__
            return _REFUSED, (error_octets(error),)
        try:
            request = decoded(self._method.codec.decode_request, octets)
            reply = self._call(caller, request)
            encoded = self._method.codec.encode_reply(reply)
        except Exception as error:  # noqa: BLE001 (all become an error of the reply)
            timer.error = type(error).__name__
            return _ERROR, (error_octets(_told(error)),)
        timer.work = self._method.work(request, reply)
        return _GOOD, encoded


def too_long(peer: str, most: int, seen: int) -> MessageRefused:
    """The error for a message over the limit."""
    return MessageRefused(
        f"a message to or from {peer} is over the limit",
        expected=f"at most {most} bytes, which the contract's batch and model need",
        seen=f"{seen} bytes",
    )


def _length(message: Sequence[Octets]) -> int:
    return sum(map(len, message))


def _read(stream: Stream, length: int, deadline: Deadline) -> memoryview:
    target = np.empty(length, np.uint8).data  # memory that nobody has to zero first
    stream.receive_into(target, deadline)
    return target


def _told(error: Exception) -> CoterieError:
    """What a caller is told; not the text of an internal error, which may hold private data."""
    if isinstance(error, CoterieError):
        return error
    _log.error("a call on a data connection failed", exc_info=error)
    return ProtocolError(
        "the call failed",
        expected="a reply",
        seen="an internal error",
        remedy="look at that node's log",
    )


def _unreadable(peer: str) -> ProtocolError:
    return ProtocolError(
        f"the call to {peer} failed",
        expected="a reply or an error of this protocol",
        seen="something else",
        remedy="both sides must run the same Coterie release",
    )
