"""The disks that a host attaches to a guest: its inputs, the party's data, the node's state.

Nothing on them is trusted. Inputs are an uncompressed tar archive, written to a disk as it is: a
program with bounds reads it, not the kernel. Data and state are ext4, told apart by their labels.
"""

from __future__ import annotations

import io
import struct
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from coterie.errors import EnvironmentUnfit

DATA_LABEL: Final = "coterie-data"
STATE_LABEL: Final = "coterie-state"
MAX_ARCHIVE_BYTES: Final = 64 << 20
MAX_FILES: Final = 1000

_HEAD_BYTES = 2048
# ustar's magic (POSIX.1, pax); ext4's superblock (Linux, Documentation/filesystems/ext4/super.rst).
_TAR_MAGIC = slice(257, 262)
_EXT4 = struct.Struct("<1024x 56x H 62x 16s")
_EXT4_MAGIC = 0xEF53
# Devices of the kernel's own, which no host attaches.
_INTERNAL = ("dm-", "loop", "ram", "zram", "sr", "fd")

_refused = partial(
    EnvironmentUnfit,
    "the disk with the host's inputs cannot be used",
    remedy="write it again: tar --create --format=ustar --file DISK contract.toml node.toml ...",
)


@dataclass(frozen=True)
class HostDisks:
    """The disks' device names; None if not attached.

    Attributes:
        inputs: A tar archive with the contract, its signatures, and ``node.toml``.
        data: A file system with the party's sealed data set.
        state: A file system for outputs and for the node's memory.
    """

    inputs: str | None
    data: str | None
    state: str | None


def find_disks(blocks: Path, devices: Path) -> HostDisks:
    """Recognises the host's disks by their first bytes; of several alike, it takes the first.

    Args:
        blocks: The kernel's list of block devices.
        devices: Folder of their files.
    """
    found: dict[str, str] = {}
    for entry in sorted(blocks.iterdir()):
        if entry.name.startswith(_INTERNAL):
            continue
        try:
            with (devices / entry.name).open("rb") as device:
                head = device.read(_HEAD_BYTES)
        except OSError:  # a drive without a medium, for instance
            continue
        purpose = purpose_of(head)
        if purpose is not None:
            found.setdefault(purpose, entry.name)
    return HostDisks(found.get("inputs"), found.get(DATA_LABEL), found.get(STATE_LABEL))


def purpose_of(head: bytes) -> str | None:
    """``inputs``, or the label of one of our file systems; None for any other disk."""
    if head[_TAR_MAGIC] == b"ustar":
        return "inputs"
    if len(head) >= _EXT4.size:
        magic, label = _EXT4.unpack_from(head)
        text: str = label.rstrip(b"\0").decode("ascii", "replace")
        if magic == _EXT4_MAGIC and text in (DATA_LABEL, STATE_LABEL):
            return text
    return None


def unpack_inputs(device: Path, folder: Path) -> None:
    """Writes the archive's files below a folder, which exists and is empty.

    Raises:
        EnvironmentUnfit: The archive is damaged, too large, or has anything but files and folders
            with plain names.
    """
    try:
        with device.open("rb") as file:
            octets = file.read(MAX_ARCHIVE_BYTES)
        with tarfile.open(fileobj=io.BytesIO(octets), mode="r:") as archive:
            for number, member in enumerate(archive):
                _unpack(archive, member, number, folder)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise _refused("an archive of at most 64 MiB", str(error)[:200]) from error


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, number: int, folder: Path) -> None:
    if number >= MAX_FILES:
        raise _refused(f"at most {MAX_FILES} files", "more")
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise _refused("names below the archive's own folder", repr(member.name)[:200])
    target = folder / name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    plain = member.isreg() and not member.issparse()  # a hole has any size
    content = archive.extractfile(member) if plain else None
    if content is None:
        raise _refused("files and folders", f"{member.name!r} is something else"[:200])
    octets = content.read()
    if len(octets) != member.size:
        raise _refused(f"{member.size} bytes of {member.name!r}"[:200], f"{len(octets)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        file.write(octets)
