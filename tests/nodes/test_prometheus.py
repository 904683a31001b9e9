"""Metrics: what a scrape over HTTP shows of events and calls."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request

import pytest

from coterie.address import Address
from coterie.contract import Node
from coterie.errors import AddressInUse
from coterie.nodes.prometheus import NodeMetrics
from coterie.nodes.prometheus_exporter import serving_metrics
from coterie.ps.call_metrics import CallRecord, CallWork
from coterie.runs import events
from tests.conftest import REPOSITORY

PAGE, _, _ = (REPOSITORY / "docs" / "operations.md").read_text().partition("### Metrics of Tensor")


def node() -> Node:
    return Node(name="ps0", role="ps", party="acme", address=Address("ps0.example", 7443))


def scraped(metrics: NodeMetrics) -> dict[str, float]:
    with serving_metrics(metrics.registry, 0) as url, urllib.request.urlopen(url) as reply:
        lines = reply.read().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_events_become_figures() -> None:
    metrics = NodeMetrics(node())
    for event in (
        events.Joined("w0", ("w1",)),
        events.Attested("ps0", "w0", "worker", "bolt", "UpToDate", "ab"),
        events.Refused("ps0", "EvidenceRefused", "debug"),
        events.Refused("ps0", "EvidenceRefused", "debug", 9),
        events.StepDone(1, 8, 100, 0.5, 1.5, 0.25, 1, 100),
        events.StepDone(2, 8, 60, None, 2.5),
        events.CheckpointWritten(2, "00"),
        events.LeftOut("w1", 2),
        events.Returned("w1", 3),
        events.Restarted("ps0", 1),
        events.Started("ps0", "ps", "acme"),
    ):
        metrics.on_event(event)

    found = scraped(metrics)

    assert found['coterie_node_info{node="ps0",role="ps"}'] == 1
    assert found["coterie_step"] == 1, "the restart took it back"
    assert found["coterie_steps_planned"] == 8
    assert found["coterie_examples_total"] == 160
    assert found["coterie_train_loss"] == 0.5
    assert found["coterie_checkpoint_step"] == 2
    assert found["coterie_restarts_total"] == 1
    assert found['coterie_joined_total{peer="w0"}'] == 1
    assert found['coterie_left_out_total{peer="w1"}'] == 1
    assert found['coterie_returned_total{peer="w1"}'] == 1
    assert found['coterie_handshakes_total{peer="w0"}'] == 1
    assert found['coterie_refusals_total{error="EvidenceRefused"}'] == 10


def test_a_run_that_resumes_stands_where_its_checkpoint_does() -> None:
    metrics = NodeMetrics(node())
    metrics.on_event(events.Resumed(40, "00"))
    found = scraped(metrics)
    assert (found["coterie_step"], found["coterie_checkpoint_step"]) == (40, 40)


def test_calls_become_figures() -> None:
    metrics = NodeMetrics(node())
    for waited in (0.004, 0.4):
        work = CallWork(pushed_rows=7, pulled_rows=9, waited_seconds=waited)
        metrics.observe(CallRecord("server", "Exchange", "w0", 100, 50, 0.5, "", work))
    metrics.observe(CallRecord("server", "Join", "w1", 10, 0, 0.1, "StepRefused", None))

    found = scraped(metrics)

    exchange = '{method="Exchange",peer="w0",side="server"}'
    assert found[f"coterie_received_bytes_total{exchange}"] == 200
    assert found[f"coterie_sent_bytes_total{exchange}"] == 100
    assert found[f"coterie_call_seconds_count{exchange}"] == 2
    assert found[f"coterie_call_seconds_sum{exchange}"] == 1
    assert found['coterie_pushed_rows_total{side="server"}'] == 14
    assert found['coterie_pulled_rows_total{side="server"}'] == 18
    assert found['coterie_barrier_wait_seconds_bucket{le="0.005",peer="w0",side="server"}'] == 1
    assert found['coterie_barrier_wait_seconds_bucket{le="+Inf",peer="w0",side="server"}'] == 2
    failed = '{error="StepRefused",method="Join",peer="w1",side="server"}'
    assert found[f"coterie_calls_total{failed}"] == 1


def test_two_nodes_of_one_process_do_not_mix() -> None:
    one, other = NodeMetrics(node()), NodeMetrics(node())
    one.on_event(events.StepDone(3, 8, 1, 0.0, 0.0))
    assert scraped(other)["coterie_step"] == 0


def test_only_this_machine_may_scrape() -> None:
    with serving_metrics(NodeMetrics(node()).registry, 0) as url:
        port = int(url.rpartition(":")[2].removesuffix("/metrics"))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port))  # listens on one address alone
        with urllib.request.urlopen(url) as reply:
            assert reply.status == 200
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)


def test_other_machines_may_scrape_where_the_host_says_so() -> None:
    with serving_metrics(NodeMetrics(node()).registry, 0, "127.0.0.2") as url:
        assert url.startswith("http://127.0.0.2:")
        with urllib.request.urlopen(url) as reply:
            assert reply.status == 200


def test_an_address_that_is_not_this_machines_is_named() -> None:
    with (
        pytest.raises(AddressInUse, match=r"the metrics port 192\.0\.2\.1:1 cannot be bound"),
        serving_metrics(NodeMetrics(node()).registry, 1, "192.0.2.1"),
    ):
        pass


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(AddressInUse) as refused,
            serving_metrics(NodeMetrics(node()).registry, port),
        ):
            pass
    assert refused.value.what == f"the metrics port 127.0.0.1:{port} cannot be bound"
    assert refused.value.remedy == "choose another --metrics-port or --metrics-host"


def test_the_operations_page_lists_every_metric_and_no_other() -> None:
    metrics = NodeMetrics(node())
    collected = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in metrics.registry.collect()
    }
    assert set(re.findall(r"^\| `(coterie_\w+)` \|", PAGE, re.MULTILINE)) == collected


def test_the_page_names_every_metric_with_its_labels() -> None:
    metrics = NodeMetrics(node())
    called = CallRecord("server", "Exchange", "w0", 1, 1, 0.1, "", CallWork(1, 1, 0.1))
    metrics.observe(called)
    for event in (
        events.Refused("ps0", "X", "y", 1), events.LeftOut("w0", 1), events.Returned("w0", 1),
        events.Joined("w0", ()), events.Attested("ps0", "w0", "worker", "a", "UpToDate", "ab"),
    ):  # fmt: skip
        metrics.on_event(event)
    found: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            name = sample.name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
            if not name.endswith("_created"):
                found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    rows = re.findall(r"^\| `(coterie_\w+)` \| \w+ \|([^|]*)\|", PAGE, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == found
