"""Traces: who may send them, what is in them, and that nothing else depends on them."""

from __future__ import annotations

import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from coterie.contract import Contract, contract_digest, parse_contract
from coterie.errors import ContractInvalid, EnvironmentUnfit
from coterie.nodes.otlp import (
    MOST_STRANGERS,
    MOST_WAITING,
    NodeTraces,
    Sending,
    attributes_of,
    collected,
)
from coterie.nodes.traces import check_traces, sending_traces
from coterie.runs.events import StepDone
from coterie.spans import Span, Work
from tests.conftest import REPOSITORY
from tests.loopback_certificate import write_certificate
from tests.nodes.collecting import Collector, collecting

ALL = Span(
    "handshake",
    0.5,
    step=7,
    peer="acme-worker",
    role="worker",
    kind="sgx",
    error="EvidenceRefused",
    failed_check="tcb_status",
)


def agreed(*, traces: bool = True) -> Contract:
    text = (REPOSITORY / "examples" / "hfl.toml").read_text()
    assert text.count("[results]\n") == 1
    return parse_contract(
        text.replace("[results]\n", "[results]\n" + "traces = true\n" * traces).encode(), "hfl"
    )


def refuse(_: str) -> None:
    raise AssertionError("no span was to be lost")


# Who may send them


def test_a_contract_has_to_allow_them() -> None:
    with pytest.raises(ContractInvalid) as refused:
        check_traces(agreed(traces=False), "https://collector.example")
    assert refused.value.what == "--traces-to has no meaning under this contract"
    assert refused.value.seen == "a contract without it"
    check_traces(agreed(), "https://collector.example")


@pytest.mark.parametrize(
    "url",
    [
        "https://collector.example",
        "https://collector.example:4318/",
        "https://[2001:db8::1]:4318/otel",
        "http://127.0.0.1:4318",
        "http://127.8.8.8:4318",
        "http://[::1]:4318",
        "http://localhost:4318",
    ],
)
def test_addresses_that_nobody_can_listen_to_are_taken(url: str) -> None:
    check_traces(agreed(), url)


@pytest.mark.parametrize(
    "url",
    [
        "http://collector.example:4318",
        "http://192.0.2.1:4318",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "https://user:password@collector.example",
        "https://collector.example/?token=1",
        "https://collector.example:port",
        "https://",
        "https://[::1",
        "collector.example:4318",
        "grpc://collector.example",
        "file:///tmp/traces",
        "",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ContractInvalid) as refused:
        check_traces(agreed(), url)
    assert refused.value.what == "the address for traces is not usable"
    assert refused.value.seen == url


def test_without_the_optional_packages_it_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "coterie.nodes.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    contract = agreed()
    with (
        pytest.raises(EnvironmentUnfit) as refused,
        sending_traces(contract, contract.nodes[0], "https://collector.example"),
    ):
        pass
    assert refused.value.remedy == "pip install 'coterie[traces]', or leave out --traces-to"


def test_a_variable_that_opentelemetry_does_not_take_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    contract = agreed()
    with (
        pytest.raises(EnvironmentUnfit) as refused,
        sending_traces(contract, contract.nodes[0], "http://127.0.0.1:4318"),
    ):
        pass
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" in refused.value.seen
    assert refused.value.expected == "variables OTEL_... whose values it takes"
    assert refused.value.remedy == "correct the variable, or leave out --traces-to"


@pytest.mark.system
def test_a_node_without_traces_loads_nothing_for_them() -> None:
    code = (
        "import sys, coterie.nodes.starting, coterie.nodes.server_node, coterie.nodes.traces;"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# What is in them


def sent(*spans: Span) -> Collector:
    contract = agreed()
    with (
        collecting() as collector,
        collected(contract, contract.nodes[0], collector.url, lost=refuse) as traces,
    ):
        for span in spans:
            traces(span)
    return collector


def test_a_span_arrives_with_its_times_and_attributes() -> None:
    collector = sent(ALL)
    (span,) = collector.spans
    assert (span.name, span.seconds, span.parent) == ("handshake", 0.5, b"")
    assert span.attributes == {
        "coterie.step": 7,
        "coterie.peer": "acme-worker",
        "coterie.peer.role": "worker",
        "coterie.peer.tee": "sgx",
        "error.type": "EvidenceRefused",
        "coterie.failed_check": "tcb_status",
    }
    assert collector.paths == {("/v1/traces", "application/x-protobuf")}


def test_what_is_not_set_is_not_sent() -> None:
    (span,) = sent(Span("read", 0.25)).spans
    assert (span.seconds, span.attributes) == (0.25, {})


@pytest.mark.parametrize("work", get_args(Work))
def test_every_kind_of_work_has_its_name(work: Work) -> None:
    assert [span.name for span in sent(Span(work, 0.0)).spans] == [work]


def test_the_parts_of_a_step_follow_each_other_inside_of_it() -> None:
    parts: tuple[tuple[Work, float], ...] = (("compute", 0.5), ("prepare", 0.0), ("exchange", 1.5))
    collector = sent(Span("step", 2.0, 3, parts=parts))
    (step,) = collector.named("step")
    compute, prepare, exchange = (collector.named(work)[0] for work, _ in parts)
    assert [one.seconds for one in (compute, prepare, exchange)] == [0.5, 0.0, 1.5]
    assert (step.began, compute.ended, prepare.ended) == (
        compute.began,
        prepare.began,
        exchange.began,
    )
    assert exchange.ended == step.ended
    for part in (compute, prepare, exchange):
        assert (part.trace, part.parent, part.attributes) == (step.trace, step.span, {})


def test_spans_that_do_not_belong_together_are_traces_of_their_own() -> None:
    spans = sent(*(Span("read", 0.0) for _ in range(5))).spans
    assert len({span.trace for span in spans}) == len({span.span for span in spans}) == 5


def test_a_sender_is_its_node_and_says_nothing_of_its_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "host.name=secret-host")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "other")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    collector = sent(ALL)
    contract = agreed()
    (resource,) = collector.resources
    assert resource.pop("service.version")
    assert resource == {
        "service.name": "coterie",
        "service.instance.id": contract.nodes[0].name,
        "coterie.role": contract.nodes[0].role,
        "coterie.contract": contract_digest(contract).hex(),
    }
    assert socket.gethostname().encode() not in collector.octets


