"""Serves a node's metrics to Prometheus: on loopback, unless the host says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from coterie.errors import AddressInUse
from coterie.nodes.options import LOOPBACK


@contextmanager
def serving_metrics(registry: CollectorRegistry, port: int, host: str = LOOPBACK) -> Iterator[str]:
    """Answers ``GET /metrics`` while the context is open.

    Args:
        registry: The metrics.
        port: The port; 0 lets the system choose.
        host: The address.

    Yields:
        The URL.

    Raises:
        AddressInUse: The port cannot be bound.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except (OSError, OverflowError) as error:
        raise AddressInUse(
            f"the metrics port {host}:{port} cannot be bound",
            expected="a free port at an address of this machine",
            seen=str(error)[:200],
            remedy="choose another --metrics-port or --metrics-host",
        ) from error
    try:
        yield f"http://{host}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
