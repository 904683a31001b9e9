"""Python's interface to the native part, with a check that it is preloaded in front of libc.

There is one per process, as there is one library. All calls release the interpreter's lock (GIL),
and none calls back into Python.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from coterie.aes_path import AesPath, aes_path
from coterie.errors import EnvironmentUnfit
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.building import NATIVE_PART
from coterie.tensorflow.dial_notifications import DialNotifications

CANARY_NODE = 1024  # not a node of any contract: used by the self-test
_INT = ctypes.c_int


class Native:
    """The library, armed.

    Args:
        folder: Calls from files below it are TensorFlow's.
        own_node: This node's index among the contract's nodes.

    Attributes:
        dialled: Notifies when TensorFlow dials a node.

    Raises:
        EnvironmentUnfit: The library is missing, was built from another source, or is not
            preloaded.
    """

    def __init__(self, folder: Path, own_node: int) -> None:
        self._library = load()
        if not self._library.coterie_in_front():
            raise not_in_front()
        self.dialled = DialNotifications()
        below = f"{folder.resolve()}{os.sep}".encode()
        if self._library.coterie_arm(below, own_node, self.dialled.rope):
            raise EnvironmentUnfit("the native part is in use by another node of this process")

    def close(self) -> None:
        """Ends the notifications. For the end of a process, since the library stays armed."""
        self.dialled.close()

    def hand_over(self, taken: Taken, node: int, incarnation: int, *, to_dial: bool) -> None:
        """Gives TensorFlow a connection whose peer was verified in the handshake.

        Args:
            taken: The connection.
            node: Index of its peer among the contract's nodes.
            incarnation: The peer's incarnation.
            to_dial: Whether TensorFlow will dial with it; otherwise it accepts it.

        Raises:
            EnvironmentUnfit: There is no memory for it, or the limit of descriptors is reached.
        """
        with contextlib.ExitStack() as closed:
            given = [one for one in (taken.socket, taken.way_out) if one is not None]
            for one in given:
                closed.enter_context(one)
            if self._library.coterie_hand_over(
                taken.socket.fileno(),
                -1 if taken.way_out is None else taken.way_out.fileno(),
                node,
                incarnation,
                int(to_dial),
                taken.sending,
                taken.receiving,
            ):
                raise EnvironmentUnfit("the native part cannot take another connection")
            for one in given:
                one.detach()

    def cut(self, node: int, incarnation: int) -> None:
        """Cuts every connection with a node, except those of one incarnation (0: no exception)."""
        self._library.coterie_cut(node, incarnation)

    def unruly(self, node: int) -> int:
        """Number of a node's connections that were ended for empty records, since the last call."""
        return int(self._library.coterie_unruly(node))

    def aes_path(self) -> AesPath:
        """What seals and opens records."""
        said = self._library.coterie_openssl_version(), self._library.coterie_openssl_processor()
        version, processor = (text.decode(errors="replace") if text else "" for text in said)
        return aes_path(version, processor)

    def parked(self, node: int) -> int:
        """Number of connections that wait for TensorFlow to dial a node."""
        return int(self._library.coterie_count(node, 0))

    def unused(self, node: int) -> int:
        """Number of connections given to TensorFlow on which a node has not sent anything yet."""
        return int(self._library.coterie_count(node, 1))


def load() -> ctypes.CDLL:
    """Loads the library.

    Raises:
        EnvironmentUnfit: It is missing, or was built from another source.
    """
    library = NATIVE_PART.load()
    functions: dict[str, tuple[object, list[object]]] = {
        "in_front": (_INT, []),
        "openssl_version": (ctypes.c_char_p, []),
        "openssl_processor": (ctypes.c_char_p, []),
        "arm": (_INT, [ctypes.c_char_p, _INT, _INT]),
        "hand_over": (
            _INT,
            [_INT, _INT, _INT, ctypes.c_uint64, _INT, ctypes.c_char_p, ctypes.c_char_p],
        ),
        "cut": (None, [_INT, ctypes.c_uint64]),
        "count": (_INT, [_INT, _INT]),
        "unruly": (_INT, [_INT]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, f"coterie_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def not_in_front() -> EnvironmentUnfit:
    """The error of a process in which the native part is not preloaded in front of libc."""
    return EnvironmentUnfit(
        "TensorFlow's socket calls do not pass through Coterie's native part",
        expected=f"LD_PRELOAD={NATIVE_PART.path} at the start of this process",
        seen="a process without it",
        remedy="start nodes with `coterie tensorflow node`; in an enclave let the manifest set "
        "LD_PRELOAD",
    )
