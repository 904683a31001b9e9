"""Files are there whole and durably, or not at all; a folder has one writer; errors are of the tree."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit, OutputInUse
from coterie.files import (
    LOCK,
    link_or_copy,
    made_new,
    make_folder,
    move_new,
    only_writer,
    read_bounded,
    reading,
    write_new,
    write_whole,
    writing,
    written_aside,
)
from faults.disk import PowerCut, no_room

# --- writing -----------------------------------------------------------------------------------


def test_a_file_that_was_written_survives_a_power_cut(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk = PowerCut(root)
    with disk.watching():
        make_folder(root / "deep" / "below")
        write_whole(root / "deep" / "below" / "file", b"first")
        write_whole(root / "deep" / "below" / "file", b"second")
        (root / "deep" / "below" / "other").write_bytes(b"never synced")
    image = disk.image(tmp_path / "image")
    assert (image / "deep" / "below" / "file").read_bytes() == b"second"
    assert not (image / "deep" / "below" / "other").exists(), "the model of a power cut is none"


def test_at_every_moment_a_power_cut_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    seen: list[bytes] = []
    disk = PowerCut(root)
    with disk.watching():
        write_whole(root / "file", b"first")
        disk.on_sync = lambda _: seen.append(
            (disk.image(tmp_path / f"image-{len(seen)}") / "file").read_bytes()
        )
        write_whole(root / "file", b"second, and longer")
    assert seen == [b"first", b"second, and longer"]


def test_a_full_disk_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)), no_room():
        write_whole(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_a_new_file_survives_a_power_cut_and_takes_no_others_place(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk = PowerCut(root)
    with disk.watching():
        write_new(root / "file", b"mine")
    with pytest.raises(FileExistsError):
        write_new(root / "file", b"another's")
    (root / "link").symlink_to(root / "elsewhere")
    with pytest.raises(FileExistsError):
        write_new(root / "link", b"another's")
    assert disk.left() == {"file": b"mine"}
    assert sorted(path.name for path in root.iterdir()) == ["file", "link"]
    assert (root / "file").read_bytes() == b"mine"


def test_a_full_disk_leaves_nothing_of_a_new_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)), no_room():
        write_new(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"old")

    def interrupted() -> None:
        with written_aside(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


def test_a_file_in_the_place_of_a_folder_is_an_error_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(EnvironmentUnfit) as error, writing("the log"):
        make_folder(tmp_path / "file" / "below")
    assert error.value.what == "the log cannot be written"
    assert error.value.seen == os.strerror(errno.ENOTDIR)
    with pytest.raises(EnvironmentUnfit) as error, reading("the note"):
        (tmp_path / "file" / "below").read_bytes()
    assert error.value.what == "the note cannot be read"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_moved_to_a_new_name_takes_no_others_place(tmp_path: Path, kind: str) -> None:
    """Two processes may make the same thing at once: the second one to finish is told so."""

    def make(name: str, content: str) -> Path:
        path = tmp_path / name
        inner = path / "inner" if kind == "folder" else path
        inner.parent.mkdir(exist_ok=True)
        inner.write_text(content)
        return path

    def content(path: Path) -> str:
        return (path / "inner" if kind == "folder" else path).read_text()

    move_new(make("aside", "first"), tmp_path / "out")
    with pytest.raises(FileExistsError):
        move_new(make("aside", "second"), tmp_path / "out")
    assert content(tmp_path / "out") == "first"
    assert content(tmp_path / "aside") == "second", "nothing was lost either"
    assert {path.name for path in tmp_path.iterdir()} == {"aside", "out"}


# --- one writer --------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from coterie.files import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_refused_in_the_same_process_too(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with only_writer(folder):
        with pytest.raises(OutputInUse) as error, only_writer(folder, patience_seconds=0):
            pass
        assert error.value.what == f"{folder} is in use by another process"
        assert (error.value.expected, error.value.seen) == (
            "no other process",
            "one that is running",
        )
        assert "--out" in error.value.remedy
    with only_writer(folder, patience_seconds=0):
        assert [path.name for path in folder.iterdir()] == [LOCK]


@pytest.mark.system
def test_a_holder_that_is_killed_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OutputInUse), only_writer(tmp_path, patience_seconds=0):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with only_writer(tmp_path, patience_seconds=0):
        pass


@pytest.mark.system
def test_a_holder_that_is_ending_is_waited_for(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        holder.stdin.close()
        with only_writer(tmp_path, patience_seconds=60):
            pass


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_folder_that_cannot_be_made_is_an_error_of_the_tree(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(EnvironmentUnfit, match="cannot be written"), only_writer(tmp_path / name):
        pass


def test_a_link_in_the_locks_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentUnfit), only_writer(tmp_path / "folder"):
        pass
    assert not (tmp_path / "elsewhere").exists()


# --- new files and folders -----------------------------------------------------------------------


def fill(made: Path, *, folder: bool) -> None:
    if folder:
        (made / "below").mkdir(parents=True)
        (made / "below" / "file").write_bytes(b"deep")
    (made / "whole" if folder else made).write_bytes(b"new")


@pytest.mark.parametrize("folder", [False, True], ids=["a file", "a folder"])
def test_what_is_made_new_survives_a_power_cut(tmp_path: Path, folder: bool) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk = PowerCut(root)
    with disk.watching(), made_new(root / "deep" / "out.keras") as made:
        assert made.name == "out.keras"
        fill(made, folder=folder)
    image = disk.image(tmp_path / "image") / "deep"
    assert [path.name for path in image.iterdir()] == ["out.keras"]
    if folder:
        assert (image / "out.keras" / "below" / "file").read_bytes() == b"deep"
        assert (image / "out.keras" / "whole").read_bytes() == b"new"
    else:
        assert (image / "out.keras").read_bytes() == b"new"


@pytest.mark.parametrize("folder", [False, True], ids=["a file", "a folder"])
def test_of_what_cannot_be_made_nothing_is_left(tmp_path: Path, folder: bool) -> None:
    with (
        pytest.raises(OSError, match="File too large"),
        no_room(1),
        made_new(tmp_path / "o") as made,
    ):
        fill(made, folder=folder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [False, True], ids=["a file", "a folder"])
def test_what_is_made_new_replaces_nothing(tmp_path: Path, folder: bool) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(FileExistsError), made_new(tmp_path / "out") as made:
        fill(made, folder=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_bytes() == b"mine"


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_is_as_durable_as_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    write_whole(root / "one", b"content")
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError()))
    disk = PowerCut(root)
    with disk.watching():
        link_or_copy(root / "one", root / "two")
    assert (root / "two").read_bytes() == b"content"
    assert "two" in disk.left()


# --- bounded reads -------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "read"), [(0, 0), (9, 9), (10, 10), (11, 11), (1000, 11)])
def test_of_a_file_one_octet_more_than_the_most_is_read(
    tmp_path: Path, size: int, read: int
) -> None:
    (tmp_path / "file").write_bytes(b"x" * size)
    assert len(read_bounded(tmp_path / "file", 10)) == read