def test_a_span_has_no_field_for_anything_else() -> None:
    """Whoever adds one reads here that it leaves the TEE, and describes it in docs/operations.md."""
    assert {field.name: field.type for field in fields(Span)} == {
        "work": "Work",
        "seconds": "float",
        "step": "int | None",
        "peer": "str",
        "role": "Role | None",
        "kind": "TeeKind | None",
        "error": "str",
        "failed_check": "str",
        "parts": "tuple[tuple[Work, float], ...]",
    }
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    for name in (*get_args(Work), *attributes_of(ALL)):
        assert f"`{name}`" in page


@pytest.mark.parametrize("check", ["Tcb", "a b", "a" * 65, "tcb_status\n", "é"])
def test_a_check_with_a_name_of_another_form_is_not_named(check: str) -> None:
    assert attributes_of(Span("handshake", 0.0, failed_check=check)) == {}


def test_the_servers_steps_come_from_its_events() -> None:
    contract = agreed()
    with (
        collecting() as collector,
        collected(contract, contract.nodes[0], collector.url, lost=refuse) as traces,
    ):
        for step, seconds in ((1, 0.5), (2, 2.0), (1, 9.0), (2, 9.25), (7, 30.0)):
            traces.on_event(StepDone(step, 9, 64, 0.7, seconds))
    steps = [(span.attributes["coterie.step"], span.seconds) for span in collector.spans]
    # Not those after which the server began again, or went on from a checkpoint.
    assert steps == [(1, 0.5), (2, 1.5), (2, 0.25)]


# That nothing else depends on them


