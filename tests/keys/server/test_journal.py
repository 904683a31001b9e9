"""The key server's log grows line by line, and shows what was done to it."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.errors import JournalBroken, OutputInUse
from coterie.keys.server.journal import Chain, Journal, verify_journal
from faults.disk import PowerCut, no_room


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "log.jsonl")
    for number in range(4):
        journal.add({"node": f"w{number}", "outcome": "granted"})
    journal.close()
    return tmp_path / "log.jsonl"


def test_a_log_goes_on_where_it_ended(path: Path) -> None:
    before = path.read_bytes()
    journal = Journal(path)
    journal.add({"node": "w4", "outcome": "granted"})
    assert journal.last == verify_journal(path).last
    journal.close()
    after = path.read_bytes()
    assert after.startswith(before)
    assert [json.loads(line)["node"] for line in after.splitlines()] == [f"w{i}" for i in range(5)]


def test_a_log_is_its_owners(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def altered(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b"granted", b"refused"), *lines[2:]]


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (altered, "another predecessor in line 3"),
        (lambda lines: [lines[0], *lines[2:]], "another predecessor in line 2"),
        (lambda lines: lines[1:], "another predecessor in line 1"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "another predecessor in line 1"),
        (lambda lines: [*lines[:2], b"garbage\n", *lines[2:]], "something else in line 3"),
        (lambda lines: [*lines, b"x" * (1 << 15)], "something else in line 5"),
    ],
    ids=["altered", "removed", "beginning removed", "swapped", "put in", "a long line"],
)
def test_a_log_that_was_touched_is_not_gone_on_with(
    path: Path, change: Callable[[list[bytes]], list[bytes]], seen: str
) -> None:
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(JournalBroken) as refusal:
        Journal(path)
    assert refusal.value.seen == seen


def test_a_last_line_that_was_cut_in_writing_is_dropped(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"node": "w4", "out')
    journal = Journal(path)
    journal.add({"node": "w5", "outcome": "granted"})
    journal.close()
    lines = path.read_bytes().splitlines()
    assert len(lines) == 5
    assert json.loads(lines[-1])["node"] == "w5"
    verify_journal(path)


def test_a_log_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(JournalBroken, match="cannot be written") as refusal:
        Journal(tmp_path / "absent" / "log.jsonl")
    assert refusal.value.seen == "No such file or directory"
    assert "the same log" in refusal.value.remedy, "nobody has touched it"


@pytest.mark.long
def test_a_second_server_with_the_same_log_is_refused_and_the_first_goes_on(path: Path) -> None:
    first = Journal(path)
    before = path.read_bytes()
    with pytest.raises(OutputInUse) as refusal:
        Journal(path)
    assert refusal.value.what == f"{path} is in use by another process"
    assert "--log" in refusal.value.remedy
    assert path.read_bytes() == before
    first.add({"node": "w4", "outcome": "granted"})
    first.close()
    Journal(path).close()
    assert verify_journal(path).last == first.last


def nodes(path: Path) -> list[str]:
    return [json.loads(line)["node"] for line in path.read_bytes().splitlines()]


def test_every_line_is_there_when_the_machine_stops(tmp_path: Path) -> None:
    """Whoever added it gives a key out then."""
    path = tmp_path / "log.jsonl"
    disk = PowerCut(tmp_path)
    with disk.watching():
        journal = Journal(path)
        assert disk.left().keys() == {"log.jsonl"}, "its name, too"
        for number in range(3):
            journal.add({"node": f"w{number}", "outcome": "granted"})
            assert disk.left()["log.jsonl"] == path.read_bytes()
            assert nodes(path)[-1] == f"w{number}"
        journal.close()


@pytest.mark.parametrize("room", [0, 1, 40])
def test_what_cannot_be_written_down_is_not_given_out_and_breaks_nothing(
    path: Path, room: int
) -> None:
    before = path.read_bytes()
    journal = Journal(path)
    last = journal.last
    for _ in range(2):
        with pytest.raises(JournalBroken, match="cannot be written"), no_room(len(before) + room):
            journal.add({"node": "not given", "outcome": "granted"})
        assert journal.last == last
    assert path.read_bytes() == before, "of a line that was not written whole nothing stays"
    journal.add({"node": "w4", "outcome": "granted"})  # there is room again
    journal.close()
    assert verify_journal(path) == Chain(journal.last, path.stat().st_size)
    assert nodes(path) == [f"w{number}" for number in range(5)]
    Journal(path).close()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write to the folder would choose which file is cut and written to."""
    target = tmp_path / "target"
    target.write_bytes(b"a torn line of something else")
    (tmp_path / "log.jsonl").symlink_to(target)
    with pytest.raises(JournalBroken, match="cannot be written"):
        Journal(tmp_path / "log.jsonl")
    assert target.read_bytes() == b"a torn line of something else"


def test_a_line_is_written_as_it_always_was(tmp_path: Path) -> None:
    """Logs are kept, and gone on with by later versions."""
    path = tmp_path / "log.jsonl"
    journal = Journal(path)
    journal.add({"outcome": "granted", "node": "w\u00e4", "step": 3})
    journal.add({"a": "1"})
    journal.close()
    first = b'{"node": "w\\u00e4", "outcome": "granted", "previous": "%b", "step": 3}\n' % (
        b"0" * 64
    )
    second = b'{"a": "1", "previous": "%b"}\n' % hashlib.sha256(first).hexdigest().encode()
    assert path.read_bytes() == first + second
    assert journal.last == hashlib.sha256(second).hexdigest()
