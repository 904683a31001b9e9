"""Notes of a run's end: each counts with its run, contract, checkpoint and name, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.errors import CheckpointDamaged
from coterie.ps.checkpoints.codec import PlainFileCodec
from coterie.ps.checkpoints.end_records import EndRecords
from coterie.ps.checkpoints.files import SmallFiles
from coterie.ps.checkpoints.records import DurableCheckpoint

CONTRACT, OTHER_CONTRACT = b"\1" * 32, b"\2" * 32
RUN, OTHER_RUN = "5e" * 32, "07" * 32
EARLIER, END = DurableCheckpoint(4, b"\4" * 32), DurableCheckpoint(8, b"\x08" * 32)
KEPT = {"left-w0": b"", "report-w0": b"counts"}


def notes(folder: Path, contract: bytes = CONTRACT) -> EndRecords:
    return EndRecords(folder, contract, SmallFiles(PlainFileCodec()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, octets in KEPT.items():
        notes(tmp_path).put(name, octets, run_id=RUN, checkpoint=END.digest)
    return tmp_path


def test_notes_are_read_as_they_were_put(folder: Path) -> None:
    assert notes(folder).all(RUN, (EARLIER, END)) == KEPT
    notes(folder).put("report-w0", b"others", run_id=RUN, checkpoint=END.digest)
    assert notes(folder).all(RUN, (END,)) == {**KEPT, "report-w0": b"others"}


def alter(place: int) -> Callable[[Path], None]:
    def altered(path: Path) -> None:
        octets = bytearray(path.read_bytes())
        octets[place] ^= 1
        path.write_bytes(octets)

    return altered


DAMAGE: list[tuple[str, Callable[[Path], object]]] = [
    *((f"byte {place}", alter(place)) for place in (0, 20, 60, 90, -40, -33, -1)),
    ("cut", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    ("longer", lambda path: path.write_bytes(path.read_bytes() + b"\0")),
    ("empty", lambda path: path.write_bytes(b"")),
    ("renamed", lambda path: path.rename(path.with_name("note-report-w1.bin"))),
]


@pytest.mark.parametrize("damage", [row[1] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_a_damaged_note_is_refused(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder / "note-report-w0.bin")
    with pytest.raises(CheckpointDamaged, match=r"the note .* is damaged") as refused:
        notes(folder).all(RUN, (END,))
    assert refused.value.expected == "what was written"


def test_another_contracts_note_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointDamaged, match=r"the note .* is damaged") as refused:
        notes(folder, OTHER_CONTRACT).all(RUN, (END,))
    assert refused.value.expected == "what was written"


@pytest.mark.parametrize(
    ("run", "available", "expected"),
    [
        (OTHER_RUN, (END,), f"a note of run {OTHER_RUN}"),
        ("", (), "no note without a checkpoint"),
        (RUN, (EARLIER,), f"its checkpoint, SHA-256 {END.digest.hex()}"),
    ],
    ids=["another run", "no run", "another end"],
)
def test_notes_of_another_run_or_end_are_refused(
    folder: Path, run: str, available: tuple[DurableCheckpoint, ...], expected: str
) -> None:
    with pytest.raises(CheckpointDamaged, match="or of another run") as refused:
        notes(folder).all(run, available)
    assert refused.value.expected == expected


def test_notes_are_forgotten_with_their_checkpoint(folder: Path) -> None:
    notes(folder).forget(but=(EARLIER, END))
    assert notes(folder).all(RUN, (END,)) == KEPT
    notes(folder).forget(but=(EARLIER,))
    assert notes(folder).all(RUN, (EARLIER,)) == {}
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["", "Report", "a/b", "../a", "a" * 101, "a.b"])
def test_a_name_that_is_none_is_a_defect(folder: Path, name: str) -> None:
    with pytest.raises(AssertionError):
        notes(folder).put(name, b"", run_id=RUN, checkpoint=END.digest)
