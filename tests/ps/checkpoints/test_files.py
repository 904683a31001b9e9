"""Small files: there whole, or not at all, and for good once it is said."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from coterie.files import write_whole
from coterie.ps.checkpoints.codec import FileCodec, PlainFileCodec
from coterie.ps.checkpoints.files import SmallFiles
from coterie.sealed.sealed_checkpoints import SealedFileCodec
from faults.disk import PowerCut

CASINGS: list[FileCodec] = [PlainFileCodec(), SealedFileCodec(bytes(32), bytes(32), (0, 1))]


@pytest.mark.parametrize("before", [None, b"what was there before, and is longer"])
def test_what_was_written_is_there_when_the_machine_stops(
    tmp_path: Path, before: bytes | None
) -> None:
    path = tmp_path / "manifest"
    if before is not None:
        write_whole(path, before)
    disk = PowerCut(tmp_path)
    with disk.watching():
        write_whole(path, b"written")
    assert disk.left() == {"manifest": b"written"}


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_file_is_never_half_there(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "manifest"
    if before is not None:
        write_whole(path, before)
    meanwhile: list[bytes | None] = []
    disk = PowerCut(tmp_path)
    with disk.watching():
        disk.on_sync = lambda synced: (
            None
            if synced == tmp_path
            else meanwhile.append(path.read_bytes() if path.exists() else None)
        )
        write_whole(path, b"written")
    assert meanwhile == [before], "the old one, or none, until the new one is synced"
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest"]
    assert stat.S_ISREG(path.stat().st_mode)


@pytest.mark.parametrize("casing", CASINGS, ids=["open", "sealed"])
def test_a_file_is_read_to_a_bound(tmp_path: Path, casing: FileCodec) -> None:
    files = SmallFiles(casing)
    disk = PowerCut(tmp_path)
    with disk.watching():
        files.write(tmp_path / "note", bytes(range(100)))
    assert disk.left() == {"note": (tmp_path / "note").read_bytes()}
    assert files.read(tmp_path / "note", 1000) == bytes(range(100))
    assert files.read(tmp_path / "note", 10) == bytes(range(10))
