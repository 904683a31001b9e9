"""EFI executables: their sections, and the digest that firmware measures.

Sources: Microsoft, "PE Format"; "Windows Authenticode Portable Executable Signature Format",
"Calculating the PE Image Hash". Only 64-bit executables are read.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from coterie.errors import EnvironmentUnfit

HashName = Literal["sha256", "sha384"]

_PE_POINTER: Final = 0x3C
_HEADER_BYTES: Final = 24  # signature and COFF header
_PE32_PLUS: Final = 0x20B
# Offsets in the optional header of PE32+.
_SIZE_OF_HEADERS: Final = 60
_CHECKSUM: Final = 64
_DIRECTORIES: Final = 108
_CERTIFICATES: Final = 112 + 4 * 8
_SECTION_BYTES: Final = 40
_MOST_SECTIONS: Final = 96

_refused = partial(
    EnvironmentUnfit,
    "a file is no EFI executable",
    remedy="name a folder with Debian's unpacked packages with --platform",
)


@dataclass(frozen=True)
class _Section:
    name: str
    virtual_size: int
    raw_size: int
    pointer: int


@dataclass(frozen=True)
class _Layout:
    checksum: int
    certificates: int
    size_of_headers: int
    certificates_size: int
    sections: tuple[_Section, ...]


def image_digest(octets: bytes, algorithm: HashName) -> bytes:
    """The Authenticode digest of an executable, which firmware extends into PCR 4 or RTMR 1.

    Args:
        octets: The whole file.
        algorithm: Hash algorithm of the register's bank.

    Raises:
        EnvironmentUnfit: It is not a 64-bit EFI executable.
    """
    layout = _layout(octets)
    digest = hashlib.new(algorithm, octets[: layout.checksum])
    digest.update(octets[layout.checksum + 4 : layout.certificates])
    digest.update(octets[layout.certificates + 8 : layout.size_of_headers])
    done = layout.size_of_headers
    for section in sorted(layout.sections, key=lambda one: one.pointer):
        digest.update(octets[section.pointer : section.pointer + section.raw_size])
        done += section.raw_size
    digest.update(octets[done : len(octets) - layout.certificates_size])
    return digest.digest()


def sections(octets: bytes) -> dict[str, bytes]:
    """The executable's sections by name, each with the length that it has in memory.

    Raises:
        EnvironmentUnfit: It is not a 64-bit EFI executable, or has two sections of one name.
    """
    found: dict[str, bytes] = {}
    for section in _layout(octets).sections:
        if section.name in found:
            raise _refused(expected="one section of each name", seen=f"two sections {section.name}")
        content = octets[section.pointer : section.pointer + section.raw_size]
        found[section.name] = content[: section.virtual_size]
    return found


def _layout(octets: bytes) -> _Layout:
    try:
        return _read(octets)
    except struct.error as error:
        raise _refused(expected="all of its headers", seen="the file's end") from error


def _read(octets: bytes) -> _Layout:
    if octets[:2] != b"MZ":
        raise _refused(expected="MZ at its beginning", seen=octets[:2].hex() or "nothing")
    (start,) = struct.unpack_from("<I", octets, _PE_POINTER)
    if octets[start : start + 4] != b"PE\0\0":
        raise _refused(expected="a PE header", seen=octets[start : start + 4].hex() or "nothing")
    count, optional_bytes = struct.unpack_from("<6xH12xH", octets, start)
    optional = start + _HEADER_BYTES
    (magic,) = struct.unpack_from("<H", octets, optional)
    if magic != _PE32_PLUS:
        raise _refused(expected="PE32+, which is 64-bit", seen=f"magic {magic:#x}")
    (size_of_headers,) = struct.unpack_from("<I", octets, optional + _SIZE_OF_HEADERS)
    (directories,) = struct.unpack_from("<I", octets, optional + _DIRECTORIES)
    if directories < 5 or not 0 < count <= _MOST_SECTIONS:
        raise _refused(
            expected=f"a certificate directory, and 1 to {_MOST_SECTIONS} sections",
            seen=f"{directories} directories, {count} sections",
        )
    _, certificates_size = struct.unpack_from("<II", octets, optional + _CERTIFICATES)
    first = optional + optional_bytes
    found = tuple(_section(octets, first + _SECTION_BYTES * index) for index in range(count))
    return _Layout(
        checksum=optional + _CHECKSUM,
        certificates=optional + _CERTIFICATES,
        size_of_headers=size_of_headers,
        certificates_size=certificates_size,
        sections=found,
    )


def _section(octets: bytes, offset: int) -> _Section:
    name, virtual_size, raw_size, pointer = struct.unpack_from("<8sI4xII", octets, offset)
    text = name.rstrip(b"\0").decode("ascii", "replace")
    if raw_size and pointer + raw_size > len(octets):
        raise _refused(expected=f"all of section {text}", seen="the file's end")
    return _Section(text, virtual_size, raw_size, pointer)
