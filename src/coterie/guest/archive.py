"""The initial file system's archive: cpio in the format "newc", as Linux unpacks it.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_MAGIC = b"070701"
_FOLDER_MODE = 0o40755
_FILE_MODE = 0o100644
_PROGRAM_MODE = 0o100755


@dataclass(frozen=True)
class Entry:
    """A file of the archive.

    Attributes:
        content: Its bytes.
        executable: Whether it may be executed.
    """

    content: bytes
    executable: bool = False


def pack(files: Mapping[PurePosixPath, Entry]) -> bytes:
    """Packs files, with the folders above them. The same files give the same bytes.

    Args:
        files: By path, relative to the root.
    """
    folders = {above for path in files for above in path.parents if above.parts}
    packed = bytearray()
    for number, path in enumerate(sorted(folders | files.keys()), start=1):
        entry = files.get(path)
        if entry is None:
            packed += _record(number, _FOLDER_MODE, path.as_posix(), b"")
        else:
            mode = _PROGRAM_MODE if entry.executable else _FILE_MODE
            packed += _record(number, mode, path.as_posix(), entry.content)
    return bytes(packed + _record(0, 0, "TRAILER!!!", b""))


def _record(number: int, mode: int, name: str, content: bytes) -> bytes:
    encoded = name.encode() + b"\0"
    # inode, mode, owner, group, links, time, size, two devices (major, minor), name's size, check
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = _MAGIC + b"".join(b"%08X" % field for field in fields)
    return _padded(header + encoded) + _padded(content)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