class Fake:
    """A clock."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_strangers_cannot_fill_the_queue() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, clock = InMemorySpanExporter(), Fake()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    traces = NodeTraces(provider.get_tracer("test"), monotonic=clock)
    for _ in range(100):
        traces(Span("handshake", 0.0, error="HandshakeFailed"))
    assert len(kept.get_finished_spans()) == MOST_STRANGERS
    traces(Span("handshake", 0.0, peer="ps0", error="HandshakeFailed"))  # dialled by this node
    assert len(kept.get_finished_spans()) == MOST_STRANGERS + 1
    clock.now += 60
    traces(Span("handshake", 0.0, error="HandshakeFailed"))
    assert len(kept.get_finished_spans()) == MOST_STRANGERS + 2


def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


@pytest.mark.long
def test_a_collector_that_is_down_is_told_once() -> None:
    url, told, contract = unused_url(), list[str](), agreed()
    with collected(
        contract, contract.nodes[0], url, lost=told.append, delay_seconds=0.01
    ) as traces:
        for _ in range(3 * MOST_WAITING):
            traces(Span("read", 0.0))
    assert told == [f"traces are lost: {url} does not take them"]


@pytest.mark.parametrize("status", [400, 500])
def test_a_collector_that_refuses_is_told_once(status: int) -> None:
    told, contract = list[str](), agreed()
    with collecting() as collector:
        collector.status = status
        with collected(contract, contract.nodes[0], collector.url, lost=told.append) as traces:
            traces(ALL)
    assert len(told) == 1


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_collector_cannot_send_traces_elsewhere(status: int) -> None:
    contract = agreed()
    with collecting() as elsewhere, collecting() as collector:
        collector.status, collector.location = status, f"{elsewhere.url}/v1/traces"
        with collected(contract, contract.nodes[0], collector.url) as traces:
            traces(ALL)
    assert len(collector.paths) == 1
    assert elsewhere.paths == set()


def test_a_collector_proves_itself_by_its_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract, told = agreed(), list[str]()
    whole, alone = write_certificate(tmp_path)
    with collecting(whole) as collector:
        with collected(contract, contract.nodes[0], collector.url, lost=told.append) as traces:
            traces(ALL)
        assert (len(told), collector.spans) == (1, [])
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(alone))
        with collected(contract, contract.nodes[0], collector.url, lost=refuse) as traces:
            traces(ALL)
        assert len(collector.spans) == 1


class Stuck(SpanExporter):
    """Sends nothing until it is let go."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()
        self.batches = 0

    def export(self, _spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.batches += 1
        self.began.set()
        self.go.wait()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.go.set()


def test_spans_are_dropped_and_not_waited_for_while_the_collector_hangs() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    stuck = Stuck()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(stuck, max_queue_size=8, max_export_batch_size=4)
    )
    traces = NodeTraces(provider.get_tracer("test"))
    traces(ALL)
    for _ in range(100):  # would never end if one of them waited
        traces(Span("read", 0.0))
    assert stuck.began.wait(30)
    stuck.go.set()
    provider.shutdown()
    assert stuck.batches <= 4


def test_after_the_end_what_waits_is_lost_at_once() -> None:
    clock, told = Fake(), list[str]()
    stuck = Stuck()
    stuck.go.set()
    sending = Sending(stuck, lambda: told.append("lost"), clock)
    assert sending.export([]) is SpanExportResult.SUCCESS
    sending.end_within(5.0)
    clock.now += 4.9
    assert sending.export([]) is SpanExportResult.SUCCESS
    clock.now += 0.2
    assert [sending.export([]) for _ in range(3)] == [SpanExportResult.FAILURE] * 3
    assert (stuck.batches, told) == (2, ["lost"])


@contextmanager
def dripping(head: bytes) -> Iterator[tuple[str, threading.Event]]:
    """A collector that begins an answer and goes on with a byte at a time, until the context ends.

    Yields its address, and what it sets when it has given up.
    """
    over, gave_up = threading.Event(), threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            with suppress(OSError):
                self.request.sendall(head)
                for _ in range(60):
                    if over.wait(0.05):
                        return
                    self.request.sendall(b"x")
            gave_up.set()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", gave_up
        finally:
            over.set()
            server.shutdown()
            thread.join()


def test_a_collector_that_never_ends_its_answer_does_not_hold_up_a_nodes_end() -> None:
    contract = agreed()
    with dripping(b"HTTP/1.1 200 OK\r\nA: ") as (url, gave_up):
        with collected(contract, contract.nodes[0], url, closing_seconds=0.1) as traces:
            traces(ALL)
        assert not gave_up.is_set()


def test_no_more_is_read_of_an_answer_than_its_head() -> None:
    contract = agreed()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
    with dripping(head) as (url, gave_up):
        with collected(contract, contract.nodes[0], url, lost=refuse) as traces:
            traces(ALL)
        assert not gave_up.is_set()


def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", unused_url())
    monkeypatch.setenv("HTTP_PROXY", unused_url())
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert len(sent(ALL).spans) == 1
