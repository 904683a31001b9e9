"""Shards return exactly what was written, and refuse whatever is not that."""

import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import DataSection
from coterie.data.example_files import HEADER_BYTES, ExampleFileWriter, open_examples
from coterie.data.examples import (
    Examples,
    ExamplesBuilder,
    examples_from_records,
    join_examples,
    pack_records,
    record_bytes,
)
from coterie.errors import CoterieError, DataSetDamaged, DataSetMismatch, MessageRefused

SMALL = DataSection(numeric=("I1", "I2"), categorical=("C1", "C2", "C3"), rows=50)
WIDTH = 24
EXAMPLE = st.tuples(
    st.sampled_from([0.0, 1.0]),
    st.lists(st.floats(0, 50, width=32), min_size=2, max_size=2),
    st.tuples(st.integers(0, 49), st.integers(50, 99), st.integers(100, 149)),
)


def pack(examples: list[tuple[float, list[float], tuple[int, int, int]]]) -> bytes:
    labels = np.array([label for label, _, _ in examples], np.float32)
    dense = np.array([dense for _, dense, _ in examples], np.float32).reshape(-1, 2)
    ids = np.array([ids for _, _, ids in examples], np.int32).reshape(-1, 3)
    return pack_records(labels, dense, ids).tobytes()


def ten_records() -> bytes:
    return pack([(i % 2, [i, 0.5], (i, 50 + i, 149 - i)) for i in range(10)])


