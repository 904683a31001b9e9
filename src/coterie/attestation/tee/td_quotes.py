"""Azure's local service that makes TD quotes of TDREPORTs, which a guest above a paravisor cannot itself.

The service is the host's and is not trusted: whoever gets the quote verifies it. It is asked over plain
http on an address of this machine's own link, never by name, and its answer is bounded. Which address
that is, the operator says.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import urllib.parse
from http.client import HTTPConnection
from typing import Protocol

from coterie.attestation.local_http import LocalHttp
from coterie.attestation.quote import MAX_QUOTE_BYTES
from coterie.errors import EnvironmentUnfit

TIMEOUT_SECONDS = 20.0
MAX_ANSWER_BYTES = 2 * MAX_QUOTE_BYTES
_REMEDY = "check --td-quote-url, and that this guest is a TDX machine of Azure"


class TdQuotes(Protocol):
    """Makes TD quotes."""

    def quote(self, td_report: bytes) -> bytes:
        """The quote of a TDREPORT (1,024 bytes).

        Raises:
            EnvironmentUnfit: It cannot be had.
        """
        ...


class TdQuoteService:
    """The service at an address.

    Args:
        url: ``http://ADDRESS[:PORT]/PATH``; a link-local or loopback IP address.
        seconds: Time for one answer.

    Raises:
        EnvironmentUnfit: It is another kind of address.
    """

    def __init__(self, url: str, *, seconds: float = TIMEOUT_SECONDS) -> None:
        host, port, self._resource = _parts(url)
        self._http = LocalHttp(
            url,
            lambda limit: HTTPConnection(host, port, timeout=limit),
            remedy=_REMEDY,
            seconds=seconds,
            most=MAX_ANSWER_BYTES,
        )

    def quote(self, td_report: bytes) -> bytes:
        """Asks for the quote of a TDREPORT; raises as the protocol says."""
        text = base64.urlsafe_b64encode(td_report).rstrip(b"=").decode()
        return _quote_in(self._http.post(self._resource, {"report": text}))


def _quote_in(body: bytes) -> bytes:
    try:
        said = json.loads(body)
        text = said["quote"].encode("ascii").rstrip(b"=")
        return base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EnvironmentUnfit(
            "the platform's service gave no TD quote",
            expected='JSON with "quote", base64url',
            seen=f"no quote: {error!r}"[:200],
            remedy=_REMEDY,
        ) from error


def _parts(url: str) -> tuple[str, int, str]:
    try:
        parts = urllib.parse.urlsplit(url)
        host = ipaddress.ip_address(parts.hostname or "")
        port = parts.port
        plain = parts.scheme == "http" and not (parts.query or parts.fragment or parts.username)
        near = host.is_link_local or host.is_loopback
    except ValueError:  # a name, unclosed brackets, or an invalid port
        plain = near = False
    if not plain or not near:
        raise EnvironmentUnfit(
            "the address of the platform's service for TD quotes is not usable",
            expected="http://ADDRESS[:PORT]/PATH with a link-local or loopback IP address",
            seen=url[:200],
            remedy="give the address that the cloud documents for its guests (docs/platforms/azure.md)",
        )
    return str(host), 80 if port is None else port, parts.path or "/"
