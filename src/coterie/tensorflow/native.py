"""The native part as Python sees it: contexts, links, and whether it stands in front of libc at all.

One per process, since the library is. All of its calls release the interpreter's lock, none calls back.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from coterie.errors import EnvironmentUnfit
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.tls import Deadline
from coterie.tensorflow.bell import Bell
from coterie.tensorflow.building import LIBRARY, source_digest

CANARY_NODE = 1024  # beyond every node of a contract: the self-test's
_MAX_CERTIFICATE_BYTES = 1 << 16
_POINTER = ctypes.c_void_p
_INT = ctypes.c_int


class Context:
    """One of this node's certificates with its key, for TLS.

    Args:
        library: The native part.
        identity: Key and certificate.

    Attributes:
        certificate_der: What it shows.
    """

    def __init__(self, library: ctypes.CDLL, identity: NodeIdentity) -> None:
        key = identity.private_key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        self._library = library
        self.certificate_der = identity.certificate_der
        self.pointer: int | None = library.coterie_context(
            identity.certificate_der, len(identity.certificate_der), key, len(key)
        )
        if not self.pointer:
            raise EnvironmentUnfit("OpenSSL does not take this node's key or certificate")

    def __del__(self) -> None:
        # OpenSSL counts references: links under way keep theirs.
        if getattr(self, "pointer", None):
            self._library.SSL_CTX_free(self.pointer)


class Link:
    """A TLS connection, until it is handed over or dropped.

    Args:
        library: The native part.
        pointer: The connection there.
        descriptor: Its socket.
    """

    def __init__(self, library: ctypes.CDLL, pointer: int, descriptor: int) -> None:
        self._library = library
        self._pointer: int | None = pointer
        self.descriptor = descriptor

    def handshake(self, deadline: Deadline) -> bool:
        """Does the handshake; False if it failed or took too long."""
        poll = select.poll()
        while (wants := int(self._library.coterie_step(self._pointer))) > 0:
            poll.register(self.descriptor, wants)
            if not poll.poll(deadline.remaining() * 1000):
                return False
        return wants == 0

    def shown(self) -> bytes:
        """The peer's certificate, DER; empty if it is too large."""
        room = ctypes.create_string_buffer(_MAX_CERTIFICATE_BYTES)
        length = int(self._library.coterie_shown(self._pointer, room, len(room)))
        return room.raw[: max(length, 0)]

    @property
    def is_back(self) -> bool:
        """Whether who dialled this connection is who TensorFlow will dial through it."""
        return bool(self._library.coterie_is_back(self._pointer))

    def hand_over(self, node: int, incarnation: int, *, to_dial: bool) -> None:
        """Gives the connection to TensorFlow.

        Args:
            node: Whom the connection is with: index among the contract's nodes.
            incarnation: Which start of it.
            to_dial: Whether TensorFlow dials with it, or accepts it.
        """
        pointer, self._pointer = self._pointer, None
        self._library.coterie_hand_over(pointer, node, incarnation, int(to_dial))

    def drop(self) -> None:
        """Closes it, unless it was given away."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._library.coterie_drop(pointer)


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
        self.dialled = Bell()
        below = f"{folder.resolve()}{os.sep}".encode()
        if self._library.coterie_arm(below, own_node, self.dialled.rope):
            raise EnvironmentUnfit("the native part is in use by another node of this process")

    def close(self) -> None:
        """Hears of nothing any more; for the end of a process, since the library stays armed."""
        self.dialled.close()

    def context(self, identity: NodeIdentity) -> Context:
        """A context of one of this node's identities."""
        return Context(self._library, identity)

    def open(
        self, sock: socket.socket, context: Context, *, listener: bool, back: bool = False
    ) -> Link:
        """Takes a connected socket over, for a handshake.

        Args:
            sock: The connection; it belongs to the link from now on.
            context: What this side shows.
            listener: Whether the peer dialled.
            back: As the dialler: whether the peer's TensorFlow shall dial through it.
        """
        sock.settimeout(0)
        descriptor = sock.detach()
        pointer = self._library.coterie_open(descriptor, context.pointer, int(listener), int(back))
        if not pointer:
            os.close(descriptor)
            raise EnvironmentUnfit("OpenSSL cannot make another connection")
        return Link(self._library, pointer, descriptor)

    def cut(self, node: int, incarnation: int) -> None:
        """Breaks every connection with a node, but not those with one incarnation of it (0: all)."""
        self._library.coterie_cut(node, incarnation)

    def parked(self, node: int) -> int:
        """How many connections wait for TensorFlow to dial a node."""
        return int(self._library.coterie_count(node, 0))

    def unused(self, node: int) -> int:
        """How many connections TensorFlow was given on which a node has not spoken yet."""
        return int(self._library.coterie_count(node, 1))

    def live(self) -> int:
        """How many descriptors the library looks after."""
        return int(self._library.coterie_count(-1, 0))


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
        "context": (_POINTER, [ctypes.c_char_p, _INT, ctypes.c_char_p, _INT]),
        "open": (_POINTER, [_INT, _POINTER, _INT, _INT]),
        "step": (_INT, [_POINTER]),
        "shown": (_INT, [_POINTER, _POINTER, _INT]),
        "is_back": (_INT, [_POINTER]),
        "hand_over": (None, [_POINTER, _INT, ctypes.c_uint64, _INT]),
        "cut": (None, [_INT, ctypes.c_uint64]),
        "count": (_INT, [_INT, _INT]),
        "drop": (None, [_POINTER]),
    }
    library.SSL_CTX_free.restype, library.SSL_CTX_free.argtypes = None, [_POINTER]
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
