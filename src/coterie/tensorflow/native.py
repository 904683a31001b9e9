"""The native part as Python sees it, and whether it stands in front of libc at all.

One per process, since the library is. All of its calls release the interpreter's lock, none calls back.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from coterie.errors import EnvironmentUnfit
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.building import LIBRARY, source_digest
from coterie.tensorflow.dial_notifications import DialNotifications

CANARY_NODE = 1024  # beyond every node of a contract: the self-test's
_INT = ctypes.c_int


class Native:
    """The library, armed.

    Args:
        folder: Calls from files below it are TensorFlow's.
        own_node: This node's index.

    Attributes:
        dialled: Rings when TensorFlow dials a node.

    Raises:
        EnvironmentUnfit: The library is missing, is of another source, or does not stand in front.
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
        """Hears of nothing any more; for the end of a process, since the library stays armed."""
        self.dialled.close()

    def hand_over(self, taken: Taken, node: int, incarnation: int, *, to_dial: bool) -> None:
        """Gives a connection to TensorFlow, whose peer was judged in the handshake.

        Args:
            taken: The connection.
            node: Whom it is with: index among the contract's nodes.
            incarnation: Which start of it.
            to_dial: Whether TensorFlow dials with it, or accepts it.

        Raises:
            EnvironmentUnfit: There is no memory for it, or it is one descriptor too many.
        """
        with taken.socket as sock:  # detached, or closed
            if self._library.coterie_hand_over(
                sock.fileno(), node, incarnation, int(to_dial), taken.sending, taken.receiving
            ):
                raise EnvironmentUnfit("the native part cannot take another connection")
            sock.detach()

    def cut(self, node: int, incarnation: int) -> None:
        """Breaks every connection with a node, but not those with one incarnation of it (0: all)."""
        self._library.coterie_cut(node, incarnation)

    def unruly(self, node: int) -> int:
        """How many connections with a node were ended, since this was last asked, as records came without data."""
        return int(self._library.coterie_unruly(node))

    def parked(self, node: int) -> int:
        """How many connections wait for TensorFlow to dial a node."""
        return int(self._library.coterie_count(node, 0))

    def unused(self, node: int) -> int:
        """How many connections TensorFlow was given on which a node has not spoken yet."""
        return int(self._library.coterie_count(node, 1))


def load() -> ctypes.CDLL:
    """Loads the library.

    Raises:
        EnvironmentUnfit: It is missing, or was built of another source.
    """
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise EnvironmentUnfit(
            "the native part of `coterie tensorflow` is not here",
            expected=str(LIBRARY),
            seen=str(error)[:300],
            remedy="run `coterie tensorflow build`; it needs a C compiler and OpenSSL's headers "
            "(Debian: gcc and libssl-dev)",
        ) from error
    functions: dict[str, tuple[object, list[object]]] = {
        "source_digest": (ctypes.c_char_p, []),
        "in_front": (_INT, []),
        "arm": (_INT, [ctypes.c_char_p, _INT, _INT]),
        "hand_over": (
            _INT,
            [_INT, _INT, ctypes.c_uint64, _INT, ctypes.c_char_p, ctypes.c_char_p],
        ),
        "cut": (None, [_INT, ctypes.c_uint64]),
        "count": (_INT, [_INT, _INT]),
        "unruly": (_INT, [_INT]),
    }
    for name, (result, arguments) in functions.items():
        function = getattr(library, f"coterie_{name}")
        function.restype, function.argtypes = result, arguments
    built_of = library.coterie_source_digest().decode()
    if built_of != source_digest():
        raise EnvironmentUnfit(
            "the native part of `coterie tensorflow` was built of another source",
            expected=source_digest(),
            seen=built_of[:64],
            remedy="run `coterie tensorflow build`",
        )
    return library


def not_in_front() -> EnvironmentUnfit:
    """The error of a process in which the native part does not stand in front of libc."""
    return EnvironmentUnfit(
        "TensorFlow's socket calls do not pass through Coterie's native part",
        expected=f"LD_PRELOAD={LIBRARY} at the start of this process",
        seen="a process without it",
        remedy="start nodes with `coterie tensorflow node`; in an enclave let the manifest set "
        "LD_PRELOAD",
    )
