"""Keys of lasting connections: updated as RFC 8446 has it, by either side, and not for nothing."""

from __future__ import annotations

import pytest

from coterie.errors import MessageRefused
from coterie.ratls.key_updates import LastingOpening, LastingSealing
from coterie.ratls.record_protection import HEAD_BYTES, MOST_RECORDS, inner_bytes, record_bytes
from tests.tensorflow.preloaded.sealing import ASKING_UPDATE, DATA, HANDSHAKE, UPDATE, Sealer

SECRET = b"\1" * 32


def opened(opening: LastingOpening, record: bytes) -> bytes | None:
    view = memoryview(record)
    assert record_bytes(view[:HEAD_BYTES]) == len(record)
    inner = memoryview(bytearray(inner_bytes(view)))
    length = opening.open_or_update(view, inner)
    return None if length is None else bytes(inner[:length])


def sealed(sealing: LastingSealing, data: bytes) -> bytes:
    (record,) = map(bytes, sealing.message((data,)))
    return record


@pytest.mark.parametrize("asking", [False, True])
def test_what_follows_an_update_is_sealed_with_the_next_keys(asking: bool) -> None:
    sealing, other = LastingSealing(SECRET), Sealer(SECRET)
    for data in (b"before", b"after", b"later"):
        assert other.open(sealed(sealing, data)) == (DATA, data)
        assert other.open(sealing.update(asking=asking)) == (
            HANDSHAKE,
            ASKING_UPDATE if asking else UPDATE,
        )
        other._use(sealing._secret)


@pytest.mark.parametrize("asking", [False, True])
def test_an_update_is_followed(asking: bool) -> None:
    opening, other = LastingOpening(SECRET), Sealer(SECRET)
    for data in (b"before", b"after", b"later"):
        assert opened(opening, other.record(data)) == data
        assert opened(opening, other.update(asking=asking)) is None
    assert opening.asked is asking
    assert opened(opening, other.record(b"\1\0", 21)) == b""


def test_an_update_is_due_after_half_of_what_the_keys_protect() -> None:
    sealing = LastingSealing(SECRET)
    sealing.records = MOST_RECORDS // 2
    due = [sealing.is_due]
    sealed(sealing, b"x")
    due.append(sealing.is_due)
    sealing.update()
    due.append(sealing.is_due)
    assert due == [False, True, False]


def test_updates_without_data_are_refused_after_some() -> None:
    opening, other = LastingOpening(SECRET), Sealer(SECRET)
    for _ in range(16):
        assert opened(opening, other.update()) is None
    for _ in range(4096):
        assert opened(opening, other.record(b"x")) == b"x"
    assert opened(opening, other.update()) is None
    with pytest.raises(MessageRefused) as refused:
        opened(opening, other.update())
    assert refused.value.seen == "more updates of keys than data"


@pytest.mark.parametrize(
    ("content", "kind", "seen"),
    [
        pytest.param(bytes([24, 0, 0, 1, 2]), HANDSHAKE, "a message of a handshake", id="value"),
        pytest.param(UPDATE + UPDATE, HANDSHAKE, "a message of a handshake", id="two"),
        pytest.param(UPDATE[:-1], HANDSHAKE, "a message of a handshake", id="cut off"),
        pytest.param(b"\4" + bytes(30), HANDSHAKE, "a message of a handshake", id="ticket"),
        pytest.param(b"\2\x28", 21, "a record that no node sends", id="alert"),
        pytest.param(b"words", 0, "a record that no node sends", id="padding"),
    ],
)
def test_other_records_are_refused(content: bytes, kind: int, seen: str) -> None:
    with pytest.raises(MessageRefused) as refused:
        opened(LastingOpening(SECRET), Sealer(SECRET).record(content, kind))
    assert refused.value.seen == seen
