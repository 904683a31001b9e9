"""A service of this machine on a unix socket, as a launcher or an agent is: in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer


@dataclass
class LocalService:
    """The service.

    Attributes:
        path: The socket.
        status: Its status.
        body: Its answer, if it always gives one.
        asked: What it was asked for: resources and questions.
    """

    path: Path
    status: int = 200
    body: bytes | None = None
    asked: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def answer(self, question: dict[str, object]) -> bytes:
        """The answer, if it is not always the same."""
        raise NotImplementedError

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serves while the context is open."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                service.asked.append((self.path, question))
                body = service.answer(question) if service.body is None else service.body
                self.send_response(service.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def address_string(self) -> str:
                return "a node"

            def log_message(self, *_: object) -> None:
                pass

        with UnixStreamServer(str(self.path), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()
