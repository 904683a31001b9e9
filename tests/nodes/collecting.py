"""An OpenTelemetry collector on this machine: it takes traces by OTLP over http and keeps them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan


@dataclass(frozen=True)
class Collected:
    """A span as the collector has it."""

    node: str
    name: str
    seconds: float
    began: int
    ended: int
    attributes: dict[str, str | int]
    trace: bytes
    span: bytes
    parent: bytes


@dataclass
class Collector:
    """What came, and what is answered.

    Attributes:
        url: Where it listens.
        status: Status of its answers.
        location: Where they send a client.
        paths: Paths and content types of the requests.
        spans: The spans.
        resources: Attributes of their senders.
        octets: All that came.
    """

    url: str = ""
    status: int = 200
    location: str = ""
    paths: set[tuple[str, str]] = field(default_factory=set)
    spans: list[Collected] = field(default_factory=list)
    resources: list[dict[str, str | int]] = field(default_factory=list)
    octets: bytes = b""

    def take(self, octets: bytes) -> None:
        self.octets += octets
        for sent in ExportTraceServiceRequest.FromString(octets).resource_spans:
            resource = _attributes(sent.resource.attributes)
            self.resources.append(resource)
            node = str(resource["service.instance.id"])
            self.spans += [_read(node, one) for part in sent.scope_spans for one in part.spans]

    def named(self, name: str, node: str = "") -> list[Collected]:
        return [one for one in self.spans if one.name == name and node in {"", one.node}]


def _read(node: str, span: WireSpan) -> Collected:
    assert not span.events
    assert not span.links
    assert not span.status.message
    return Collected(
        node,
        span.name,
        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        span.trace_id,
        span.span_id,
        span.parent_span_id,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        assert kind in {"string_value", "int_value"}
        found[pair.key] = getattr(pair.value, kind)
    return found


@contextmanager
def collecting(certificate: Path | None = None) -> Iterator[Collector]:
    """A collector that listens while the context is open; by https if it has key and certificate."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            octets = self.rfile.read(int(self.headers["Content-Length"]))
            collector.paths.add((self.path, self.headers["Content-Type"]))
            if collector.status == 200:
                collector.take(octets)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collector.status)
            if collector.location:
                self.send_header("Location", collector.location)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if certificate is None else "https"
    collector.url = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # polls for its end
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
