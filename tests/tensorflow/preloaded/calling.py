"""Calls of the kind that TensorFlow makes, from the only file that the native part takes for TensorFlow's here."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from coterie.tensorflow.building import NATIVE_PART

SOURCE = Path(__file__).parents[1] / "native" / "caller.c"


class Caller:
    """TensorFlow's part.

    Args:
        folder: Where its shared object is put.
    """

    def __init__(self, folder: Path) -> None:
        built = folder / "caller.so"
        command = [NATIVE_PART.compiler(), "-O0", "-fPIC", "-shared", str(SOURCE), "-o", str(built)]
        subprocess.run(command, check=True)
        self._calls = ctypes.CDLL(str(built), use_errno=True)

    def _checked(self, result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    def socket(self) -> int:
        """A socket of TensorFlow's."""
        return self._checked(self._calls.call_socket())

    def listen(self) -> int:
        """The descriptor that TensorFlow listens on; one in a process, until it is closed."""
        fd = self.socket()
        self._checked(self._calls.call_listen(fd))
        return fd

    def accept(self, port: int, of: int) -> int:
        """The next connection with a node that was handed over to be accepted; others before it are closed."""
        while True:
            node = ctypes.c_int()
            fd = self._checked(self._calls.call_accept(port, ctypes.byref(node)))
            if node.value == of:
                return fd
            os.close(fd)

    def connect(self, node: int) -> int:
        """A connection that was parked."""
        fd = self.socket()
        self._checked(self._calls.call_connect(fd, node))
        return fd

    def receive(self, fd: int) -> bytes:
        """What was opened."""
        buffer = ctypes.create_string_buffer(1 << 16)
        length = self._checked(self._calls.call_recvmsg(fd, buffer, len(buffer)))
        return buffer.raw[:length]

    def send(self, fd: int, data: bytes) -> int:
        """Seals and sends."""
        return self._checked(self._calls.call_sendmsg(fd, data, len(data)))
