"""EFI executables: what their digest covers, and what is refused."""

from __future__ import annotations

import hashlib

import pytest

from coterie.errors import EnvironmentUnfit
from coterie.guest.executable import image_digest, sections
from tests.guest.executables import UNIFIED, executable

# Of a file without signature: its checksum, and the directory's entry of the signature.
CHECKSUM = slice(0x80 + 24 + 64, 0x80 + 24 + 68)
ENTRY = slice(0x80 + 24 + 144, 0x80 + 24 + 152)


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_the_digest_covers_all_but_checksum_and_signature(algorithm: str) -> None:
    plain = executable({".text": b"code", ".data": b"more"})
    covered = plain[: CHECKSUM.start] + plain[CHECKSUM.stop : ENTRY.start] + plain[ENTRY.stop :]
    expected = hashlib.new(algorithm, covered).digest()
    signed = executable({".text": b"code", ".data": b"more"}, signature=bytes(8), checksum=7)
    assert signed != plain
    for octets in (plain, signed):
        assert image_digest(octets, "sha384" if algorithm == "sha384" else "sha256") == expected


@pytest.mark.parametrize("place", [0x40, 0x90, 0x300, 0x400, 0x5FF, 0x600])
def test_any_other_byte_changes_the_digest(place: int) -> None:
    octets = bytearray(executable({".text": b"code", ".data": b"more"}))
    before = image_digest(bytes(octets), "sha256")
    octets[place] ^= 1
    assert image_digest(bytes(octets), "sha256") != before


def test_sections_have_their_length_in_memory() -> None:
    assert sections(UNIFIED)[".cmdline"] == b"console=ttyS0 panic=-1"


@pytest.mark.parametrize(
    ("octets", "expected", "seen"),
    [
        (b"", "MZ at its beginning", "nothing"),
        (b"\x7fELF", "MZ at its beginning", "7f45"),
        (UNIFIED[:0x20], "all of its headers", "the file's end"),
        (UNIFIED[:0x90], "all of its headers", "the file's end"),
        (UNIFIED[:-1], "all of section .initrd", "the file's end"),
        (UNIFIED.replace(b"PE\0\0", b"NE\0\0"), "a PE header", "4e450000"),
        (UNIFIED.replace(b"\x0b\x02", b"\x0b\x01"), "PE32+, which is 64-bit", "magic 0x10b"),
        (UNIFIED.replace(b".uname", b".sbat\0"), "one section of each name", "two sections .sbat"),
    ],
)
def test_other_files_are_refused(octets: bytes, expected: str, seen: str) -> None:
    with pytest.raises(EnvironmentUnfit, match="a file is no EFI executable") as refused:
        sections(octets)
    assert (refused.value.expected, refused.value.seen) == (expected, seen)
