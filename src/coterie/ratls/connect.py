"""Opens connections to attestation ports, with one error if there is no answer."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from coterie.address import Address
from coterie.errors import PeerUnreachable


@dataclass(frozen=True)
class Destination:
    """The destination of a connection.

    Attributes:
        address: Its address: an untrusted hint.
        name: Its name, for errors.
        expected: The expected service, for errors.
        remedy: Remedy if there is no answer.
    """

    address: Address
    name: str
    expected: str = "its attestation port"
    remedy: str = "start that node, or correct its address"

    def connect(self, seconds: float) -> socket.socket:
        """Connects within ``seconds``.

        Raises:
            PeerUnreachable: There is no answer.
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
