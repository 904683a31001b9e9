"""Records of data connections: as the RFCs have them, and nothing that no node sends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.errors import MessageRefused
from coterie.ratls.record_protection import (
    HEAD_BYTES,
    MOST_DATA_BYTES,
    MOST_RECORDS,
    Opening,
    Sealing,
    inner_bytes,
    record_bytes,
)
from tests.tensorflow.preloaded.sealing import DATA, HANDSHAKE, UPDATE, Sealer

ALERT = 21
SECRET = b"\1" * 32
# RFC 8448, 3: the client's application traffic secret, and its records of the bytes 0 to 49 and of
# close_notify.
RFC_SECRET = bytes.fromhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
RFC_RECORDS = (
    bytes.fromhex(
        "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20"
        "441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4"
    ),
    bytes.fromhex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3"),
)
ANOTHER = "a record that is not the next one of this connection"
OF_NO_NODE = "a record that no node sends"


def sealed(sealing: Sealing, data: bytes) -> bytes:
    """The one record of a short message."""
    (record,) = map(bytes, sealing.message((data,)))
    return record


def opened(opening: Opening, record: bytes) -> bytes:
    view = memoryview(record)
    assert record_bytes(view[:HEAD_BYTES]) == len(record)
    inner = memoryview(bytearray(inner_bytes(view)))
    return bytes(inner[: opening.open(view, inner)])


class TestAsTheRfcsHaveThem:
    def test_are_the_records_that_are_made(self) -> None:
        sealing = Sealing(RFC_SECRET)
        assert sealed(sealing, bytes(range(50))) == RFC_RECORDS[0]
        assert sealing.close_notify() == RFC_RECORDS[1]

    def test_are_the_records_that_are_opened(self) -> None:
        opening = Opening(RFC_SECRET)
        assert opened(opening, RFC_RECORDS[0]) == bytes(range(50))
        assert opened(opening, RFC_RECORDS[1]) == b""

    @given(st.lists(st.binary(min_size=1, max_size=MOST_DATA_BYTES), min_size=1, max_size=5))
    def test_are_opened_by_another_implementation_and_by_this_one(self, told: list[bytes]) -> None:
        sealing, opening, other = Sealing(SECRET), Opening(SECRET), Sealer(SECRET)
        for data in told:
            record = sealed(sealing, data)
            assert other.open(record) == (DATA, data)
            assert opened(opening, record) == data
        assert sealing.records == opening.records == len(told)


class TestAMessage:
    @pytest.mark.parametrize(
        ("parts", "records"),
        [
            pytest.param([], [], id="nothing"),
            pytest.param([b"", b""], [], id="empty parts"),
            pytest.param([b"a", b"", b"bc"], [3], id="short parts"),
            pytest.param([b"a" * 10_000, b"b" * 10_000], [16_384, 3_616], id="across parts"),
            pytest.param([b"a" * 16_384], [16_384], id="full"),
            pytest.param([b"a" * 16_384, b"b"], [16_384, 1], id="full and one"),
            pytest.param([b"a" * 16_385], [16_384, 1], id="one too many"),
            pytest.param([b"a" * 600_000], [16_384] * 36 + [10_176], id="several chunks"),
        ],
    )
    def test_is_full_records_and_a_rest(self, parts: list[bytes], records: list[int]) -> None:
        other, opened = Sealer(SECRET), []
        for chunk in map(bytes, Sealing(SECRET).message(parts)):
            assert 0 < len(chunk) <= 1 << 18
            left = chunk
            while left:
                length = record_bytes(memoryview(left))
                opened.append(other.open(left[:length]))
                left = left[length:]
        assert {kind for kind, _ in opened} <= {DATA}
        assert [len(data) for _, data in opened] == records
        assert b"".join(data for _, data in opened) == b"".join(parts)


class TestARecord:
    @pytest.mark.parametrize("records", [0, 1, 255, 256, (1 << 24) - 1])
    def test_has_a_number_in_its_nonce(self, records: int) -> None:
        sealing, other = Sealing(SECRET), Sealer(SECRET)
        sealing.records = other._number = records
        assert other.open(sealed(sealing, b"words")) == (DATA, b"words")


class TestRefused:
    @pytest.mark.parametrize(
        "head",
        [
            pytest.param(b"GET /", id="http"),
            pytest.param(b"\x16\3\3\0\x20", id="handshake"),
            pytest.param(b"\x15\3\3\0\x20", id="alert"),
            pytest.param(b"\x17\3\1\0\x20", id="version"),
            pytest.param(b"\x17\2\3\0\x20", id="major version"),
            pytest.param(b"\x17\3\3\0\x11", id="no data"),
            pytest.param(b"\x17\3\3\x40\x12", id="too long"),
            pytest.param(b"\x17\3\3\xff\xff", id="longest"),
        ],
    )
    def test_is_a_header_that_no_node_sends(self, head: bytes) -> None:
        with pytest.raises(MessageRefused) as refused:
            record_bytes(memoryview(head))
        assert refused.value.what == "a data connection is broken"
        assert refused.value.seen == "something else than a record of a node"

    @pytest.mark.parametrize(("head", "length"), [(b"\0\x12", 23), (b"\x40\x11", 16_406)])
    def test_is_no_header_at_the_limits(self, head: bytes, length: int) -> None:
        assert record_bytes(memoryview(b"\x17\3\3" + head)) == length

    @pytest.mark.parametrize("at", [5, 10, -1])
    def test_is_a_changed_record(self, at: int) -> None:
        record = bytearray(Sealer(SECRET).record(b"words"))
        record[at] ^= 1
        with pytest.raises(MessageRefused) as refused:
            opened(Opening(SECRET), bytes(record))
        assert refused.value.seen == ANOTHER

    def test_is_a_repeated_a_left_out_and_a_foreign_record(self) -> None:
        other = Sealer(SECRET)
        first, _, third = (other.record(b"words") for _ in range(3))
        for records in ((first, first), (third,), (Sealer(b"\2" * 32).record(b"words"),)):
            opening = Opening(SECRET)
            for record in records[:-1]:
                opened(opening, record)
            with pytest.raises(MessageRefused) as refused:
                opened(opening, records[-1])
            assert refused.value.seen == ANOTHER

    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            pytest.param(UPDATE, HANDSHAKE, id="key update"),
            pytest.param(b"\2\x28", ALERT, id="alert"),
            pytest.param(b"\1\0\0", ALERT, id="longer alert"),
            pytest.param(b"words" + bytes([DATA]), 0, id="padding"),
            pytest.param(b"\1\0", 20, id="another type"),
        ],
    )
    def test_is_a_record_that_no_node_sends(self, content: bytes, kind: int) -> None:
        with pytest.raises(MessageRefused) as refused:
            opened(Opening(SECRET), Sealer(SECRET).record(content, kind))
        assert refused.value.seen == OF_NO_NODE

    def test_is_a_record_beyond_what_its_key_may_protect(self) -> None:
        sealing, opening, other = Sealing(SECRET), Opening(SECRET), Sealer(SECRET)
        sealing.records = opening.records = other._number = MOST_RECORDS
        seen = "more than 16777216 records under one key"
        with pytest.raises(MessageRefused) as refused:
            sealed(sealing, b"x")
        assert refused.value.seen == seen
        with pytest.raises(MessageRefused) as refused:
            opened(opening, other.record(b"x"))
        assert refused.value.seen == seen
