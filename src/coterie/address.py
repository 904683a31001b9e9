"""Network addresses: untrusted hints of the form HOST:PORT or [IPv6]:PORT."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator

from coterie.errors import ContractInvalid

_LAST_PORT = 65_535
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")


@dataclass(frozen=True)
class Address:
    """An address to connect to or listen at.

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
            ContractInvalid: The text is not such an address.
        """
        host, _, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        digits = port.isascii() and port.isdigit() and len(port) <= 5
        if not (_is_host(host) and digits and int(port) <= _LAST_PORT):
            raise ContractInvalid(
                f"{text[:100]!r} is not an address",
                expected="HOST:PORT, a name or a number and nothing before or behind it",
                seen=text[:100],
                remedy="for example 10.0.0.7:7440 or [::1]:7440; no http://",
            )
        return cls(host, int(port))

    def following(self) -> Address:
        """The address of a node's second port: the next port, or again 0.

        Raises:
            ContractInvalid: The port is the last one.
        """
        if self.port == _LAST_PORT:
            raise ContractInvalid(
                f"a node cannot listen at {self}",
                expected=f"a port up to {_LAST_PORT - 1}: the one after it is used, too",
                seen=str(self.port),
                remedy="choose another port",
            )
        return Address(self.host, self.port + 1 if self.port else 0)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _validated(value: object) -> Address:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError("HOST:PORT is text")  # noqa: TRY004  pydantic's own error is a ValueError
    try:
        return Address.parse(value)
    except ContractInvalid as error:
        raise ValueError(f"{error.what}: {error.remedy}") from error


AddressText = Annotated[Address, PlainValidator(_validated), PlainSerializer(str, return_type=str)]
"""An address in a pydantic model, which is serialized as text."""


def _is_host(text: str) -> bool:
    """Whether it is a name (RFC 1123, or with underscores) or a numeric address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _NAME.fullmatch(text) is not None
    return True