def write(path: Path, records: bytes, data: DataSection = SMALL) -> bytes:
    """Writes a shard file in two pieces; returns its SHA-256."""
    words = np.frombuffer(records, "<i4").reshape(-1, record_bytes(data) // 4)
    with path.open("xb") as file:
        writer = ExampleFileWriter(file, data, len(words))
        writer.append(words[: len(words) // 2])
        writer.append(words[len(words) // 2 :])
        digest = writer.finish()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    return bytes.fromhex(digest)


@given(st.lists(EXAMPLE, max_size=30))
def test_round_trip_through_a_file_and_through_memory(
    tmp_path_factory: pytest.TempPathFactory,
    examples: list[tuple[float, list[float], tuple[int, int, int]]],
) -> None:
    path = tmp_path_factory.mktemp("shards") / "train.shard"
    digest = write(path, pack(examples))
    for shard in (
        open_examples(path, SMALL, expected_digest=digest),
        examples_from_records(pack(examples), SMALL),
    ):
        assert shard.rows == len(examples)
        batch = shard.batch(0, shard.rows)
        parts = (batch.labels_b, batch.dense_bn, batch.ids_bm)
        assert [part.dtype.name for part in parts] == ["float32", "float32", "int32"]
        assert batch.dense_bn.shape == (len(examples), 2)
        seen = zip(
            batch.labels_b.tolist(), batch.dense_bn.tolist(), batch.ids_bm.tolist(), strict=True
        )
        assert list(seen) == [(label, dense, list(ids)) for label, dense, ids in examples]
        assert shard.records(0, shard.rows) == pack(examples)


def test_batches_are_read_only_views_cut_at_the_end() -> None:
    shard = examples_from_records(ten_records(), SMALL)
    batch = shard.batch(8, 16)
    assert batch.dense_bn[:, 0].tolist() == [8, 9]
    for part in (batch.labels_b, batch.dense_bn, batch.ids_bm):
        assert part.base is not None
        assert not part.flags.writeable


@given(st.integers(1, 7), st.integers(1, 5))
def test_strided_pieces_partition_the_examples(workers: int, piece: int) -> None:
    shard = examples_from_records(ten_records(), SMALL)
    seen: list[float] = []
    for worker in range(workers):
        share = range(worker, shard.rows, workers)
        builder = ExamplesBuilder(SMALL, len(share))
        for first in range(0, len(share), piece):
            stop = min(shard.rows, share[first] + piece * workers)
            builder.add(shard.records(share[first], stop, workers))
        local = builder.finish()
        numbers = local.batch(0, local.rows).dense_bn[:, 0].tolist()
        assert numbers == list(share)
        seen += numbers
    assert sorted(seen) == list(range(10))


def test_joined_shards_follow_each_other() -> None:
    first, second = (examples_from_records(ten_records()[: n * WIDTH], SMALL) for n in (3, 2))
    joined = join_examples([first, second])
    assert joined.records(0, joined.rows) == ten_records()[: 3 * WIDTH] + ten_records()[: 2 * WIDTH]
    assert not joined.batch(0, 5).ids_bm.flags.writeable


def test_records_match_the_documented_layout(tmp_path: Path) -> None:
    path = tmp_path / "train.shard"
    write(path, ten_records())
    content = path.read_bytes()
    assert content[:8] == b"COTSHARD"
    assert struct.unpack("<IIIIQ", content[8:32]) == (1, 2, 3, WIDTH, 10)
    assert len(content) == HEADER_BYTES + 10 * WIDTH
    assert struct.unpack("<fffiii", content[HEADER_BYTES + WIDTH : HEADER_BYTES + 2 * WIDTH]) == (
        1.0,
        1.0,
        0.5,
        1,
        51,
        148,
    )


def edit(offset: int, new: bytes) -> Callable[[bytes], bytes]:
    return lambda old: old[:offset] + new + old[offset + len(new) :]


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        (lambda old: old[:-1], DataSetDamaged, "size"),
        (lambda old: old[:-WIDTH], DataSetDamaged, "size"),
        (lambda old: old + bytes(WIDTH), DataSetDamaged, "size"),
        (lambda old: old[:100], DataSetDamaged, "size"),
        (lambda _: b"", DataSetDamaged, "size"),
        (edit(0, b"X"), DataSetDamaged, "magic"),
        (edit(8, b"\x02"), DataSetDamaged, "format version"),
        (edit(12, b"\x03"), DataSetDamaged, "header"),
        (edit(20, b"\x00"), DataSetDamaged, "header"),
        (edit(100, b"\x01"), DataSetDamaged, "header"),
        (edit(24, b"\xff" * 8), DataSetDamaged, "size"),
        (edit(32, b"\xff"), DataSetMismatch, "another contract"),
        (edit(HEADER_BYTES + 4, b"\x01"), DataSetDamaged, "SHA-256"),
        (edit(HEADER_BYTES, b"\x01"), DataSetDamaged, "SHA-256"),
    ],
)
@pytest.mark.parametrize("digest_too", [False, True])
def test_altered_files_are_refused(
    change: Callable[[bytes], bytes],
    error: type[CoterieError],
    named: str,
    digest_too: bool,
    tmp_path: Path,
) -> None:
    path = tmp_path / "train.shard"
    digest = write(path, ten_records())
    path.write_bytes(change(path.read_bytes()))
    if digest_too and named != "SHA-256":
        digest = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(error) as refusal:
        open_examples(path, SMALL, expected_digest=digest)
    assert named in refusal.value.what
    assert refusal.value.expected
    assert refusal.value.seen
    assert "coterie prepare" in refusal.value.remedy


def test_another_data_section_names_both_digests(tmp_path: Path) -> None:
    path = tmp_path / "train.shard"
    digest = write(path, ten_records())
    other = SMALL.model_copy(update={"hash_seed": 1})
    with pytest.raises(DataSetMismatch) as refusal:
        open_examples(path, other, expected_digest=digest)
    assert refusal.value.expected != refusal.value.seen
    assert refusal.value.seen.startswith("data digest ")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataSetDamaged, match="its file is wrong"):
        open_examples(tmp_path / "absent", SMALL, expected_digest=bytes(32))


BAD_RECORDS = [
    (struct.pack("<fffiii", 0.5, 0, 0, 1, 51, 101), "a label that is neither 0 nor 1"),
    (struct.pack("<fffiii", float("nan"), 0, 0, 1, 51, 101), "a label that is neither"),
    (struct.pack("<fffiii", 1, -1, 0, 1, 51, 101), "a dense value that is negative"),
    (struct.pack("<fffiii", 1, 0, float("inf"), 1, 51, 101), "a dense value"),
    (struct.pack("<fffiii", 1, 0, float("nan"), 1, 51, 101), "a dense value"),
    (struct.pack("<fffiii", 1, 0, 0, 50, 51, 101), "a row outside of its column's table"),
    (struct.pack("<fffiii", 1, 0, 0, -1, 51, 101), "a row outside of its column's table"),
    (struct.pack("<fffiii", 1, 0, 0, 1, 51, 150), "a row outside of its column's table"),
]


@pytest.mark.parametrize(("record", "problem"), BAD_RECORDS)
def test_values_out_of_bounds_are_refused(record: bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(MessageRefused) as refusal:
        examples_from_records(ten_records() + record + record, SMALL)
    assert refusal.value.seen.startswith(problem)
    assert refusal.value.seen.endswith("in record 10")
    digest = write(tmp_path / "bad.shard", ten_records() + record)
    with pytest.raises(DataSetDamaged, match="content") as damage:
        open_examples(tmp_path / "bad.shard", SMALL, expected_digest=digest)
    assert "in record 10" in damage.value.seen


def builder() -> ExamplesBuilder:
    return ExamplesBuilder(SMALL, 10)


@pytest.mark.parametrize(
    "act",
    [
        lambda: builder().add(ten_records()[:-1]),
        lambda: builder().add(ten_records() + ten_records()[:WIDTH]),
        lambda: builder().finish(),
        lambda: examples_from_records(b"torn", SMALL),
    ],
)
def test_torn_surplus_and_missing_records_are_refused(act: Callable[[], Examples | None]) -> None:
    with pytest.raises(MessageRefused):
        act()


# --- a file that changes while it is in use ----------------------------------------------------

MANY = 5 * (1 << 14) - 100  # pieces that are read and checked one by one, the last one shorter


@pytest.fixture(scope="module")
def many() -> bytes:
    numbers = np.arange(MANY)
    return pack_records(
        (numbers % 2).astype(np.float32),
        np.stack([numbers, numbers / 2], axis=1).astype(np.float32),
        np.stack([numbers % 50, 50 + numbers % 50, 100 + numbers % 50], axis=1).astype(np.int32),
    ).tobytes()


def test_any_span_of_a_file_is_what_memory_holds(many: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train.shard"
    shard = open_examples(path, SMALL, expected_digest=write(path, many))
    words = np.frombuffer(many, "<i4").reshape(MANY, -1)
    random = np.random.default_rng(1)
    spans = [(0, 1), (16383, 16385), (0, MANY), (MANY - 3, MANY + 9), (MANY, MANY + 1), (7, 7)]
    spans += [tuple(sorted(random.integers(0, MANY, 2).tolist())) for _ in range(40)]
    for start, stop in spans:
        batch = shard.batch(start, stop)
        assert np.array_equal(batch.ids_bm, words[start:stop, 3:])
        assert not batch.labels_b.flags.writeable
    assert shard.records(3, MANY, 7) == words[3::7].tobytes()


def test_a_file_that_is_cut_short_in_use_is_named_and_does_not_end_the_process(
    many: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "train.shard"
    shard = open_examples(path, SMALL, expected_digest=write(path, many))
    os.truncate(path, 128 + 20_000 * WIDTH)
    assert shard.batch(0, 128).labels_b.size == 128, "what is there still is as it was"
    with pytest.raises(DataSetDamaged) as error:
        shard.batch(40_000, 40_128)
    assert error.value.what == f"{path} is damaged: its size is wrong"
    assert error.value.seen == f"{128 + 20_000 * WIDTH} bytes"


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, b"\0\0\x80?"), (12, (1 << 30).to_bytes(4, "little"))],
    ids=["label", "id"],
)
def test_a_file_that_is_overwritten_in_use_is_never_trained_on(
    many: bytes, tmp_path: Path, place: int, value: bytes
) -> None:
    path = tmp_path / "train.shard"
    shard = open_examples(path, SMALL, expected_digest=write(path, many))
    with path.open("r+b") as file:
        file.seek(128 + 50_000 * WIDTH + place)
        file.write(value)
    with pytest.raises(DataSetDamaged) as error:
        shard.batch(49_900, 50_100)
    assert error.value.what == f"{path} is damaged: its content is wrong"
    assert "altered while it was in use" in error.value.seen


def test_a_file_that_is_replaced_or_removed_in_use_does_not_matter(
    many: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "train.shard"
    shard = open_examples(path, SMALL, expected_digest=write(path, many))
    path.unlink()
    assert shard.records(0, MANY) == many
