"""The initial file system's archive, read again by cpio's own rules."""

from __future__ import annotations

from pathlib import PurePosixPath

from coterie.guest.archive import Entry, pack

FILES = {
    PurePosixPath("opt/a/b"): Entry(b"12345"),
    PurePosixPath("init"): Entry(b"#!x", executable=True),
}


def unpacked(octets: bytes) -> list[tuple[str, int, bytes]]:
    found: list[tuple[str, int, bytes]] = []
    at = 0
    while True:
        assert octets[at : at + 6] == b"070701"
        fields = [int(octets[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_bytes = fields[1], fields[6], fields[11]
        name = octets[at + 110 : at + 110 + name_bytes - 1].decode()
        at += -(-(110 + name_bytes) // 4) * 4
        if name == "TRAILER!!!":
            assert at == len(octets)
            return found
        found.append((name, mode, octets[at : at + size]))
        at += -(-size // 4) * 4


def test_files_are_there_after_the_folders_above_them() -> None:
    assert unpacked(pack(FILES)) == [
        ("init", 0o100755, b"#!x"),
        ("opt", 0o40755, b""),
        ("opt/a", 0o40755, b""),
        ("opt/a/b", 0o100644, b"12345"),
    ]


def test_the_order_in_which_files_are_given_does_not_matter() -> None:
    assert pack(dict(reversed(FILES.items()))) == pack(FILES)
