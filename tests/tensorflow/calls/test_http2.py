"""The reader of calls: what TensorFlow sends is passed on, the end of a message after its verdict, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    Frame,
    GoAwayFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import CallRefused
from coterie.tensorflow.calls.http2 import MOST_CALLS, PREFACE, Budget
from fuzz.speaking import SERVICE, Speaker, headers_of, message
from tests.tensorflow.calls.reading import (
    CALL,
    CONTINUATION,
    DATA,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PUSH,
    RECEIVE,
    RST,
    RUN,
    SETTINGS,
    WINDOW,
    begun,
    framed,
    passed,
    reader,
    seen,
)


class TestWhatTensorFlowSends:
    @given(cuts=st.lists(st.integers(1, 200), max_size=30))
    def test_is_passed_on_whatever_pieces_it_comes_in(self, cuts: list[int]) -> None:
        speaker = Speaker()
        said = (
            speaker.opening
            + speaker.call(1, RUN, b"x" * 300)
            + PingFrame(0, b"12345678").serialize()
            + speaker.headers(3, headers_of(RECEIVE))
            + speaker.headers(5, [*headers_of(RUN), (b"grpc-timeout", b"10S")])
            + speaker.data(3, message(b"y" * 500)[:200])
            + speaker.data(5, message(b""))
            + WindowUpdateFrame(0, 1000).serialize()
            + speaker.data(3, message(b"y" * 500)[200:], ("END_STREAM",))
            + speaker.data(5, b"", ("END_STREAM",))
            + RstStreamFrame(5).serialize()
            + GoAwayFrame(0).serialize()
        )
        one, left, heard = reader(), said, b""
        for cut in cuts:
            heard += passed(one, left[:cut])
            left = left[cut:]
        assert heard + passed(one, left) == said

    def test_waits_for_the_verdict_only_with_the_end_of_a_message(self) -> None:
        one, speaker = begun()
        whole = message(b"x" * 90_000 + b"forbidden")
        start = speaker.headers(1, headers_of(RECEIVE)) + speaker.data(1, whole[:80_000])
        assert passed(one, start) == start
        heard: list[bytes] = []
        with pytest.raises(CallRefused, match="forbidden"):
            heard.extend(one.feed(speaker.data(1, whole[80_000:], ("END_STREAM",))))
        assert heard == []

    def test_may_be_given_up_by_the_caller(self) -> None:
        one, speaker = begun()
        for stream in range(1, 4001, 2):
            said = speaker.headers(stream, headers_of(RUN)) + RstStreamFrame(stream).serialize()
            assert passed(one, said) == said


class TestRefused:
    @pytest.mark.parametrize("path", [f"{SERVICE}RegisterGraph", "", "/", f"{RUN}/", RUN.lower()])
    def test_is_another_method(self, path: str) -> None:
        one, speaker = begun()
        with pytest.raises(CallRefused) as refused:
            passed(one, speaker.headers(1, headers_of(path)))
        assert refused.value.what == "acme may not make this call here"

    @pytest.mark.parametrize(
        "frames",
        [
            pytest.param([PriorityFrame(1)], id="priority"),
            pytest.param([PushPromiseFrame(1, 2, flags=("END_HEADERS",))], id="push"),
            pytest.param([ContinuationFrame(1, b"", flags=("END_HEADERS",))], id="continuation"),
        ],
    )
    def test_are_other_frames(self, frames: Iterable[Frame]) -> None:
        one, _ = begun()
        with pytest.raises(CallRefused) as refused:
            passed(one, b"".join(frame.serialize() for frame in frames))
        assert refused.value.what == "acme sends something else than calls of TensorFlow"

    @pytest.mark.parametrize(
        "said",
        [
            pytest.param(lambda s: s.headers(2, headers_of(RUN)), id="even stream"),
            pytest.param(lambda s: s.headers(1, headers_of(RUN), ()), id="headers to be continued"),
            pytest.param(
                lambda s: s.headers(1, headers_of(RUN), ("END_HEADERS", "END_STREAM")),
                id="no message",
            ),
            pytest.param(
                lambda s: s.headers(1, headers_of(RUN), ("END_HEADERS", "PRIORITY")), id="priority"
            ),
            pytest.param(
                lambda s: s.headers(1, headers_of(RUN)) + s.headers(1, headers_of(RUN)),
                id="headers twice",
            ),
            pytest.param(
                lambda s: s.headers(3, headers_of(RUN)) + s.headers(1, headers_of(RUN)),
                id="an older stream",
            ),
            pytest.param(lambda s: s.data(1, message(b"x")), id="data without a call"),
            pytest.param(
                lambda s: s.call(1, RUN, b"x") + s.data(1, message(b"x")), id="data behind the end"
            ),
            pytest.param(
                lambda s: s.headers(1, headers_of(RUN)) + s.data(1, message(b"x") * 2),
                id="two messages",
            ),
            pytest.param(
                lambda s: (
                    s.headers(1, headers_of(RUN))
                    + s.data(1, message(b"x"))
                    + s.data(1, message(b"x"))
                ),
                id="a second message",
            ),
            pytest.param(
                lambda s: s.headers(1, headers_of(RUN)) + s.data(1, message(b"x", compressed=True)),
                id="compressed",
            ),
            pytest.param(
                lambda s: (
                    s.headers(1, headers_of(RUN)) + s.data(1, message(b"xyz")[:-1], ("END_STREAM",))
                ),
                id="cut off",
            ),
            pytest.param(
                lambda s: s.headers(1, headers_of(RUN)) + s.data(1, b"\0\0", ("END_STREAM",)),
                id="cut off in the prefix",
            ),
            pytest.param(
                lambda s: s.headers(1, headers_of(RUN)) + s.data(1, message(b"x"), ("PADDED",)),
                id="padded",
            ),
            pytest.param(lambda _: b"\0\0\1\1\4\0\0\0\1\xff", id="headers that are none"),
        ],
    )
    def test_is_what_no_client_of_tensorflow_says(self, said: Callable[[Speaker], bytes]) -> None:
        one, speaker = begun()
        with pytest.raises(CallRefused) as refused:
            passed(one, said(speaker))
        assert refused.value.what == "acme sends something else than calls of TensorFlow"

    @pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/1.1", b"\x16\3\1"])
    def test_is_another_preface(self, said: bytes) -> None:
        with pytest.raises(CallRefused):
            passed(reader(), said)

    def test_is_a_message_that_is_too_long_before_it_has_come(self) -> None:
        one, speaker = begun()
        with pytest.raises(CallRefused) as refused:
            passed(one, speaker.headers(1, headers_of(RUN)) + speaker.data(1, b"\0\0\0\x03\xe9"))
        assert refused.value.expected == f"at most 1000 bytes for {RUN}"
        assert refused.value.seen == "1001 bytes"

    def test_is_a_frame_longer_than_any_message_before_it_has_come(self) -> None:
        one, speaker = begun()
        passed(one, speaker.headers(1, headers_of(RUN)) + speaker.data(1, b"\0\0\0\x03\xe8"))
        with pytest.raises(CallRefused) as refused:
            passed(one, speaker.data(1, bytes(1001))[:9])  # its head
        assert refused.value.what == "acme sends too long a message"
        assert refused.value.expected == f"at most 1000 bytes for {RUN}"

    def test_are_too_many_calls_at_once(self) -> None:
        one, speaker = begun()
        said = b"".join(speaker.headers(2 * i + 1, headers_of(RUN)) for i in range(MOST_CALLS))
        assert passed(one, said) == said
        with pytest.raises(CallRefused, match="something else"):
            passed(one, speaker.headers(2 * MOST_CALLS + 1, headers_of(RUN)))


class TestWhatTwoReadersCouldReadDifferently:
    """C-core is the other one. What either could take for something else ends the connection."""

    @pytest.mark.parametrize(
        ("kind", "flags"),
        [
            (kind, flags)
            for kind, allowed in {
                DATA: (0, 1),
                HEADERS: (4,),
                RST: (0,),
                SETTINGS: (0, 1),
                PING: (0, 1),
                GOAWAY: (0,),
                WINDOW: (0,),
            }.items()
            for flags in (0, *(1 << bit for bit in range(8)), 5, 12, 36, 255)
            if flags not in allowed
        ],
    )
    def test_flags_that_tensorflow_does_not_set(self, kind: int, flags: int) -> None:
        """Padding, priority, headers to be continued, trailers, and bits without a meaning."""
        assert seen(framed(kind, flags, 1, bytes(8))) == (
            f"a frame of type {kind} with flags {flags:#04x}"
        )

    @pytest.mark.parametrize("kind", [PRIORITY, PUSH, CONTINUATION, 10, 12, 16, 0x20, 0xFA, 255])
    def test_frames_that_tensorflow_does_not_send(self, kind: int) -> None:
        """Before their bodies have come: unknown ones, which C-core skips, among them."""
        for flags in (0, 4):
            said = framed(kind, flags, 1, length=1000)
            assert seen(said) == f"a frame of type {kind} with flags {flags:#04x}"

    @pytest.mark.parametrize(
        ("kind", "stream", "body"),
        [
            (SETTINGS, 1, b""),
            (SETTINGS, 0, bytes(5)),
            (PING, 1, bytes(8)),
            (PING, 0, bytes(7)),
            (GOAWAY, 1, bytes(8)),
            (GOAWAY, 0, bytes(7)),
            (RST, 0, bytes(4)),
            (RST, 1, bytes(3)),
            (WINDOW, 0, bytes(4)),
            (WINDOW, 0, b"\0\0\1"),
        ],
    )
    def test_frames_of_a_wrong_form(self, kind: int, stream: int, body: bytes) -> None:
        assert seen(framed(kind, 0, stream, body)).startswith("Invalid")

    @pytest.mark.parametrize("stream", [0, 1])
    def test_data_of_no_call(self, stream: int) -> None:
        """Before they have come."""
        said = framed(DATA, 0, stream, length=1000)
        assert seen(said) == f"data on stream {stream}, which has no call"

    def test_the_reserved_bit_is_no_part_of_a_stream(self) -> None:
        """RFC 9113, 4.1: it is ignored, by C-core too."""
        one, speaker = begun()
        said = bytearray(speaker.headers(1, CALL))
        said[5] |= 0x80
        assert passed(one, bytes(said)) == said
        with pytest.raises(CallRefused):
            passed(one, speaker.headers(1, CALL))

    @pytest.mark.parametrize("cuts", [[1], [2, 3], [5], [7, 6], [1, 1, 1, 1, 1, 1, 1, 1]])
    def test_a_message_in_pieces_is_judged_as_one(self, cuts: list[int]) -> None:
        one, speaker = begun()
        whole = message(b"forbidden")
        passed(one, speaker.headers(1, headers_of(RECEIVE)))
        pieces, left = [], whole
        for cut in cuts:
            pieces.append(left[:cut])
            left = left[cut:]
        for piece in pieces:
            assert passed(one, speaker.data(1, piece)) == speaker.data(1, piece)
        with pytest.raises(CallRefused, match="forbidden"):
            passed(one, speaker.data(1, left))

    def test_a_stream_is_not_used_again(self) -> None:
        for end in (b"", RstStreamFrame(1).serialize()):
            one, speaker = begun()
            passed(one, speaker.call(1, RUN, b"x") + end)
            with pytest.raises(CallRefused, match="something else"):
                passed(one, speaker.headers(1, CALL))
            one, speaker = begun()
            passed(one, speaker.headers(5, CALL) + RstStreamFrame(5).serialize())
            with pytest.raises(CallRefused, match="something else"):
                passed(one, speaker.data(5, message(b"x")))

    def test_frames_between_the_pieces_change_nothing(self) -> None:
        """Settings, and the end that is announced, concern no call that has begun."""
        one, speaker = begun()
        whole = message(b"x" * 50 + b"forbidden")
        passed(one, speaker.headers(1, headers_of(RECEIVE)) + speaker.data(1, whole[:30]))
        passed(one, GoAwayFrame(0).serialize() + framed(SETTINGS, 0, 0, bytes(6)))
        passed(one, speaker.call(3, RUN, b"x"))
        with pytest.raises(CallRefused, match="forbidden"):
            passed(one, speaker.data(1, whole[30:], ("END_STREAM",)))


class TestBounds:
    """What a peer makes this node keep."""

    @pytest.mark.parametrize("kind", [HEADERS, SETTINGS, GOAWAY, PING, RST, WINDOW])
    def test_frames_without_data_are_short(self, kind: int) -> None:
        flags = 4 if kind == HEADERS else 0
        said = framed(kind, flags, kind == HEADERS, length=(1 << 14) + 1)
        assert seen(said) == f"a frame of type {kind} of 16385 bytes"

    @pytest.mark.parametrize(
        "flood",
        [
            pytest.param(framed(PING, 0, 0, bytes(8)), id="ping"),
            pytest.param(framed(SETTINGS, 0, 0, bytes(6)), id="settings"),
            pytest.param(framed(WINDOW, 0, 0, b"\0\0\0\1"), id="window"),
            pytest.param(framed(RST, 0, 1, bytes(4)), id="reset"),
            pytest.param(framed(GOAWAY, 0, 0, bytes(8)), id="goaway"),
        ],
    )
    def test_floods_are_passed_on_and_leave_nothing(self, flood: bytes) -> None:
        """C-core has limits of its own for them; a slow reader stops the peer (`drain`)."""
        budget = Budget(1 << 12)
        one, _ = begun(budget)
        for _ in range(2000):
            assert passed(one, flood * 50) == flood * 50
        assert budget.take(1 << 12)

    def test_calls_that_are_given_up_leave_nothing(self) -> None:
        budget = Budget(1 << 12)
        one, speaker = begun(budget)
        for stream in range(1, 6001, 2):
            said = speaker.headers(stream, headers_of(RECEIVE))
            said += speaker.data(stream, message(bytes(100))[:90])
            passed(one, said + RstStreamFrame(stream).serialize())
        assert budget.take(1 << 12)

    def test_what_is_held_is_counted_over_all_connections_of_a_peer(self) -> None:
        budget = Budget(250_000)
        half = message(bytes(100_000))[:90_000]
        (one, speaker), (other, second) = begun(budget), begun(budget)
        passed(one, speaker.headers(1, headers_of(RECEIVE)) + speaker.data(1, half))
        passed(other, second.headers(1, headers_of(RECEIVE)) + second.data(1, half[:50_000]))
        third, speaker = begun(budget)
        with pytest.raises(CallRefused) as refused:
            passed(third, speaker.headers(1, headers_of(RECEIVE)) + speaker.data(1, half))
        assert refused.value.what == "acme sends too much at once"
        assert refused.value.expected == ("at most 250000 bytes of calls that are not complete")
        for ended in (one, other, third):
            ended.close()
        assert budget.take(250_000)

    def test_the_beginning_of_a_long_frame_is_held(self) -> None:
        budget = Budget(10_000)
        one, speaker = begun(budget)
        passed(one, speaker.headers(1, headers_of(RECEIVE)))
        long = framed(DATA, 0, 1, bytes(9000), length=90_000)
        assert passed(one, long) == b""
        with pytest.raises(CallRefused, match="too much at once"):
            passed(one, bytes(1000))


class Conversation:
    """Valid traffic of a few calls, in frames."""

    def __init__(self) -> None:
        speaker = Speaker()
        whole = message(b"y" * 90)
        self.frames = [
            speaker.opening,
            speaker.headers(1, headers_of(RECEIVE)),
            speaker.headers(3, headers_of(RUN)),
            speaker.data(1, whole[:40]),
            PingFrame(0, b"12345678").serialize(),
            speaker.data(3, message(b"z" * 20), ("END_STREAM",)),
            WindowUpdateFrame(0, 1000).serialize(),
            speaker.data(1, whole[40:], ("END_STREAM",)),
            RstStreamFrame(3).serialize(),
            GoAwayFrame(0).serialize(),
        ]


CONVERSATION = b"".join(Conversation().frames)


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(CONVERSATION) - 1), st.integers(1, 255)), max_size=4
    ),
    cut=st.integers(0, len(CONVERSATION)),
    more=st.binary(max_size=30),
)
def test_a_changed_conversation_is_passed_on_unchanged_or_refused(
    changes: list[tuple[int, int]], cut: int, more: bytes
) -> None:
    said = bytearray(CONVERSATION)
    for place, change in changes:
        said[place] ^= change
    said[cut:cut] = more
    one, heard = reader(), b""
    try:
        for piece in one.feed(bytes(said)):
            heard += piece
    except CallRefused:
        pass
    assert bytes(said).startswith(heard)


@given(order=st.permutations(range(len(Conversation().frames))))
def test_frames_in_another_order_are_passed_on_unchanged_or_refused(order: list[int]) -> None:
    frames = Conversation().frames
    said = frames[0] + b"".join(frames[i] for i in order if i)
    one, heard = reader(), b""
    try:
        for piece in one.feed(said):
            heard += piece
    except CallRefused:
        pass
    assert said.startswith(heard)


@given(st.binary(max_size=300))
def test_whatever_comes_is_passed_on_unchanged_or_refused(octets: bytes) -> None:
    one, heard = reader(), b""
    said = PREFACE + octets
    try:
        for piece in one.feed(said):
            heard += piece
    except CallRefused:
        pass
    assert said.startswith(heard)
