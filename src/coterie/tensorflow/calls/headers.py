"""Reads the headers of calls (RFC 7541): which method each of them calls.

Two readers of the same bytes must not read different headers. So each may be there once, and only
with a value that TensorFlow's gRPC sends.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpack import Decoder
from hpack.exceptions import HPACKError

from coterie.errors import CallRefused
from coterie.text import first_octets

_MOST_HEADER_BYTES = 1 << 14
_INDEX = 0x80

# The headers of a call of TensorFlow's gRPC. None: any value.
_HEADERS: Mapping[bytes, bytes | None] = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": None,
    b":authority": None,
    b"te": b"trailers",
    b"content-type": b"application/grpc",
    b"grpc-encoding": b"identity",
    b"user-agent": None,
    b"grpc-accept-encoding": None,
    b"accept-encoding": None,
    b"grpc-timeout": None,
}
_NEEDED = (b":method", b":scheme", b":path", b"content-type")


def not_understood(peer: str, seen: str) -> CallRefused:
    """The error of a peer that says what TensorFlow does not.

    Args:
        peer: Its name.
        seen: What it says.
    """
    return CallRefused(
        f"{peer} sends something else than calls of TensorFlow",
        expected="gRPC over HTTP/2 as TensorFlow's own processes speak it",
        seen=seen,
        remedy="only the program that the contract names may speak here: find out what runs there",
    )


class HeaderReader:
    """The headers of one connection, whose table is that of all of them.

    Args:
        peer: The caller's name in errors.
        most_known: Blocks that are remembered at most: one for each method.
    """

    def __init__(self, peer: str, most_known: int) -> None:
        self._peer = peer
        self._most_known = most_known
        self._decoder = Decoder(max_header_list_size=_MOST_HEADER_BYTES)
        self._known: dict[bytes, str] = {}  # paths of blocks that change nothing

    def path(self, block: bytes) -> str:
        """The path in the next block of headers.

        Raises:
            CallRefused: The headers are not those of a call of TensorFlow's gRPC.
        """
        if (known := self._known.get(block)) is not None:
            return known
        path = self._decoded_path(block)
        # Octets that all have their highest bit are indexes only (RFC 7541, 6.1): such a block means
        # the same until another one changes the table. It is what each call after the first has.
        if min(block) < _INDEX or len(self._known) == self._most_known:
            self._known.clear()
        if min(block) >= _INDEX:
            self._known[block] = path
        return path

    def _decoded_path(self, block: bytes) -> str:
        try:
            headers = self._decoder.decode(block, raw=True)
        except HPACKError as error:
            raise not_understood(self._peer, type(error).__name__) from error
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in found or name not in _HEADERS:
                raise not_understood(self._peer, f"the header {first_octets(bytes(name))}")
            if _HEADERS[name] not in {None, value}:
                seen = f"{name.decode()}: {first_octets(bytes(value))}"
                raise not_understood(self._peer, seen)
            found[bytes(name)] = bytes(value)
        missing = [name.decode() for name in _NEEDED if name not in found]
        if missing:
            raise not_understood(self._peer, f"a call without {', '.join(missing)}")
        return found[b":path"].decode("latin-1")
