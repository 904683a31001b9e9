"""A client of gRPC over HTTP/2, frame by frame, which may say what no client of TensorFlow says."""

from __future__ import annotations

from collections.abc import Sequence

from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame

from coterie.tensorflow.calls.http2 import PREFACE

SERVICE = "/tensorflow.WorkerService/"
Header = tuple[bytes, bytes]


def headers_of(path: str) -> list[Header]:
    """Headers of a call as TensorFlow 2.21 sends them."""
    return [
        (b":scheme", b"http"),
        (b":method", b"POST"),
        (b":authority", b"239.67.0.0:2222"),
        (b":path", path.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"user-agent", b"grpc-c++/1.74.0 grpc-c/49.0.0 (linux; chttp2)"),
        (b"grpc-accept-encoding", b"identity, deflate, gzip"),
    ]


def message(octets: bytes, *, compressed: bool = False) -> bytes:
    """A message of gRPC with its prefix."""
    return bytes([compressed]) + len(octets).to_bytes(4) + octets


class Speaker:
    """One connection's client.

    Attributes:
        opening: What it sends first.
    """

    def __init__(self) -> None:
        self._encoder = Encoder()
        self.opening = (
            PREFACE + SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 20}).serialize()
        )

    def headers(
        self, stream: int, given: Sequence[Header], flags: Sequence[str] = ("END_HEADERS",)
    ) -> bytes:
        """A frame of headers."""
        return self.raw_headers(stream, self.block(given), flags)

    def block(self, given: Sequence[Header]) -> bytes:
        """Encoded headers."""
        return self._encoder.encode(given)

    def raw_headers(
        self, stream: int, block: bytes, flags: Sequence[str] = ("END_HEADERS",)
    ) -> bytes:
        """A frame of encoded headers."""
        return HeadersFrame(stream, block, flags=flags).serialize()

    def data(self, stream: int, octets: bytes, flags: Sequence[str] = ()) -> bytes:
        """A frame of data."""
        return DataFrame(stream, octets, flags=flags).serialize()

    def call(self, stream: int, path: str, octets: bytes) -> bytes:
        """A whole call."""
        return self.headers(stream, headers_of(path)) + self.data(
            stream, message(octets), ("END_STREAM",)
        )
