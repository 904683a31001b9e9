"""Records of connections that last: their keys are updated (RFC 8446, 4.6.3 and 7.2)."""

from __future__ import annotations

from typing_extensions import override

from coterie.ratls.record_protection import MOST_RECORDS, Opening, Sealing, expand, refused

_HANDSHAKE = 22
_HEAD = bytes([24, 0, 0, 1])  # of a KeyUpdate; then whether it asks the other side for one
# Updates that the other side may send: some, and more with its data (decision 34).
_UPDATES, _DATA_RECORDS_PER_UPDATE = 16, 4096


def _next(secret: bytes) -> bytes:
    return expand(secret, b"traffic upd", 32)


class LastingSealing(Sealing):
    """Makes records, of which some update the keys.

    Args:
        secret: The first traffic secret for sending, 32 bytes.
    """

    @override
    def _use(self, secret: bytes) -> None:
        super()._use(secret)
        self._secret = secret

    @property
    def is_due(self) -> bool:
        """Whether the keys should be updated: half of the records that they protect are made."""
        return self.records > MOST_RECORDS // 2

    def update(self, *, asking: bool = False) -> bytes:
        """A record that updates the keys of this direction.

        Args:
            asking: Whether the other side shall update its keys, too.
        """
        record = self._record(_HEAD + bytes([asking]), _HANDSHAKE)
        self._use(_next(self._secret))
        return record


class LastingOpening(Opening):
    """Opens records, of which some update the keys.

    Args:
        secret: The other side's first traffic secret, 32 bytes.

    Attributes:
        asked: Whether the other side has asked for an update; the owner sets it back.
    """

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self._left = _UPDATES * _DATA_RECORDS_PER_UPDATE
        self.asked = False

    @override
    def _use(self, secret: bytes) -> None:
        super()._use(secret)
        self._secret = secret

    def open_or_update(self, record: memoryview, inner: memoryview) -> int | None:
        """As `open`; None for a record that updated the keys.

        Raises:
            MessageRefused: As for `open`; or there are too many updates for so little data.
        """
        kind = self._opened(record, inner)
        if kind != _HANDSHAKE:
            self._left += 1
            return self._judged(kind, inner)
        if inner[:-2] != _HEAD or inner[-2] > 1:
            raise refused("a message of a handshake")
        if self._left < _DATA_RECORDS_PER_UPDATE:
            raise refused("more updates of keys than data")
        self._left -= _DATA_RECORDS_PER_UPDATE
        self.asked = self.asked or bool(inner[-2])
        self._use(_next(self._secret))
        return None
