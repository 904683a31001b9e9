"""The partition table, by the checks that firmware makes of it."""

from __future__ import annotations

import struct
import uuid
import zlib

from coterie.guest.disk import BLOCK_BYTES, TABLE_BLOCKS, Partition, partition_table
from coterie.guest.events import measured_table

KIND = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
BLOCKS = 10_000
FIRST, LAST = partition_table(
    (
        Partition(KIND, uuid.UUID(int=1), 2048, 2048, "coterie-efi"),
        Partition(KIND, uuid.UUID(int=2), 4096, 2048, "coterie-root"),
    ),
    BLOCKS,
    uuid.UUID(int=3),
)


def test_each_header_names_itself_and_the_other_and_checks_itself_and_the_entries() -> None:
    assert len(FIRST) == TABLE_BLOCKS * BLOCK_BYTES
    entries = FIRST[2 * BLOCK_BYTES :]
    assert LAST[: len(entries)] == entries
    for header, own, other, array in (
        (FIRST[BLOCK_BYTES : 2 * BLOCK_BYTES], 1, BLOCKS - 1, 2),
        (LAST[len(entries) :], BLOCKS - 1, 1, BLOCKS - 33),
    ):
        assert header[:8] == b"EFI PART"
        assert struct.unpack_from("<QQ", header, 24) == (own, other)
        assert struct.unpack_from("<Q", header, 72) == (array,)
        assert struct.unpack_from("<I", header, 88) == (zlib.crc32(entries),)
        blank = header[:16] + bytes(4) + header[20:92]
        assert struct.unpack_from("<I", header, 16) == (zlib.crc32(blank),)


def test_other_tools_leave_the_disk_alone() -> None:
    assert FIRST[510:512] == b"\x55\xaa"
    assert FIRST[450] == 0xEE


def test_firmware_measures_the_used_entries_only() -> None:
    assert len(measured_table(FIRST)) == 92 + 8 + 2 * 128
