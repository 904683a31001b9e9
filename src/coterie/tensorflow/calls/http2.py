"""Reads the calls that a peer's TensorFlow makes: one direction of gRPC over HTTP/2 (RFC 9113).

`hyperframe` reads frames, and `headers` the headers. A request is passed on as it comes, except the frame
that completes it, which waits for the verdict: TensorFlow acts on whole messages only. To hold back
all of it would stop the peer, which may send more only when TensorFlow has seen the beginning.

Two readers of the same bytes must not read different calls. So this one accepts only what
TensorFlow's gRPC sends: frames of seven types without padding, priority and unknown flags, headers in
one frame, and one uncompressed message in a call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from coterie.errors import CallRefused
from coterie.tensorflow.calls.headers import HeaderReader, not_understood
from coterie.text import first_octets, printable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD_BYTES = 9
_MOST_FRAME_BYTES = 1 << 14  # of frames without data
MOST_CALLS = 1024  # whose messages have not come to their end
_WINDOW_HEAD = bytes([0, 0, 4, WindowUpdateFrame.type])
_STREAM = (1 << 31) - 1  # its number; the bit above has no meaning
_PREFIX_BYTES = 5  # a flag, and the length of the message that follows

# Which flags each type of frame may have, each alone. Bits without a meaning are none of them.
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_FLAGS: Mapping[int, tuple[int, ...]] = {
    DataFrame.type: (0, _END_STREAM),
    HeadersFrame.type: (_END_HEADERS,),
    RstStreamFrame.type: (0,),
    SettingsFrame.type: (0, _ACK),
    PingFrame.type: (0, _ACK),
    GoAwayFrame.type: (0,),
    WindowUpdateFrame.type: (0,),
}


@dataclass(frozen=True)
class Method:
    """What a peer may send with a method.

    Attributes:
        most_bytes: Length of the longest message.
        judge: Judges a message, or raises CallRefused.
    """

    most_bytes: int
    judge: Callable[[bytes], None]


class Budget:
    """Bytes that the connections of one peer may have held back, together. For one thread.

    Args:
        most_bytes: How many.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = self._left = most_bytes

    def take(self, count: int) -> bool:
        """Takes some, or gives some back if the number is negative; whether they were there."""
        self._left -= count
        return self._left >= 0


@dataclass
class _Call:
    """A call that has begun.

    Attributes:
        path: Its method.
        method: What it may send.
        octets: The message so far, with its prefix, until it is judged.
        length: Of the message with its prefix; None while the prefix has not come.
        judged: Whether it was.
    """

    path: str
    method: Method
    octets: bytearray = field(default_factory=bytearray)
    length: int | None = None
    judged: bool = False


