"""Small EFI executables, made by hand."""

from __future__ import annotations

import struct

_START = 0x80
_OPTIONAL_BYTES = 112 + 16 * 8
_HEADERS = 0x400


def executable(sections: dict[str, bytes], *, signature: bytes = b"", checksum: int = 0) -> bytes:
    """A PE32+ file with the sections in this order, each padded to 512 bytes."""
    table, content = b"", b""
    for name, octets in sections.items():
        raw = octets + bytes(-len(octets) % 512)
        pointer = _HEADERS + len(content)
        table += struct.pack(
            "<8sIIIIIIHHI", name.encode(), len(octets), 0x1000, len(raw), pointer, 0, 0, 0, 0, 0
        )
        content += raw
    optional = bytearray(_OPTIONAL_BYTES)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<I", optional, 60, _HEADERS)
    struct.pack_into("<I", optional, 64, checksum)
    struct.pack_into("<I", optional, 108, 16)
    if signature:
        struct.pack_into("<II", optional, 144, _HEADERS + len(content), len(signature))
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", _START)
    head = head.ljust(_START, b"\0") + b"PE\0\0"
    head += struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, _OPTIONAL_BYTES, 0)
    return (head + bytes(optional) + table).ljust(_HEADERS, b"\0") + content + signature


KERNEL = executable({".text": b"kernel"})
#: Like a unified kernel image, with the command line whose measurement is known.
UNIFIED = executable(
    {
        ".text": b"stub",
        ".sbat": b"sbat",
        ".cmdline": b"console=ttyS0 panic=-1",
        ".uname": b"6.12",
        ".linux": KERNEL,
        ".initrd": b"archive",
    }
)
