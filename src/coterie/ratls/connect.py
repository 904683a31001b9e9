"""Opens connections to ports that attest, with one error where nobody answers."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from coterie.address import Address
from coterie.errors import PeerUnreachable


@dataclass(frozen=True)
class Destination:
    """Who is dialled.

    Attributes:
        address: Where: an untrusted hint.
        name: Who should answer, for errors.
        expected: What should listen there, for errors.
        remedy: What to do if nobody does.
    """

    address: Address
    name: str
    expected: str = "its attestation port"
    remedy: str = "start that node, or correct its address"

    def connect(self, seconds: float) -> socket.socket:
        """Connects within so many seconds.

        Raises:
            PeerUnreachable: Nobody answers.
        """
        try:
            return socket.create_connection((self.address.host, self.address.port), timeout=seconds)
        except OSError as error:
            raise PeerUnreachable(
                f"{self.name} does not answer at {self.address}",
                expected=self.expected,
                seen=error.strerror or str(error) or type(error).__name__,
                remedy=self.remedy,
            ) from error
