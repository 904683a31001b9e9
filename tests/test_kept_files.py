"""What a user keeps is there whole and outlives the machine, or is not there and the same command writes it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.cli.main import invoke
from coterie.errors import CoterieError
from coterie.files import made_new
from coterie.report.writing import report_folder
from coterie.runs.evaluation_file import Evaluation
from coterie.runs.result import result_of
from coterie.runs.result_file import write_result
from coterie.sealed.data_key import DataKey
from faults.disk import PowerCut
from faults.failing_disk import FailingDisk, Point
from tests.report.runs import HFL, comparison, outcome, write_run

Write = Callable[[Path], object]


def command(*words: str) -> Write:
    """A verb that writes below a folder; ``{}`` stands for that."""

    def write(folder: Path) -> None:
        if invoke([word.format(folder) for word in words]):
            raise OSError

    return write


def made(fill: Callable[[Path], object]) -> Write:
    def write(folder: Path) -> None:
        with made_new(folder / "deep" / "out") as new:
            fill(new)

    return write


def folder_of_two(new: Path) -> None:
    new.mkdir()
    for name in ("one", "two"):
        (new / name).write_bytes(b"content")


KINDS: dict[str, Write] = {
    "a result": lambda folder: write_result(folder, result_of(outcome(HFL), HFL, "ra-tls")),
    "counted scores": lambda folder: Evaluation.of(outcome(HFL)).write(folder),
    "a comparison": lambda folder: comparison().write(folder),
    "a contract's draft": command("init", "{}/draft.toml", "--yes"),
    "a party's key": command("contract", "keygen", "{}/party.pem"),
    "a raw file, a table of predictions or a sealed file": made(lambda new: new.write_bytes(b"x")),
    "an export or a sealed data set": made(folder_of_two),
    "a data key": lambda folder: DataKey.generate("acme").write(folder / "data.key"),
}
kinds = pytest.mark.parametrize("write", KINDS.values(), ids=KINDS)


def kept(folder: Path) -> dict[str, int]:
    """Names and sizes of all files: keys differ in their content."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }


def full_at(number: int) -> Callable[[Point], int | None]:
    return lambda point: errno.ENOSPC if point.number == number else None


@kinds
def test_it_outlives_the_machine_once_it_is_written(write: Write, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk = PowerCut(root)
    with disk.watching():
        write(root)
    assert kept(disk.image(tmp_path / "image")) == kept(root) != {}


def test_a_raw_file_outlives_the_machine_once_it_is_written(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk = PowerCut(root)
    with disk.watching():
        command("synthesize", "{}/raw.tsv.gz", "--rows", "14")(root)
    assert disk.left() == {"raw.tsv.gz": (root / "raw.tsv.gz").read_bytes()}


def test_a_report_outlives_the_machine_once_it_is_written(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_run(root)
    before = kept(root)
    disk = PowerCut(root)
    with disk.watching():
        report_folder(root)
    made = kept(root).keys() - before.keys() - {".lock"}
    assert {"report.html", "figures/loss.png", "figures/loss.svg"} <= made
    left = kept(disk.image(tmp_path / "image"))
    assert {name: left.get(name) for name in made} == {name: kept(root)[name] for name in made}


@pytest.mark.long
@kinds
def test_wherever_the_disk_fails_nothing_is_half_there_and_the_same_again_writes_it(
    write: Write, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    disk = FailingDisk(whole, lambda _: None)
    with disk.installed():
        write(whole)
    wanted = kept(whole)
    assert len(disk.points) > 3
    for failing in range(len(disk.points)):
        folder = tmp_path / str(failing)
        folder.mkdir()
        disk = FailingDisk(folder, full_at(failing))
        failed = False
        with disk.installed():
            try:
                write(folder)
            except (OSError, CoterieError):
                failed = True
        place = f"point {failing}, {disk.points[failing]}"
        assert kept(folder).items() <= wanted.items(), place
        if failed:
            write(folder)
        assert kept(folder) == wanted, place


def test_old_content_stays_where_new_cannot_be_written(tmp_path: Path) -> None:
    old = Evaluation()
    old.write(tmp_path)
    before = kept(tmp_path)
    disk = FailingDisk(tmp_path, lambda point: errno.EIO if point.kind == "sync" else None)
    with disk.installed(), pytest.raises(CoterieError, match="cannot be written"):
        Evaluation.of(outcome(HFL)).write(tmp_path)
    assert kept(tmp_path) == before
    assert Evaluation.read(tmp_path) == old
