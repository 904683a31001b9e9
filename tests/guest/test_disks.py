"""The host's disks: told apart by their first bytes, their inputs unpacked within bounds."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.guest import disks
from coterie.guest.disks import HostDisks, find_disks, purpose_of, unpack_inputs


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    # Like ustar, but for members that have headers of their own.
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as written:
        for member, content in members:
            member.size = len(content)
            written.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    return info


def ext4(label: str) -> bytes:
    head = bytearray(2048)
    head[1024 + 56 : 1024 + 58] = b"\x53\xef"
    head[1024 + 120 : 1024 + 136] = label.encode().ljust(16, b"\0")
    return bytes(head)


def test_disks_are_told_apart_and_the_first_of_two_counts(tmp_path: Path) -> None:
    blocks, devices = tmp_path / "block", tmp_path / "dev"
    for folder in (blocks, devices):
        folder.mkdir()
    for name, head in {
        "dm-0": ext4("coterie-state"),
        "vda": bytes(2048),
        "vdb": ext4("coterie-data"),
        "vdc": ext4("coterie-state"),
        "vdd": ext4("coterie-state"),
        "vde": ext4("somebody"),
        "vdg": b"short",
    }.items():
        (blocks / name).mkdir()
        (devices / name).write_bytes(head)
    (blocks / "vdh").mkdir()  # without a medium
    (blocks / "vdf").mkdir()
    archive(devices / "vdf", (member("node.toml"), b"x"))
    assert find_disks(blocks, devices) == HostDisks(inputs="vdf", data="vdb", state="vdc")


def test_a_disk_of_nobodys_is_left_alone() -> None:
    assert purpose_of(b"") is None
    assert purpose_of(ext4("root")) is None


def test_inputs_are_files_in_folders(tmp_path: Path) -> None:
    disk = archive(
        tmp_path / "disk",
        (member(".", tarfile.DIRTYPE), b""),
        (member("./node.toml"), b"name"),
        (member("collateral/a/b.json"), b"{}"),
    )
    folder = tmp_path / "inputs"
    folder.mkdir()
    unpack_inputs(disk, folder)
    assert (folder / "node.toml").read_bytes() == b"name"
    assert (folder / "collateral" / "a" / "b.json").read_bytes() == b"{}"


def link(name: str, target: str) -> tarfile.TarInfo:
    info = member(name, tarfile.SYMTYPE)
    info.linkname = target
    return info


def extended(name: str, **headers: str) -> tarfile.TarInfo:
    info = member(name)
    info.pax_headers = headers
    return info


def sparse(name: str, octets: int, holes: str = "0,512") -> tarfile.TarInfo:
    return extended(name, **{"GNU.sparse.map": holes, "GNU.sparse.size": str(octets)})


@pytest.mark.parametrize(
    ("make", "expected", "seen"),
    [
        (
            lambda path: archive(path, (member("/etc/hosts"), b"x")),
            "names below the archive's own folder",
            "'/etc/hosts'",
        ),
        (
            lambda path: archive(path, (member("a/../../b"), b"x")),
            "names below the archive's own folder",
            "'a/../../b'",
        ),
        (
            lambda path: archive(path, (link("a", "/coterie"), b"")),
            "files and folders",
            "'a' is something else",
        ),
        (
            lambda path: archive(path, (member("a", tarfile.CHRTYPE), b"")),
            "files and folders",
            "'a' is something else",
        ),
        (
            # A file of 64 TiB with a hole, in an archive of a few bytes.
            lambda path: archive(path, (sparse("a", 1 << 46), b"x" * 512)),
            "files and folders",
            "'a' is something else",
        ),
        (
            lambda path: archive(path, (sparse("a", 512, "0,a"), b"x" * 512)),
            "an archive of at most 64 MiB",
            "invalid literal for int() with base 10: 'a'",
        ),
        (
            lambda path: archive(path, (extended("a", path="b\0c"), b"")),
            "an archive of at most 64 MiB",
            "embedded null byte",
        ),
        (
            lambda path: archive(path, *((member(f"f{i}"), b"") for i in range(4))),
            "at most 3 files",
            "more",
        ),
        (
            lambda path: archive(path, (member("a"), b""), (member("a"), b"")),
            "an archive of at most 64 MiB",
            "[Errno 17] File exists",
        ),
    ],
)
def test_other_archives_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], Path],
    expected: str,
    seen: str,
) -> None:
    monkeypatch.setattr(disks, "MAX_FILES", 3)
    folder = tmp_path / "inputs"
    folder.mkdir()
    with pytest.raises(EnvironmentUnfit, match="the host's inputs cannot be used") as refused:
        unpack_inputs(make(tmp_path / "disk"), folder)
    assert refused.value.expected == expected
    assert refused.value.seen.startswith(seen)


def test_an_archive_beyond_the_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = archive(tmp_path / "disk", (member("a"), bytes(5000)))
    monkeypatch.setattr(disks, "MAX_ARCHIVE_BYTES", 2048)
    with pytest.raises(EnvironmentUnfit, match="the host's inputs cannot be used") as refused:
        unpack_inputs(disk, tmp_path)
    assert refused.value.expected in ("5000 bytes of 'a'", "an archive of at most 64 MiB")
