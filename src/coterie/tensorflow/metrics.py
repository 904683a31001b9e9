"""Metrics of a TensorFlow cluster's node; ``docs/operations.md`` describes each.

TensorFlow's own servers tell no steps and no losses, so there are no metrics of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

from coterie.contract import Node
from coterie.runs import events
from coterie.tensorflow.calls.counts import CallCounts


class ClusterMetrics:
    """Metrics of one node's process.

    Args:
        node: The node; its name and role are in ``coterie_node_info``.
        attested: Number of nodes that are attested at present.
        counts: Numbers of inspected calls; None if they are not inspected.

    Attributes:
        registry: Holds the metrics of this process, and no others.
    """

    def __init__(self, node: Node, attested: Callable[[], int], counts: CallCounts | None) -> None:
        self.registry = registry = CollectorRegistry()
        info = Gauge("coterie_node_info", "Which node this is", ["node", "role"], registry=registry)
        info.labels(node.name, node.role).set(1)
        Gauge(
            "coterie_attested_peers", "Nodes that are attested at present", registry=registry
        ).set_function(attested)
        self._handshakes = Counter(
            "coterie_handshakes", "Peers that proved themselves", ["peer"], registry=registry
        )
        self._refused = Counter(
            "coterie_refusals", "Peers or calls that were refused", ["error"], registry=registry
        )
        if counts is not None:
            registry.register(_Calls(counts))

    def on_event(self, event: events.Event) -> None:
        """Counts an event."""
        match event:
            case events.Attested(peer=peer):
                self._handshakes.labels(peer).inc()
            case events.Refused(error=error, count=count):
                self._refused.labels(error).inc(count)
            case _:
                pass


class _Calls(Collector):
    """Reads the counts of calls when they are asked for, so that counting stays cheap."""

    def __init__(self, counts: CallCounts) -> None:
        self._counts = counts

    @override
    def collect(self) -> Iterator[CounterMetricFamily]:
        call = ("side", "method", "peer")
        calls = CounterMetricFamily(
            "coterie_calls", "Calls that were inspected", labels=(*call, "error")
        )
        received = CounterMetricFamily(
            "coterie_received_bytes", "Bytes of messages that came", labels=call
        )
        for (peer, method), passed in sorted(self._counts.passed().items()):
            calls.add_metric(("server", method, peer, ""), passed.calls)
            received.add_metric(("server", method, peer), passed.octets)
        for peer, refused in sorted(self._counts.refused().items()):
            # The method of a refused call is whatever its sender has made up.
            calls.add_metric(("server", "", peer, "CallRefused"), refused)
        yield calls
        yield received
