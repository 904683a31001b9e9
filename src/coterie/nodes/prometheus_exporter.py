"""Serves a node's metrics to Prometheus on loopback only; the scraper runs beside the node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from coterie.errors import AddressInUse

LOOPBACK = "127.0.0.1"


@contextmanager
def serving_metrics(registry: CollectorRegistry, port: int) -> Iterator[str]:
    """Answers ``GET /metrics`` while the context is open.

    Args:
        registry: The metrics.
        port: The port; 0 lets the system choose.

    Yields:
        The URL.

    Raises:
        AddressInUse: The port cannot be bound.
    """
    try:
        server, thread = start_http_server(port, addr=LOOPBACK, registry=registry)
    except (OSError, OverflowError) as error:
        raise AddressInUse(
            f"the metrics port {LOOPBACK}:{port} cannot be bound",
            expected="a free port of this machine",
            seen=str(error)[:200],
            remedy="choose another --metrics-port",
        ) from error
    try:
        yield f"http://{LOOPBACK}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
