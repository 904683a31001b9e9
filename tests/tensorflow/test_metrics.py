"""Metrics of a TensorFlow node: what a scrape over HTTP shows of events and inspected calls."""

from __future__ import annotations

import re
import urllib.request

from coterie.contract import Node
from coterie.nodes.prometheus_exporter import serving_metrics
from coterie.runs import events
from coterie.tensorflow.calls.counts import CallCounts
from coterie.tensorflow.metrics import ClusterMetrics
from tests.conftest import REPOSITORY

NODE = Node(name="ps0", role="ps", party="host")
_, _, PAGE = (REPOSITORY / "docs" / "operations.md").read_text().partition("### Metrics of Tensor")


def scraped(metrics: ClusterMetrics) -> dict[str, float]:
    with serving_metrics(metrics.registry, 0) as url, urllib.request.urlopen(url) as reply:
        lines = reply.read().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
        if "_created" not in name
    }


def full() -> ClusterMetrics:
    counts = CallCounts()
    counts.add("worker0", "RunGraph", 100)
    counts.add("worker0", "RunGraph", 50)
    counts.refuse("worker1")
    metrics = ClusterMetrics(NODE, lambda: 2, counts)
    for event in (
        events.Attested("ps0", "worker0", "worker", "acme", "UpToDate", "ab"),
        events.Refused("ps0", "HandshakeFailed", "not TLS", 9),
        events.Refused("ps0", "HandshakeFailed", "not TLS"),
        events.Started("ps0", "ps", "host"),
    ):
        metrics.on_event(event)
    return metrics


def test_events_and_calls_become_figures() -> None:
    assert scraped(full()) == {
        'coterie_node_info{node="ps0",role="ps"}': 1,
        "coterie_attested_peers": 2,
        'coterie_handshakes_total{peer="worker0"}': 1,
        'coterie_refusals_total{error="HandshakeFailed"}': 10,
        'coterie_calls_total{error="",method="RunGraph",peer="worker0",side="server"}': 2,
        'coterie_calls_total{error="CallRefused",method="",peer="worker1",side="server"}': 1,
        'coterie_received_bytes_total{method="RunGraph",peer="worker0",side="server"}': 150,
    }


def test_where_calls_are_not_inspected_none_are_counted() -> None:
    assert set(scraped(ClusterMetrics(NODE, lambda: 0, None))) == {
        'coterie_node_info{node="ps0",role="ps"}',
        "coterie_attested_peers",
    }


def test_the_page_lists_every_metric_and_no_other() -> None:
    names = {re.split("[{ ]", name)[0] for name in scraped(full())}
    assert set(re.findall(r"^\| `(coterie_\w+)` \|", PAGE, re.MULTILINE)) == names
