"""The headers of a call are those of TensorFlow's gRPC, each once: C-core and this reader read the same path."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hyperframe.frame import RstStreamFrame

from coterie.errors import CallRefused
from fuzz.speaking import SERVICE, Header, headers_of
from tests.tensorflow.calls.reading import (
    CALL,
    HEADERS,
    RECEIVE,
    RUN,
    begun,
    framed,
    passed,
    seen,
)


def block(*headers: Header) -> bytes:
    """Headers as literals that are not indexed, so that the decoder's state does not matter."""
    octets = b""
    for name, value in headers:
        octets += b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value
    return octets


def test_a_block_of_headers_means_what_the_table_says_now() -> None:
    one, speaker = begun()
    passed(one, speaker.call(1, RUN, b"x"))
    passed(one, speaker.call(3, RECEIVE, b"x"))
    block = speaker.block(headers_of(RECEIVE))
    assert min(block) >= 0x80  # nothing but places in the table
    for stream in (5, 7):
        frame = speaker.raw_headers(stream, block)
        assert passed(one, frame) == frame
    passed(one, speaker.headers(9, [*headers_of(RUN), (b"grpc-timeout", b"10S")]))
    with pytest.raises(CallRefused) as refused:
        passed(one, speaker.raw_headers(11, block))
    assert refused.value.seen == "the header :path"


CHANGES: list[tuple[str, Callable[[list[Header]], list[Header]], str]] = [
    ("twice", lambda all_: [*all_, (b":path", RECEIVE.encode())], "the header :path"),
    ("another", lambda all_: [*all_, (b"cookie", b"x")], "the header cookie"),
    ("upper", lambda all_: [*all_, (b"Grpc-Timeout", b"1S")], "the header Grpc-Timeout"),
    ("get", lambda all_: [(b":method", b"GET"), *all_[2:]], ":method: GET"),
    ("https", lambda all_: [(b":scheme", b"https"), *all_[1:]], ":scheme: https"),
    ("gzip", lambda all_: [*all_, (b"grpc-encoding", b"gzip")], "grpc-encoding: gzip"),
    (
        "type",
        lambda all_: [h for h in all_ if h[0] != b"content-type"],
        "a call without content-type",
    ),
    ("path", lambda all_: [h for h in all_ if h[0] != b":path"], "a call without :path"),
]


@pytest.mark.parametrize(("change", "seen"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_are_other_headers(change: Callable[[list[Header]], list[Header]], seen: str) -> None:
    one, speaker = begun()
    with pytest.raises(CallRefused) as refused:
        passed(one, speaker.headers(1, change(headers_of(RUN))))
    assert refused.value.what == "acme sends something else than calls of TensorFlow"
    assert refused.value.seen == seen


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param((b":path", RUN.encode() + b"?x"), id="a query"),
        pytest.param((b":path", RUN.encode() + b"#x"), id="a fragment"),
        pytest.param((b":path", RUN.encode() + b"\0"), id="a NUL"),
        pytest.param((b":path", b" " + RUN.encode()), id="a blank"),
        pytest.param((b":path", b"http://x" + RUN.encode()), id="with an authority"),
        pytest.param((b":path", RUN.replace("/", "//").encode()), id="two strokes"),
        pytest.param((b":path", RUN.replace("R", "%52").encode()), id="escapes"),
        pytest.param((b":path", RUN.encode() + b"\xff"), id="no text"),
    ],
)
def test_paths_are_those_of_the_methods_byte_by_byte(changed: Header) -> None:
    one, speaker = begun()
    headers = [changed if name == b":path" else (name, value) for name, value in CALL]
    with pytest.raises(CallRefused) as refused:
        passed(one, speaker.headers(1, headers))
    assert refused.value.what == "acme may not make this call here"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ((b":path", RECEIVE.encode()), "the header :path"),
        ((b":method", b"POST"), "the header :method"),
        ((b":authority", b"other"), "the header :authority"),
        ((b":protocol", b"websocket"), "the header :protocol"),
        ((b"host", b"other"), "the header host"),
        ((b"te", b"trailers"), "the header te"),
        ((b"transfer-encoding", b"chunked"), "the header transfer-encoding"),
        ((b"content-length", b"5"), "the header content-length"),
        ((b"connection", b"te"), "the header connection"),
        ((b"upgrade", b"h2c"), "the header upgrade"),
        ((b"grpc-encoding", b"gzip"), "grpc-encoding: gzip"),
        (
            (b"grpc-internal-encoding-request", b"gzip"),
            "the header grpc-internal-encoding-request",
        ),
        ((b":PATH", RECEIVE.encode()), "the header :PATH"),
        ((b"Te", b"x"), "the header Te"),
        ((b"", b""), "the header nothing"),
    ],
)
def test_headers_are_those_of_a_list_and_each_once(more: Header, expected: str) -> None:
    for headers in ([*CALL, more], [more, *CALL]):
        assert seen(framed(HEADERS, 4, 1, block(*headers))) in {
            expected,
            f"the header {more[0].decode()}",
        }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"te", b"trailers, deflate"),
        (b"te", b"gzip"),
        (b"content-type", b"application/grpc+json"),
        (b"content-type", b"application/grpc-web"),
        (b":scheme", b"https"),
        (b":method", b"PUT"),
    ],
)
def test_values_are_those_of_tensorflow(name: bytes, value: bytes) -> None:
    headers = [(one, value if one == name else kept) for one, kept in CALL]
    assert seen(framed(HEADERS, 4, 1, block(*headers))) == f"{name.decode()}: {value.decode()}"


def test_a_path_from_the_dynamic_table_is_the_one_that_was_put_there() -> None:
    """Both readers keep the table over all headers of a connection, refused streams included."""
    one, speaker = begun()
    first = speaker.headers(1, headers_of(RECEIVE))
    assert RECEIVE.encode() not in speaker.headers(3, headers_of(RECEIVE))
    again = speaker.headers(5, headers_of(RECEIVE))
    assert passed(one, first + RstStreamFrame(1).serialize() + again) == (
        first + RstStreamFrame(1).serialize() + again
    )
    other = speaker.headers(7, headers_of(f"{SERVICE}RegisterGraph"))
    later = speaker.headers(9, headers_of(f"{SERVICE}RegisterGraph"))
    assert b"RegisterGraph" not in later
    with pytest.raises(CallRefused, match="may not make this call"):
        passed(one, other)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\x3f\xe2\x1f", id="a larger table than was offered"),
        pytest.param(b"\xff" * 5, id="a number that does not end"),
        pytest.param(b"\xff" * 2000 + b"\0", id="a number of many bytes"),
        pytest.param(b"\xc0", id="an entry that is not there"),
        pytest.param(b"\x80", id="the entry 0"),
        pytest.param(b"\0\x05ab", id="a name that is cut off"),
        pytest.param(b"\0\x81\xff\0", id="a wrong Huffman code"),
    ],
)
def test_headers_of_a_wrong_form(octets: bytes) -> None:
    assert seen(framed(HEADERS, 4, 1, octets))


def test_headers_do_not_grow_when_they_are_decoded() -> None:
    """A list of 100,000 bytes from one entry of the dynamic table (an HPACK bomb)."""
    large = b"\x40\x0auser-agent\x7f\xa1\x1e" + b"x" * 4000
    bomb = framed(HEADERS, 4, 1, large + b"\xbe" * 25)
    assert seen(bomb) == "OversizedHeaderListError"
