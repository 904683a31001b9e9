"""The native part knows every call by which the installed TensorFlow could move bytes or copy descriptors."""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from coterie.tensorflow.building import NATIVE_PART
from coterie.tensorflow.digests import tensorflow_folder

# Calls of libc that touch a socket's bytes or give another descriptor; with the names of large files and of fortified code.
CALLS = re.compile(
    r"(__)?(socket|connect|bind|listen|accept4?|getsockname|getpeername|setsockopt|shutdown|close|closefrom|close_range"
    r"|fcntl(64)?|dup[23]?|getaddrinfo(_a)?|gethostby\w+|res_\w+|send\w*|recv\w*|readv?|writev?|preadv\w*|pwritev\w*"
    r"|sendfile(64)?|splice|tee|vmsplice|io_uring_\w+|aio_\w+|lio_\w+|process_vm_\w+|pidfd_\w+)(_chk)?"
)
_SECTION = struct.Struct("<IIQQQQIIQQ")  # System V ABI, "Section header"; 64 bits, little-endian
_SYMBOL = struct.Struct("<IBBHQQ")
_DYNAMIC_SYMBOLS = 11  # SHT_DYNSYM


def imports(path: Path) -> Iterator[str]:
    """The names that a shared object takes from others."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:6] != b"\x7fELF\x02\x01":
            return
        (start,) = struct.unpack_from("<Q", data, 40)
        size, count = struct.unpack_from("<HH", data, 58)
        sections = [_SECTION.unpack_from(data, start + i * size) for i in range(count)]
        for section in sections:
            if section[1] != _DYNAMIC_SYMBOLS:
                continue
            names = sections[section[6]][4]
            for name, _, _, defined_in, _, _ in _SYMBOL.iter_unpack(
                data[section[4] : section[4] + section[5]]
            ):
                if not defined_in:
                    yield data[names + name : data.find(b"\0", names + name)].decode()


def test_the_native_part_handles_every_call_that_tensorflow_imports() -> None:
    (header,) = (file for file in NATIVE_PART.headers if file.name == "real_calls.h")
    handled = set(re.findall(r"X\((\w+)\)", header.read_text()))
    files = [path for path in tensorflow_folder().rglob("*.so*") if path.is_file()]
    imported = {name for path in files for name in imports(path) if CALLS.fullmatch(name)}
    assert {"socket", "connect", "accept4", "sendmsg", "recvmsg", "close"} <= imported
    assert imported <= handled
