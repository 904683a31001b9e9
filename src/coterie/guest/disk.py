"""The disk image of a guest: a GUID partition table, the EFI partition, the verified root.

Every identifier is derived from the root's digest, so the same content gives the same bytes.
Source: UEFI 2.10, 5.3 "GUID Partition Table (GPT) Disk Layout".
"""

from __future__ import annotations

import os
import shutil
import struct
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coterie.guest.early import ROOT_NAME
from coterie.guest.platform import run_tool

BLOCK_BYTES: Final = 512
#: Protective master boot record, header, and entries.
TABLE_BLOCKS: Final = 34

_ENTRIES = 128
_ENTRY = struct.Struct("<16s 16s Q Q Q 72s")
_HEADER = struct.Struct("<8s I I I I Q Q Q Q 16s Q I I I")
_REVISION = 0x10000
_ALIGNMENT = 2048  # blocks
_SPARE_BYTES = 4 << 20
_EFI_TYPE = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
_ROOT_TYPE = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")  # root, x86-64
_NAMES = uuid.UUID("7f3cf9fd-2a0b-5d0c-9b9a-6a4b5f3c1c51")
_BOOT_FOLDERS = ("::/EFI", "::/EFI/BOOT")
_BOOT_FILE = "::/EFI/BOOT/BOOTX64.EFI"


@dataclass(frozen=True)
class Partition:
    """An entry of the table.

    Attributes:
        kind: GUID of its type.
        identity: Its own GUID.
        first: Its first block.
        blocks: Number of its blocks.
        name: Its name.
    """

    kind: uuid.UUID
    identity: uuid.UUID
    first: int
    blocks: int
    name: str


def partition_table(
    partitions: tuple[Partition, ...], blocks: int, identity: uuid.UUID
) -> tuple[bytes, bytes]:
    """The table at the disk's beginning, and its copy at the end.

    Args:
        partitions: The entries.
        blocks: Number of the disk's blocks.
        identity: The disk's GUID.
    """
    entries = b"".join(
        _ENTRY.pack(
            *(one.kind.bytes_le, one.identity.bytes_le, one.first, one.first + one.blocks - 1),
            *(0, one.name.encode("utf-16-le")),
        )
        for one in partitions
    ).ljust(_ENTRIES * _ENTRY.size, b"\0")

    def header(own: int, other: int, array: int) -> bytes:
        def packed(check: int) -> bytes:
            return _HEADER.pack(
                *(b"EFI PART", _REVISION, _HEADER.size, check, 0, own, other),
                *(TABLE_BLOCKS, blocks - TABLE_BLOCKS, identity.bytes_le),
                *(array, _ENTRIES, _ENTRY.size, zlib.crc32(entries)),
            )

        return packed(zlib.crc32(packed(0))).ljust(BLOCK_BYTES, b"\0")

    last = blocks - 1
    protective = struct.pack(
        "<446x B 3s B 3s I I 48x 2s",
        *(0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF), b"\x55\xaa"),
    )
    array_at_end = last - _ENTRIES * _ENTRY.size // BLOCK_BYTES
    return protective + header(1, last, 2) + entries, entries + header(last, 1, array_at_end)


def write_disk(disk: Path, executable: Path, root: Path, digest: bytes) -> bytes:
    """Writes the disk image.

    Args:
        disk: The new file.
        executable: The unified kernel image, which firmware starts by default.
        root: The root's blocks and tree.
        digest: The root's digest.

    Returns:
        The table at the disk's beginning, which firmware measures.

    Raises:
        EnvironmentUnfit: A tool is missing or fails.
    """

    def identity(of: str) -> uuid.UUID:
        return uuid.uuid5(_NAMES, f"{of} {digest.hex()}")

    firmware = disk.with_name(disk.name + ".efi")
    _write_efi_partition(firmware, executable, digest)
    first = Partition(*(_EFI_TYPE, identity("efi"), _ALIGNMENT, _blocks(firmware), "coterie-efi"))
    second = Partition(
        *(_ROOT_TYPE, identity("root"), first.first + first.blocks, _blocks(root), ROOT_NAME)
    )
    blocks = second.first + second.blocks + _ALIGNMENT
    table, copy = partition_table((first, second), blocks, identity("disk"))
    with disk.open("wb") as file:
        file.write(table)
        for partition, content in ((first, firmware), (second, root)):
            file.seek(partition.first * BLOCK_BYTES)
            with content.open("rb") as source:
                shutil.copyfileobj(source, file)
        file.truncate(blocks * BLOCK_BYTES)
        file.seek(-len(copy), os.SEEK_END)
        file.write(copy)
    firmware.unlink()
    return table


def _blocks(path: Path) -> int:
    """The number of blocks of a file, rounded up to the alignment of partitions."""
    unit = _ALIGNMENT * BLOCK_BYTES
    return -(-path.stat().st_size // unit) * _ALIGNMENT


def _write_efi_partition(path: Path, executable: Path, digest: bytes) -> None:
    octets = executable.stat().st_size + _SPARE_BYTES
    unit = _ALIGNMENT * BLOCK_BYTES
    with path.open("wb") as file:
        # FAT with 32 bits needs 65,525 clusters; with one block each, that is 34 MB.
        file.truncate(max(-(-octets // unit) * unit, 40 * unit))
    serial = digest[:4].hex()
    run_tool("mkfs.vfat", ["--invariant", "-F", "32", "-s", "1", "-i", serial, str(path)])
    run_tool("mmd", ["-i", str(path), *_BOOT_FOLDERS], SOURCE_DATE_EPOCH="0")
    run_tool("mcopy", ["-i", str(path), str(executable), _BOOT_FILE], SOURCE_DATE_EPOCH="0")
