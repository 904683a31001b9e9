"""A node's tokens from a local socket, by the protocol of Confidential Space's TEE server.

That is: POST of ``audience``, ``nonces`` and ``token_type``, answered by the token alone. The service
need not be trusted: whoever gets the token verifies it.

Source: launcher/teeserver of Google's go-tpm-tools.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from coterie.attestation.local_http import LocalHttp
from coterie.attestation.tokens.sources import MAX_TOKEN_BYTES, SEPARATOR
from coterie.contract.token_trust import Service, TokenTrust

SECONDS = 5.0  # half of a handshake's time limit
KEEP_SECONDS = 300.0
# The third is not Confidential Space's: a program of the operator's serves it elsewhere.
_RESOURCES: Mapping[Service, str] = {
    "google": "/v1/token",
    "intel": "/v1/intel/token",
    "azure": "/v1/azure/token",
}


class SocketTokens:
    """Tokens from a local socket. Thread-safe.

    Args:
        demanded: The contract's tables.
        path: The socket.
        monotonic: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        demanded: Sequence[TokenTrust],
        path: Path,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._demanded = demanded
        self._http = LocalHttp.at_socket(path, seconds=SECONDS, most=MAX_TOKEN_BYTES)
        self._monotonic = monotonic
        self._lock = threading.Lock()  # also lets one thread ask for all that wait
        self._kept: tuple[bytes, float, bytes] = (b"", 0.0, b"")

    def tokens(self, report_data: bytes) -> bytes:
        """Asks for tokens, or repeats those of the last minutes for the same report data."""
        with self._lock:
            about, until, kept = self._kept
            if about == report_data and self._monotonic() < until:
                return kept
            found = SEPARATOR.join(self._ask(one, report_data) for one in self._demanded)
            self._kept = (report_data, self._monotonic() + KEEP_SECONDS, found)
            return found

    def _ask(self, demanded: TokenTrust, report_data: bytes) -> bytes:
        question = {
            "audience": demanded.audience,
            "nonces": [report_data[:32].hex()],
            "token_type": "OIDC",
        }
        return self._http.post(_RESOURCES[demanded.service], question).strip()
