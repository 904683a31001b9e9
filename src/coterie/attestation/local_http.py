"""Questions over plain http to a service of this very machine, by its unix socket or a near address.

Such a service is not trusted, and nothing secret is sent to it. Answers are bounded, in bytes and in time.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from coterie.errors import EnvironmentUnfit

_OK = 200


class LocalHttp:
    """A service of this machine.

    Args:
        place: Its socket or address, for people.
        connect: Makes a connection to it with a time limit in seconds, which is not open yet.
        remedy: What to do if it gives no answer.
        seconds: Time for one answer.
        most: Longest answer in bytes.
    """

    def __init__(
        self,
        place: str,
        connect: Callable[[float], HTTPConnection],
        *,
        remedy: str = "check the socket's path, and that this machine has such a service",
        seconds: float,
        most: int,
    ) -> None:
        self._place = place
        self._connect = connect
        self._remedy = remedy
        self._seconds = seconds
        self._most = most

    @classmethod
    def at_socket(cls, path: Path, *, seconds: float, most: int) -> LocalHttp:
        """The service behind a unix socket."""
        return cls(
            str(path), lambda limit: _UnixConnection(path, limit), seconds=seconds, most=most
        )

    def post(self, resource: str, question: Mapping[str, object]) -> bytes:
        """Posts a question in JSON.

        Args:
            resource: The resource's path.
            question: The question.

        Raises:
            EnvironmentUnfit: There is no such service, or it has no answer within the bounds.
        """
        deadline = time.monotonic() + self._seconds
        connection = self._connect(self._seconds)
        try:
            connection.request(
                "POST", resource, json.dumps(question), {"Content-Type": "application/json"}
            )
            with connection.getresponse() as response:
                if response.status != _OK:
                    raise self._unfit(resource, f"HTTP status {response.status}")
                body = b""
                while len(body) <= self._most and (
                    piece := response.read1(self._most + 1 - len(body))
                ):
                    body += piece
                    if time.monotonic() > deadline:
                        raise self._unfit(resource, f"no whole answer in {self._seconds:g} s")
        except (OSError, HTTPException) as error:
            raise self._unfit(resource, f"{type(error).__name__}: {error}"[:200]) from error
        finally:
            connection.close()
        if len(body) > self._most:
            raise self._unfit(resource, f"more than {self._most} bytes")
        return body

    def _unfit(self, resource: str, seen: str) -> EnvironmentUnfit:
        return EnvironmentUnfit(
            f"the local service {self._place} gives no answer to {resource}",
            expected=f"HTTP status 200 and at most {self._most} bytes",
            seen=seen,
            remedy=self._remedy,
        )


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._socket_path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._socket_path))
