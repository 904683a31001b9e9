"""Plain and compressed files read the same; truncated and damaged ones are refused."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.data.prepare.compression import RawFile
from coterie.errors import RawDataInvalid

Compressors = dict[str, Callable[[bytes], bytes]]
FORMATS = ["plain", "gzip", "xz", "zstd"]
TEXT = b"".join(
    hashlib.sha256(bytes([i % 251])).hexdigest().encode() + b"\n" for i in range(20_000)
)


def read(path: Path) -> bytes:
    return b"".join(RawFile(path).pieces())


@pytest.mark.parametrize("name", FORMATS)
def test_content_and_digest(name: str, compressors: Compressors, tmp_path: Path) -> None:
    path = tmp_path / "misleading.suffix"
    path.write_bytes(compressors[name](TEXT))
    raw = RawFile(path)
    assert b"".join(raw.pieces()) == TEXT
    assert raw.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert raw.consumed == raw.size == path.stat().st_size


@pytest.mark.parametrize("name", FORMATS[1:])
def test_members_in_a_row_are_one_stream(
    name: str, compressors: Compressors, tmp_path: Path
) -> None:
    path = tmp_path / "raw"
    path.write_bytes(compressors[name](TEXT) + compressors[name](b"") + compressors[name](b"end"))
    assert read(path) == TEXT + b"end"


def test_gzip_may_end_with_zeros(tmp_path: Path) -> None:
    path = tmp_path / "raw"
    path.write_bytes(gzip.compress(b"text") + bytes(5_000))
    assert read(path) == b"text"


@pytest.mark.parametrize("name", FORMATS[1:])
@pytest.mark.parametrize("kept", [0.5, 0.9, -1])
def test_truncated(name: str, kept: float, compressors: Compressors, tmp_path: Path) -> None:
    path = tmp_path / "raw"
    whole = compressors[name](TEXT)
    path.write_bytes(whole[: int(len(whole) * kept) if kept > 0 else -1])
    with pytest.raises(RawDataInvalid, match="truncated or damaged") as refusal:
        read(path)
    assert "the file ends before its compressed data do" in refusal.value.seen


@pytest.mark.parametrize("name", FORMATS[1:])
def test_damaged_in_the_middle(name: str, compressors: Compressors, tmp_path: Path) -> None:
    path = tmp_path / "raw"
    whole = bytearray(compressors[name](TEXT))
    middle = len(whole) // 2
    whole[middle : middle + 64] = bytes(255 - octet for octet in whole[middle : middle + 64])
    path.write_bytes(bytes(whole))
    if name == "zstd":
        # Zstandard's frames carry no checksum unless asked to; damage shows in the block format.
        path.write_bytes(bytes(whole[:20]) + b"\xff" * 200 + bytes(whole[220:]))
    with pytest.raises(RawDataInvalid, match="truncated or damaged"):
        read(path)


@pytest.mark.parametrize("name", FORMATS[1:])
def test_garbage_behind_the_last_member(
    name: str, compressors: Compressors, tmp_path: Path
) -> None:
    path = tmp_path / "raw"
    path.write_bytes(compressors[name](TEXT) + b"garbage that is no member at all")
    with pytest.raises(RawDataInvalid, match="truncated or damaged"):
        read(path)


def test_unreadable_paths(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(RawDataInvalid, match="cannot be read"):
            read(path)
