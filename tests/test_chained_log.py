"""Logs grow by whole lines, which are on the disk when somebody hears of them, and are chained."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from coterie.chained_log import AppendOnlyFile, HashChain, bounded_lines, line_digest
from coterie.errors import OutputInUse
from faults.disk import PowerCut, no_room


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[AppendOnlyFile]:
    file = AppendOnlyFile(path, mode=0o600)
    yield file
    file.close()


def reopened(path: Path) -> AppendOnlyFile:
    return AppendOnlyFile(path, mode=0o600)


def test_lines_follow_each_other_over_restarts(path: Path, log: AppendOnlyFile) -> None:
    log.append(b"one")
    log.append(b"two", durably=False)
    log.close()
    log = reopened(path)
    assert log.size == log.whole() == 8
    log.append(b"three")
    log.close()
    assert list(bounded_lines(path, 100)) == [b"one\n", b"two\n", b"three\n"]


@pytest.mark.usefixtures("log")
def test_a_new_log_is_for_whom_its_mode_says(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_line_that_is_added_durably_outlives_the_machine(tmp_path: Path, path: Path) -> None:
    disk = PowerCut(tmp_path)
    with disk.watching():
        log = reopened(path)
        log.cut(log.whole())
        assert disk.left() == {"log.jsonl": b""}, "its name, too"
        log.append(b"one")
        assert disk.left() == {"log.jsonl": b"one\n"}
        log.append(b"two", durably=False)
        assert disk.left() == {"log.jsonl": b"one\n"}
        log.sync()
        assert disk.left() == {"log.jsonl": b"one\ntwo\n"}
        log.close()


@pytest.mark.parametrize("torn", [b"", b"x", b"x" * 100_000, b"x" * (1 << 16)], ids=len)
@pytest.mark.parametrize("kept", [b"", b"one\n", b"one\n" + b"y" * 70_000 + b"\n"], ids=len)
def test_a_torn_last_line_is_cut_off(path: Path, kept: bytes, torn: bytes) -> None:
    path.write_bytes(kept + torn)
    log = reopened(path)
    assert log.whole() == len(kept)
    assert log.cut(log.whole()) == len(torn)
    assert path.read_bytes() == kept
    log.append(b"next")
    log.close()
    assert path.read_bytes() == kept + b"next\n"


@pytest.mark.parametrize("room", [0, 1, 3])
def test_of_a_line_for_which_there_is_no_room_nothing_stays(
    path: Path, log: AppendOnlyFile, room: int
) -> None:
    log.append(b"one")
    for _ in range(2):
        with pytest.raises(OSError), no_room(4 + room):  # noqa: PT011  its number is the system's
            log.append(b"longer")
        assert path.read_bytes() == b"one\n"
        assert log.size == 4
    log.append(b"two")
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_link_is_not_followed(tmp_path: Path, path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"torn")
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        reopened(path)
    assert target.read_bytes() == b"torn"


@pytest.mark.long
def test_a_log_that_is_held_is_held_by_one(path: Path, log: AppendOnlyFile) -> None:
    log.hold()
    other = reopened(path)
    with pytest.raises(OutputInUse):
        other.hold()
    log.close()
    other.hold()
    other.close()


def test_lines_are_read_in_bounded_pieces(path: Path) -> None:
    path.write_bytes(b"12345678\nab")
    assert list(bounded_lines(path, 5)) == [b"12345", b"678\n", b"ab"]


def test_a_chain_goes_on_from_its_last_line_only() -> None:
    chain = HashChain("start")
    assert chain.continues("start")
    chain.extend("first")
    assert chain.continues("first")
    for wrong in ("start", "second", None, 1, ""):
        assert not chain.continues(wrong)
    assert (chain.head, chain.length) == ("first", 1)


def test_digests_are_what_they_were() -> None:
    """Receipts and journals are kept: those of before must hold."""
    assert line_digest(b"{}\n") == (
        "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    )
    assert line_digest(b"{}", b"coterie receipt line 1\0") == (
        "4f3e40dda2adf1a5fd255aa00ce9bd58702f5914f9b8fee9415c7b588cd8e17a"
    )
