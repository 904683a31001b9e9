"""A data connection whose peer has said everything already."""

from __future__ import annotations

from collections.abc import Sequence

from coterie.errors import PeerUnreachable
from coterie.ratls.deadline import Deadline


class ScriptedStream:
    """A ``Stream`` in memory.

    Args:
        octets: What the peer sends; then it is gone.

    Attributes:
        sent: What was sent to it.
    """

    def __init__(self, octets: bytes) -> None:
        self._left = memoryview(octets)
        self.sent = b""

    def wait(self) -> bool:
        """Whether something is left."""
        return bool(self._left)

    def receive_into(self, target: memoryview, _: Deadline) -> None:
        """Fills ``target``.

        Raises:
            PeerUnreachable: Less is left.
        """
        if len(target) > len(self._left):
            raise PeerUnreachable("the peer is gone")
        target[:], self._left = self._left[: len(target)], self._left[len(target) :]

    def send(self, parts: Sequence[bytes | memoryview], _: Deadline) -> None:
        """Keeps the parts."""
        self.sent += b"".join(parts)

    def close(self) -> None:
        """Does nothing."""

    def abort(self) -> None:
        """Does nothing."""
