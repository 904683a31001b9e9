"""Calls of Linux that Python's standard library lacks: mounts, modules, verified devices, power.

Sources: Linux, mount(2), finit_module(2), reboot(2); include/uapi/linux/dm-ioctl.h;
Documentation/admin-guide/device-mapper/verity.rst.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

READ_ONLY: Final = 1
NO_SUID: Final = 2
NO_DEVICES: Final = 4
NO_PROGRAMS: Final = 8
NO_SYMLINKS: Final = 256
BIND: Final = 4096
MOVE: Final = 8192
#: What is mounted for files of the host, or for scratch, holds neither programs nor devices.
FILES_ONLY: Final = NO_SUID | NO_DEVICES | NO_PROGRAMS
#: On the host's disks, a link could have the node read or overwrite what the guest itself has.
HOSTS_FILES: Final = FILES_ONLY | NO_SYMLINKS

_FINIT_MODULE = 313  # x86-64
_COMPRESSED = 4
_POWER_OFF = 0x4321FEDC

BLOCK_BYTES: Final = 4096
_SECTORS_PER_BLOCK = BLOCK_BYTES // 512
# Device mapper's requests: a header of 312 bytes; one target of 40 bytes with its parameters.
_HEADER = struct.Struct("<3I I I I i I I I Q 128s 129s 7x")
_TARGET = struct.Struct("<Q Q i I 16s")
_VERSION = (4, 0, 0)
_CREATE, _SUSPEND, _LOAD = 3, 6, 9
_IOWR = 0xC0000000
_DM_READ_ONLY = 1

_libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, target: str, *, source: str = "none", flags: int = 0, data: str = "") -> None:
    """Mounts a file system.

    Raises:
        OSError: The kernel refuses.
    """
    done = _libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )
    _check(done, target)


def load_module(path: Path) -> bool:
    """Loads a kernel module, compressed by xz; returns False if this machine has nothing for it.

    A module that builds on such a module then lacks symbols, which is no error either.

    Raises:
        OSError: The kernel refuses it.
    """
    with path.open("rb") as file:
        done = _libc.syscall(
            ctypes.c_long(_FINIT_MODULE),
            ctypes.c_int(file.fileno()),
            ctypes.c_char_p(b""),
            ctypes.c_int(_COMPRESSED),
        )
    if done != 0 and ctypes.get_errno() in (errno.ENODEV, errno.ENOENT, errno.EEXIST):
        return False
    _check(done, str(path))
    return True


def power_off() -> None:
    """Writes back everything and ends this machine.

    Raises:
        OSError: This is not the first process.
    """
    os.sync()
    _check(_libc.reboot(ctypes.c_uint(_POWER_OFF)), "power")


@dataclass(frozen=True)
class VerifiedRoot:
    """A root file system under dm-verity: its blocks, then the tree of their digests.

    Attributes:
        digest: The tree's root, SHA-256.
        blocks: Number of data blocks, each of 4,096 bytes.
    """

    digest: bytes
    blocks: int

    def parameters(self, device: str) -> str:
        """The target's parameters: what is read differently from this ends the machine."""
        start = self.blocks
        return (
            f"1 {device} {device} {BLOCK_BYTES} {BLOCK_BYTES} {self.blocks} {start} "
            f"sha256 {self.digest.hex()} - 1 panic_on_corruption"
        )

    def requests(self, name: str, device: str) -> tuple[tuple[int, bytes], ...]:
        """The calls of device mapper that make it: numbers and arguments, in order.

        Args:
            name: Name of the new device.
            device: Path of the partition.
        """
        text = self.parameters(device).encode() + b"\0"
        text += bytes(-len(text) % 8)
        target = _TARGET.pack(0, self.blocks * _SECTORS_PER_BLOCK, 0, 0, b"verity") + text
        return (
            _request(_CREATE, name, _DM_READ_ONLY),
            _request(_LOAD, name, _DM_READ_ONLY, target),
            _request(_SUSPEND, name, 0),  # without the flag it resumes
        )


def make_device(root: VerifiedRoot, name: str, device: str) -> None:
    """Makes a verified block device, ``/dev/dm-0`` if it is the first.

    Raises:
        OSError: The kernel refuses.
    """
    with open("/dev/mapper/control", "rb+", buffering=0) as control:  # noqa: PTH123
        for number, argument in root.requests(name, device):
            fcntl.ioctl(control, number, bytearray(argument))


def _request(command: int, name: str, flags: int, target: bytes = b"") -> tuple[int, bytes]:
    size = _HEADER.size + len(target)
    targets = 1 if target else 0
    header = _HEADER.pack(
        *_VERSION, size, _HEADER.size, targets, 0, flags, 0, 0, 0, name.encode(), b""
    )
    number = _IOWR | (_HEADER.size << 16) | (0xFD << 8) | command
    return number, header + target


def _check(done: int, about: str) -> None:
    if done != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), about)
