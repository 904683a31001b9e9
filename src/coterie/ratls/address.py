"""Network addresses: untrusted hints of the form HOST:PORT or [IPv6]:PORT."""

from __future__ import annotations

from dataclasses import dataclass

from coterie.errors import ContractInvalid


@dataclass(frozen=True)
class Address:
    """Where to dial or listen.

    Attributes:
        host: Name or numeric address, without brackets.
        port: TCP port; 0 lets the system choose one, for listeners.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parses ``HOST:PORT``.

        Raises:
            ContractInvalid: The text is no such address.
        """
        host, colon, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        digits = port.isascii() and port.isdigit() and len(port) <= 5
        if not (host and colon and digits and int(port) < 65_536):
            raise ContractInvalid(
                f"{text[:100]!r} is not an address",
                expected="HOST:PORT",
                seen=text[:100],
                remedy="for example 10.0.0.7:7440 or [::1]:7440",
            )
        return cls(host, int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
