"""SDT's shards: dealt out record by record, taken whole and unaltered or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import DataSection, data_digest
from coterie.data.examples import Examples, examples_from_records, pack_records, record_bytes
from coterie.errors import DataSetMismatch, MessageRefused, PeerUnreachable
from coterie.ps.caller import Caller
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import PART_BYTES
from coterie.training import data_transfer
from coterie.training.data_transfer import DataInbox, part_messages

DATA = DataSection(numeric=("I1", "I2"), categorical=("C1", "C2", "C3"), rows=50)
OTHER = DataSection(numeric=("I1", "I2"), categorical=("C1", "C2", "C3"), rows=51)
WIDTH = record_bytes(DATA)
CHIEF = Caller("chief", "chief", 1)
Parts = list[pb.DeliverRequest]


def shard_of(rows: int, data: DataSection = DATA) -> Examples:
    random = np.random.default_rng(rows)
    labels = random.integers(0, 2, rows).astype(np.float32)
    dense = random.random((rows, 2)).astype(np.float32)
    ids = random.integers(0, 50, (rows, 3)) + np.array(data.column_offsets)
    return examples_from_records(pack_records(labels, dense, ids.astype(np.int32)).tobytes(), data)


def parts_of(rows: int = 10, worker: int = 0, workers: int = 2) -> Parts:
    return list(part_messages(shard_of(rows), worker, workers))


@given(rows=st.integers(1, 60), workers=st.integers(1, 5))
def test_every_example_goes_to_one_worker_in_turn(rows: int, workers: int) -> None:
    shard = shard_of(rows)
    for worker in range(min(workers, rows)):
        inbox = DataInbox(DATA, max_bytes=1 << 20)
        reply = inbox.deliver(CHIEF, part_messages(shard, worker, workers))
        taken, digest = inbox.wait(0)
        assert taken.words.tolist() == shard.words[worker::workers].tolist()
        assert reply.examples == taken.rows
        assert reply.sha256 == digest == hashlib.sha256(taken.words.tobytes()).digest()


@given(rows=st.integers(1, 60), workers=st.integers(1, 4), batch=st.integers(1, 8))
def test_the_workers_batches_of_a_step_are_consecutive_examples(
    rows: int, workers: int, batch: int
) -> None:
    places = [list(range(rows))[worker::workers] for worker in range(workers)]
    for step in range(-(-rows // (batch * workers))):
        union = sorted(i for own in places for i in own[step * batch : (step + 1) * batch])
        first = step * batch * workers
        assert union == list(range(first, min(first + batch * workers, rows)))


@pytest.mark.parametrize(("rows", "workers"), [(1, 1), (7, 1), (8, 2), (50, 3), (51, 3)])
def test_large_shards_are_cut_into_pieces_that_lose_nothing(
    monkeypatch: pytest.MonkeyPatch, rows: int, workers: int
) -> None:
    monkeypatch.setattr(data_transfer, "PART_BYTES", 4 * WIDTH)
    shard = shard_of(rows)
    for worker in range(workers):
        parts = list(part_messages(shard, worker, workers))
        pieces = [part.records for part in parts[1:]]
        assert max(map(len, pieces)) <= 4 * WIDTH
        assert b"".join(pieces) == shard.words[worker::workers].tobytes()
        inbox = DataInbox(DATA, max_bytes=1 << 20)
        inbox.deliver(CHIEF, parts)
        assert inbox.wait(0)[0].words.tolist() == shard.words[worker::workers].tolist()


def test_the_header_announces_what_follows() -> None:
    header, records = parts_of(rows=10)
    assert header.header == pb.ShardHeader(
        examples=5,
        record_bytes=WIDTH,
        data_digest=data_digest(DATA),
        sha256=hashlib.sha256(records.records).digest(),
    )


def headed(**fields: int | bytes) -> Callable[[Parts], Parts]:
    def change(parts: Parts) -> Parts:
        for name, value in fields.items():
            setattr(parts[0].header, name, value)
        return parts

    return change


def recorded(change: Callable[[bytes], bytes]) -> Callable[[Parts], Parts]:
    return lambda parts: [parts[0], pb.DeliverRequest(records=change(parts[1].records))]


def rehashed(change: Callable[[bytes], bytes]) -> Callable[[Parts], Parts]:
    """Altered by somebody who can compute a SHA-256."""

    def both(parts: Parts) -> Parts:
        records = change(parts[1].records)
        return headed(sha256=hashlib.sha256(records).digest())(
            [parts[0], pb.DeliverRequest(records=records)]
        )

    return both


def with_word(place: int, value: float) -> Callable[[bytes], bytes]:
    def change(records: bytes) -> bytes:
        words = np.frombuffer(records, "<i4").reshape(-1, WIDTH // 4).copy()
        kind = "<f4" if place < 3 else "<i4"
        words[2, place] = np.array([value], kind).view("<i4")[0]
        return words.tobytes()

    return change


HEADER = "a header first"
# (what happens to the message, expected, seen)
REFUSED: list[tuple[str, Callable[[Parts], Parts], str, str]] = [
    ("nothing at all", lambda _: [], HEADER, "another message"),
    ("no header", lambda parts: parts[1:], HEADER, "another message"),
    ("an empty message", lambda _: [pb.DeliverRequest()], HEADER, "another message"),
    (
        "a second header",
        lambda parts: [parts[0], parts[0], parts[1]],
        "parts of at most 1048576 bytes",
        "another message",
    ),
    (
        "a part over the limit",
        recorded(lambda _: bytes(PART_BYTES + 1)),
        "parts of at most 1048576 bytes",
        "another message",
    ),
    ("no records", lambda parts: parts[:1], "5 records", "0"),
    ("a record too few", recorded(lambda r: r[:-WIDTH]), "5 records", "4"),
    (
        "a record too many",
        recorded(lambda r: r + r[:WIDTH]),
        f"whole records of {WIDTH} bytes, at most 5 of them",
        f"{6 * WIDTH} bytes",
    ),
    (
        "all of it twice",
        lambda parts: [*parts, parts[1]],
        f"whole records of {WIDTH} bytes, at most 0 of them",
        f"{5 * WIDTH} bytes",
    ),
    (
        "a torn record",
        recorded(lambda r: r[:-1]),
        f"whole records of {WIDTH} bytes, at most 5 of them",
        f"{5 * WIDTH - 1} bytes",
    ),
    ("no examples", headed(examples=0), "1 to 1365 examples", "0"),
    ("too many examples", headed(examples=1366), "1 to 1365 examples", "1366"),
    ("2**63 examples", headed(examples=2**63), "1 to 1365 examples", str(2**63)),
    (
        "wider records",
        headed(record_bytes=WIDTH + 4),
        f"records of {WIDTH} bytes",
        f"{WIDTH + 4} bytes",
    ),
    (
        "an impossible label",
        rehashed(with_word(0, 0.5)),
        "values within bounds",
        "a label that is neither 0 nor 1 in record 2",
    ),
    (
        "a dense value that is not finite",
        rehashed(with_word(1, float("nan"))),
        "values within bounds",
        "a dense value that is negative or not finite in record 2",
    ),
    (
        "a negative dense value",
        rehashed(with_word(2, -1.0)),
        "values within bounds",
        "a dense value that is negative or not finite in record 2",
    ),
    (
        "another column's row",
        rehashed(with_word(3, 50)),
        "values within bounds",
        "a row outside of its column's table in record 2",
    ),
]


@pytest.mark.parametrize(
    ("change", "expected", "seen"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_wrong_delivery_is_refused_and_a_right_one_taken_after_it(
    change: Callable[[Parts], Parts], expected: str, seen: str
) -> None:
    inbox = DataInbox(DATA, max_bytes=1 << 15)
    with pytest.raises(MessageRefused) as refused:
        inbox.deliver(CHIEF, change(parts_of()))
    assert (refused.value.expected, refused.value.seen) == (expected, seen)
    with pytest.raises(PeerUnreachable):
        inbox.wait(0)
    assert inbox.deliver(CHIEF, parts_of()).examples == 5


@given(st.integers(0, 5 * WIDTH * 8 - 1))
def test_one_flipped_bit_anywhere_is_refused(bit: int) -> None:
    def flip(records: bytes) -> bytes:
        changed = bytearray(records)
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    inbox = DataInbox(DATA, max_bytes=1 << 20)
    with pytest.raises(MessageRefused):
        inbox.deliver(CHIEF, recorded(flip)(parts_of()))
    with pytest.raises(PeerUnreachable):
        inbox.wait(0)


def test_an_altered_digest_is_refused_with_both() -> None:
    parts = parts_of()
    right = parts[0].header.sha256.hex()
    with pytest.raises(MessageRefused) as refused:
        DataInbox(DATA, max_bytes=1 << 20).deliver(CHIEF, headed(sha256=bytes(32))(parts))
    assert refused.value.expected == f"SHA-256 {'00' * 32}"
    assert refused.value.seen == right


@pytest.mark.parametrize("digest", [data_digest(OTHER), b"", bytes(100)])
def test_a_shard_of_another_data_section_is_refused(digest: bytes) -> None:
    with pytest.raises(DataSetMismatch) as refused:
        DataInbox(DATA, max_bytes=1 << 20).deliver(CHIEF, headed(data_digest=digest)(parts_of()))
    assert refused.value.expected == f"data digest {data_digest(DATA).hex()}"
    assert refused.value.seen == f"data digest {digest.hex()[:64]}"
    assert refused.value.remedy


def test_the_same_shard_may_come_again() -> None:
    inbox = DataInbox(DATA, max_bytes=1 << 20)
    first = inbox.deliver(CHIEF, parts_of())
    assert inbox.deliver(CHIEF, parts_of()) == first
    assert inbox.wait(0)[0].rows == 5


def test_another_shard_is_refused_and_the_first_one_stays() -> None:
    inbox = DataInbox(DATA, max_bytes=1 << 20)
    inbox.deliver(CHIEF, parts_of(worker=0))
    with pytest.raises(MessageRefused) as refused:
        inbox.deliver(CHIEF, parts_of(worker=1))
    assert (refused.value.expected, refused.value.seen) == (
        "the part that came first",
        "another one",
    )
    assert inbox.wait(0)[0].words.tolist() == shard_of(10).words[0::2].tolist()


def test_waiting_ends_when_the_shard_comes() -> None:
    inbox = DataInbox(DATA, max_bytes=1 << 20)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(inbox.wait, 60)
        inbox.deliver(CHIEF, parts_of())
        shard, digest = waiting.result()
    assert shard.rows == 5
    assert digest == parts_of()[0].header.sha256


def test_a_chief_that_delivers_nothing_is_named() -> None:
    with pytest.raises(PeerUnreachable) as refused:
        DataInbox(DATA, max_bytes=1 << 20).wait(0.01)
    assert refused.value.what == "the chief delivered no training data"
    assert refused.value.expected == "the worker's part within the contract's limits.join_seconds"


def test_what_was_taken_cannot_be_changed() -> None:
    inbox = DataInbox(DATA, max_bytes=1 << 20)
    inbox.deliver(CHIEF, parts_of())
    with pytest.raises(ValueError, match="read-only"):
        inbox.wait(0)[0].words[0, 0] = 1
