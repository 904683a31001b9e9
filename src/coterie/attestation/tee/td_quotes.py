"""Azure's local service that makes TD quotes of TDREPORTs, which a guest above a paravisor cannot itself.

The service is the host's and is not trusted: whoever gets the quote verifies it. It is asked over plain
http on an address of this machine's own link, never by name, and its answer is bounded. Which address
that is, the operator says.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import time
import urllib.parse
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Protocol

from coterie.attestation.quote import MAX_QUOTE_BYTES
from coterie.errors import EnvironmentUnfit

TIMEOUT_SECONDS = 20.0
MAX_ANSWER_BYTES = 2 * MAX_QUOTE_BYTES
_OK = 200


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
        self._host, self._port, self._path = _parts(url)
        self._seconds = seconds

    def quote(self, td_report: bytes) -> bytes:
        """Asks for the quote of a TDREPORT; raises as the protocol says."""
        text = base64.urlsafe_b64encode(td_report).rstrip(b"=").decode()
        connection = HTTPConnection(self._host, self._port, timeout=self._seconds)
        try:
            connection.request(
                "POST",
                self._path,
                json.dumps({"report": text}),
                {"Content-Type": "application/json"},
            )
            with connection.getresponse() as response:
                body = self._read(response)
        except (OSError, HTTPException) as error:
            raise _unavailable(f"{type(error).__name__}: {error}"[:200]) from error
        finally:
            connection.close()
        return _quote_in(body)

    def _read(self, response: HTTPResponse) -> bytes:
        """Reads a body up to one byte more than the bound; gives up on a slow service."""
        if response.status != _OK:
            raise _unavailable(f"HTTP status {response.status}")
        deadline, body = time.monotonic() + self._seconds, b""
        while len(body) <= MAX_ANSWER_BYTES and (
            piece := response.read1(MAX_ANSWER_BYTES + 1 - len(body))
        ):
            body += piece
            if time.monotonic() > deadline:
                raise _unavailable(f"no whole answer within {self._seconds:.0f} s")
        return body


def _quote_in(body: bytes) -> bytes:
    if len(body) > MAX_ANSWER_BYTES:
        raise _unavailable(f"more than {MAX_ANSWER_BYTES} bytes")
    try:
        said = json.loads(body)
        text = said["quote"].encode("ascii").rstrip(b"=")
        return base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unavailable(f"no quote: {error!r}"[:200]) from error


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


def _unavailable(seen: str) -> EnvironmentUnfit:
    return EnvironmentUnfit(
        "the platform's service gave no TD quote",
        expected='HTTP status 200 and JSON with "quote", base64url',
        seen=seen,
        remedy="check --td-quote-url, and that this guest is a TDX machine of Azure",
    )
