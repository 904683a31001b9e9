"""Rows in the Criteo format become numbers and spans; others are named by line and reason."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coterie.contract import DataSection
from coterie.data.prepare.compression import RawFile
from coterie.data.prepare.lines import MAX_LINE_BYTES, LineBlock
from coterie.data.prepare.numeric import MISSING
from coterie.data.prepare.reader import CriteoReader, parse_block
from coterie.errors import RawDataInvalid

GOOD = b"1\t5\t-3\ta\tbb\tccc"
SMALL = DataSection(numeric=("I1", "I2"), categorical=("C1", "C2", "C3"))
ID = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r"), max_size=12)
INTEGER = st.none() | st.integers(-(2**63) + 1, 2**63 - 1)


def read(
    path: Path, data: DataSection, *, max_bad_rows: int = 0, block_bytes: int = 8 << 20
) -> tuple[list[list[object]], CriteoReader]:
    """All rows of a file as Python values, and the reader."""
    reader = CriteoReader(RawFile(path), data, max_bad_rows=max_bad_rows, block_bytes=block_bytes)
    rows: list[list[object]] = []
    for block in reader.rows():
        text = block.text.tobytes()
        for i, label in enumerate(block.labels_b.tolist()):
            numbers = [None if n == MISSING else int(n) for n in block.numeric_bn[i]]
            spans = zip(block.starts_bm[i].tolist(), block.lengths_bm[i].tolist(), strict=True)
            rows.append([label, *numbers, *(text[s : s + n].decode() for s, n in spans)])
    return rows, reader


def write(folder: Path, *lines: bytes) -> Path:
    path = folder / "raw.tsv"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1]), INTEGER, INTEGER, ID, ID, ID), min_size=1),
    st.integers(8, 200),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int | None, int | None, str, str, str]],
    block_bytes: int,
    line_end: bytes,
) -> None:
    path = tmp_path_factory.mktemp("raw") / "raw.tsv"
    lines = ["\t".join("" if cell is None else str(cell) for cell in row) for row in rows]
    path.write_bytes(b"".join(line.encode() + line_end for line in lines))
    seen, reader = read(path, SMALL, block_bytes=block_bytes)
    assert seen == [list(row) for row in rows]
    assert reader.bad.count == 0


def test_the_last_line_may_lack_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "raw.tsv"
    path.write_bytes(GOOD + b"\n" + GOOD)
    assert read(path, SMALL)[0] == [[1, 5, -3, "a", "bb", "ccc"]] * 2


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_all_cells_may_be_missing(end: bytes, tmp_path: Path) -> None:
    path = tmp_path / "raw.tsv"
    path.write_bytes(b"0\t\t\t\t\t" + end)
    assert read(path, SMALL)[0] == [[0, None, None, "", "", ""]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1\t5\t-3\ta\tbb", "5 cells instead of 6"),
        (GOOD + b"\td", "7 cells instead of 6"),
        (b"", "1 cells instead of 6"),
        (b"2\t5\t-3\ta\tbb\tccc", "label '2' is not 0 or 1"),
        (b"\t5\t-3\ta\tbb\tccc", "label '' is not 0 or 1"),
        (b"01\t5\t-3\ta\tbb\tccc", "label '01' is not 0 or 1"),
        (b"label\tI1\tI2\tC1\tC2\tC3", "label 'label' is not 0 or 1"),
        (b"1\t5.0\t-3\ta\tbb\tccc", "I1 = '5.0' is not a 64-bit integer"),
        (b"1\t5\t-\ta\tbb\tccc", "I2 = '-' is not a 64-bit integer"),
        (b"1\t5\t+3\ta\tbb\tccc", "I2 = '+3' is not a 64-bit integer"),
        (b"1\t 5\t3\ta\tbb\tccc", "I1 = ' 5' is not a 64-bit integer"),
        (b"1\t5\t3-\ta\tbb\tccc", "I2 = '3-' is not a 64-bit integer"),
        (b"1\t9223372036854775808\t3\ta\tb\tc", "I1 = '9223372036854775808' is not"),
        (b"1\t5\t-9223372036854775808\ta\tb\tc", "I2 = '-9223372036854775808' is not"),
        (b"1\t99999999999999999999\t3\ta\tb\tc", "I1 = '99999999999999999999' is not"),
        (b"1\t5\t\xd9\xa3\ta\tbb\tccc", "I2 = '٣' is not a 64-bit integer"),
        (b"1\t5\t-3\ta\tb\xff\tccc", "not valid UTF-8"),
        (b"1\t5\t-3\ta\tbb\t" + b"c" * MAX_LINE_BYTES, "more than 1048576 bytes"),
    ],
)
@pytest.mark.parametrize("block_bytes", [16, 8 << 20])
def test_bad_rows_are_named(line: bytes, reason: str, block_bytes: int, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD, GOOD, line, GOOD)
    with pytest.raises(RawDataInvalid, match="do not fit the contract") as refusal:
        read(path, SMALL, block_bytes=block_bytes)
    assert refusal.value.seen.startswith(f"line 3: {reason}")
    rows, reader = read(path, SMALL, max_bad_rows=1, block_bytes=block_bytes)
    assert len(rows) == 3
    assert reader.bad.count == 1
    assert reader.bad.lines[0].startswith(f"line 3: {reason}")


@pytest.mark.parametrize("block_bytes", [1, 64, 8 << 20])
def test_all_bad_rows_are_counted_in_order(block_bytes: int, tmp_path: Path) -> None:
    lines = [GOOD if i % 3 else b"bad" for i in range(600)]
    rows, reader = read(write(tmp_path, *lines), SMALL, max_bad_rows=200, block_bytes=block_bytes)
    assert len(rows) == 400
    assert reader.bad.count == 200
    assert reader.bad.lines == [f"line {3 * i + 1}: 1 cells instead of 6" for i in range(100)]
    with pytest.raises(RawDataInvalid) as refusal:
        read(write(tmp_path, *lines), SMALL, max_bad_rows=199, block_bytes=block_bytes)
    assert "line 1: " in refusal.value.seen
    assert "--max-bad-rows" in refusal.value.remedy


@pytest.mark.parametrize("block_bytes", [16, 8 << 20])
def test_the_row_limit_counts_good_rows_and_ends_the_checks(
    block_bytes: int, tmp_path: Path
) -> None:
    data = SMALL.model_copy(update={"row_limit": 15})
    path = write(tmp_path, *[GOOD] * 10, b"bad", *[GOOD] * 6, b"also bad")
    rows, reader = read(path, data, max_bad_rows=1, block_bytes=block_bytes)
    assert len(rows) == 15
    assert reader.bad.lines == ["line 11: 1 cells instead of 6"]


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "raw.tsv"
    path.touch()
    with pytest.raises(RawDataInvalid, match="is empty"):
        read(path, SMALL)


def test_a_tar_archive_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "dac.tar"
    path.write_bytes(b"readme.txt".ljust(257, b"\0") + b"ustar  \0" + bytes(1000))
    with pytest.raises(RawDataInvalid, match="tar archive"):
        read(path, SMALL)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(junk: bytes) -> None:
    block = LineBlock(1, GOOD + b"\n" + junk + b"\n")
    rows, bad = parse_block(block, SMALL)
    assert len(rows.labels_b) + len(bad) == block.text.count(b"\n")
    assert np.isin(rows.labels_b, (0, 1)).all()


def test_the_real_sample_parses_whole(real_sample: Path) -> None:
    reader = CriteoReader(RawFile(real_sample), DataSection())
    blocks = list(reader.rows())
    numbers = np.concatenate([block.numeric_bn for block in blocks])
    assert numbers.shape == (137_139, 13)
    assert numbers[numbers != MISSING].min() < 0
    assert reader.bad.count == 0