class CallReader:
    """The reader and judge of one connection.

    Args:
        peer: The caller's name in errors.
        methods: What it may call, by path, as in "/tensorflow.WorkerService/RecvTensor".
        budget: What this and the peer's other connections may hold back.
        passed: Called for every call that was passed on: its path, and the bytes of its message.
    """

    def __init__(
        self,
        peer: str,
        methods: Mapping[str, Method],
        budget: Budget,
        passed: Callable[[str, int], None] = lambda _path, _bytes: None,
    ) -> None:
        self._peer = peer
        self._methods = methods
        self._budget = budget
        self._passed = passed
        self._held = 0
        self._arrived = bytearray()
        self._begun = False
        self._headers = HeaderReader(peer, len(methods))
        self._last_stream = 0
        self._calls: dict[int, _Call] = {}

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """Reads what has arrived.

        Yields:
            What may be passed on, in order.

        Raises:
            CallRefused: The peer may not make a call, or what it sends is not understood. Nothing
                of what follows may be passed on.
        """
        self._hold(len(octets))
        self._arrived += octets
        if not self._begun:
            if not PREFACE.startswith(self._arrived[: len(PREFACE)]):
                raise not_understood(self._peer, first_octets(bytes(self._arrived[:24])))
            if len(self._arrived) < len(PREFACE):
                return
            self._begun = True
            yield self._taken(len(PREFACE))
            self._hold(-len(PREFACE))
        while len(self._arrived) >= _HEAD_BYTES:
            length = _HEAD_BYTES + self._body_bytes()
            if len(self._arrived) < length:
                return
            frame = self._taken(length)
            self._judge(frame)
            yield frame
            self._hold(-length)

    def close(self) -> None:
        """Gives back what the connection holds, at its end."""
        self._hold(-self._held)

    def keep(self, count: int) -> None:
        """Counts bytes that were passed on and not taken yet as held back; a negative number: no more."""
        self._held += count
        self._budget.take(count)

    def _hold(self, count: int) -> None:
        self._held += count
        if not self._budget.take(count) and count > 0:
            raise CallRefused(
                f"{self._peer} sends too much at once",
                expected=f"at most {self._budget.most_bytes} bytes of calls that are not complete",
                seen="more",
                remedy="the program must have smaller graphs",
            )

    def _taken(self, length: int) -> bytes:
        taken = bytes(self._arrived[:length])
        del self._arrived[:length]
        return taken

    def _body_bytes(self) -> int:
        """Length of the next frame without its head, which is judged before more of it has come."""
        length, kind, flags = int.from_bytes(self._arrived[:3]), self._arrived[3], self._arrived[4]
        if flags not in _FLAGS.get(kind, ()):
            raise not_understood(self._peer, f"a frame of type {kind} with flags {flags:#04x}")
        if kind == DataFrame.type:
            call = self._call(int.from_bytes(self._arrived[5:_HEAD_BYTES]) & _STREAM)
            if (known := len(call.octets) + length) > _PREFIX_BYTES + call.method.most_bytes:
                raise self._too_long(call, known - _PREFIX_BYTES)
        elif length > _MOST_FRAME_BYTES:
            raise not_understood(self._peer, f"a frame of type {kind} of {length} bytes")
        return length

    def _call(self, stream: int) -> _Call:
        call = self._calls.get(stream)
        if call is None:
            raise not_understood(self._peer, f"data on stream {stream}, which has no call")
        return call

    def _judge(self, octets: bytes) -> None:
        if octets[:4] == _WINDOW_HEAD and 0 < int.from_bytes(octets[_HEAD_BYTES:]) < 1 << 31:
            return  # about no call, and there are two for each
        view = memoryview(octets)
        try:
            frame, _ = Frame.parse_frame_header(view[:_HEAD_BYTES])
            frame.parse_body(view[_HEAD_BYTES:])
        except HyperframeError as error:
            raise not_understood(self._peer, type(error).__name__) from error
        match frame:
            case HeadersFrame():
                self._begin(frame)
            case DataFrame():
                self._go_on(frame)
            case RstStreamFrame():
                if (call := self._calls.pop(frame.stream_id, None)) is not None:
                    self._hold(-len(call.octets))

    def _begin(self, frame: HeadersFrame) -> None:
        if frame.stream_id % 2 == 0 or frame.stream_id <= self._last_stream:
            raise not_understood(self._peer, f"headers on stream {frame.stream_id}")
        if len(self._calls) == MOST_CALLS:
            raise not_understood(self._peer, f"more than {MOST_CALLS} calls at once")
        self._last_stream = frame.stream_id
        path = self._headers.path(frame.data)
        method = self._methods.get(path)
        if method is None:
            raise CallRefused(
                f"{self._peer} may not make this call here",
                expected=", ".join(self._methods) or "no call",
                seen=printable(path, 100) or "nothing",
                remedy="the program must let a node ask only those that serve it: device_filters",
            )
        self._calls[frame.stream_id] = _Call(path, method)

    def _go_on(self, frame: DataFrame) -> None:
        call = self._call(frame.stream_id)
        self._add(call, frame.data)
        if "END_STREAM" in frame.flags:
            if not call.judged or call.length is None:
                raise not_understood(self._peer, f"a message of {call.path} that is cut off")
            del self._calls[frame.stream_id]
            self._passed(call.path, call.length - _PREFIX_BYTES)

    def _add(self, call: _Call, data: bytes) -> None:
        if call.judged and data:
            raise not_understood(self._peer, f"more than one message of {call.path}")
        self._hold(len(data))
        call.octets += data
        if call.length is None and len(call.octets) >= _PREFIX_BYTES:
            call.length = _PREFIX_BYTES + self._length(call)
        if call.judged or call.length is None or len(call.octets) < call.length:
            return
        if len(call.octets) > call.length:
            raise not_understood(self._peer, f"more than one message of {call.path}")
        call.method.judge(bytes(call.octets[_PREFIX_BYTES:]))
        call.judged = True
        self._hold(-call.length)
        call.octets.clear()

    def _length(self, call: _Call) -> int:
        compressed, length = call.octets[0], int.from_bytes(call.octets[1:_PREFIX_BYTES])
        if compressed:
            raise not_understood(self._peer, f"a compressed message of {call.path}")
        if length > call.method.most_bytes:
            raise self._too_long(call, length)
        return length

    def _too_long(self, call: _Call, length: int) -> CallRefused:
        return CallRefused(
            f"{self._peer} sends too long a message",
            expected=f"at most {call.method.most_bytes} bytes for {call.path}",
            seen=f"{length} bytes",
            remedy="the program must have a smaller graph",
        )
