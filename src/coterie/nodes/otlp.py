"""A node's spans as OpenTelemetry's, sent by OTLP over http; ``docs/operations.md`` describes them.

Spans wait in a bounded queue, from which a thread of its own sends them. If the collector does not
answer, spans are lost and nothing else.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer, set_span_in_context
from typing_extensions import override

from coterie import __version__
from coterie.contract import Contract, Node, contract_digest
from coterie.runs.events import Event, StepDone
from coterie.spans import Span

PATH = "v1/traces"
MOST_WAITING = 2048
MOST_STRANGERS = 10  # refused strangers of a minute: anybody can be refused
_TIMEOUT_SECONDS = 3.0
_CLOSING_SECONDS = 5.0
_CHECK = re.compile(r"[a-z0-9_]{1,64}")
_log = logging.getLogger(__name__)


@contextmanager
def collected(
    contract: Contract,
    node: Node,
    url: str,
    *,
    lost: Callable[[str], None] = _log.warning,
    delay_seconds: float = 5.0,
    closing_seconds: float = _CLOSING_SECONDS,
) -> Iterator[NodeTraces]:
    """Sends the spans of a node while the context is open; at its end, what waits, for some seconds.

    Args:
        contract: The contract.
        node: The node.
        url: The collector's address, without the path ``v1/traces``.
        lost: Told once, when the first spans could not be sent.
        delay_seconds: How long spans wait for others.
        closing_seconds: How long the end may take.
    """
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)  # `lost` is told, and once
    session = requests.Session()
    session.trust_env = False  # no proxy, and no password from a file
    session.stream = True  # an answer's body, of any length, is not read
    exporter = OTLPSpanExporter(
        f"{url.rstrip('/')}/{PATH}", timeout=_TIMEOUT_SECONDS, session=session
    )
    sending = Sending(exporter, lambda: lost(f"traces are lost: {url} does not take them"))
    provider = _provider(contract, node)
    provider.add_span_processor(
        BatchSpanProcessor(
            sending,
            max_queue_size=MOST_WAITING,
            max_export_batch_size=MOST_WAITING // 4,
            schedule_delay_millis=delay_seconds * 1000,
        )
    )
    try:
        yield NodeTraces(provider.get_tracer("coterie", __version__))
    finally:
        sending.end_within(closing_seconds)
        # It waits for an answer in progress, which may come byte by byte, for half a minute.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(closing_seconds)


def _provider(contract: Contract, node: Node) -> TracerProvider:
    # By the class, and not by Resource.create(), which adds what the environment holds.
    resource = Resource(
        {
            "service.name": "coterie",
            "service.version": __version__,
            "service.instance.id": node.name,
            "coterie.role": node.role,
            "coterie.contract": contract_digest(contract).hex(),
        }
    )
    return TracerProvider(
        sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False, id_generator=RandomIds()
    )


class RandomIds(IdGenerator):
    """Takes no numbers from the generator of ``random``, which a program may have seeded."""

    @override
    def generate_span_id(self) -> int:
        return secrets.randbelow((1 << 64) - 1) + 1

    @override
    def generate_trace_id(self) -> int:
        return secrets.randbelow((1 << 128) - 1) + 1


class Sending(SpanExporter):
    """Sends spans as another exporter does, reports the first loss, and ends in time.

    Args:
        exporter: Sends them.
        lost: Called once, when spans could not be sent.
        monotonic: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        lost: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._exporter = exporter
        self._lost = lost
        self._monotonic = monotonic
        self._end: float | None = None
        self._told = False

    def end_within(self, seconds: float) -> None:
        """From then on, waiting spans are lost at once."""
        self._end = self._monotonic() + seconds

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        if self._end is None or self._monotonic() < self._end:
            result = self._exporter.export(spans)
        if result is SpanExportResult.FAILURE and not self._told:
            self._told = True
            self._lost()
        return result

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()


class NodeTraces:
    """Makes OpenTelemetry's spans of a node's. Thread-safe.

    Args:
        tracer: Takes them.
        monotonic: Monotonic clock, in seconds.
        now: The time in nanoseconds since 1970.
    """

    def __init__(
        self,
        tracer: Tracer,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._tracer = tracer
        self._monotonic = monotonic
        self._now = now
        self._lock = threading.Lock()  # guards what follows
        self._strangers: list[float] = []
        self._trained = (0, 0.0)  # the newest step, and the training time until its end

    def __call__(self, span: Span) -> None:
        """Takes a span that has just ended."""
        if span.error and not span.peer and not self._has_room_for_a_stranger():
            return
        end = self._now()
        began = at = end - _nanoseconds(span.seconds)
        made = self._tracer.start_span(
            span.work, Context(), attributes=attributes_of(span), start_time=began
        )
        inside = set_span_in_context(made, Context())
        for work, seconds in span.parts:
            part = self._tracer.start_span(work, inside, start_time=at)
            at += _nanoseconds(seconds)
            part.end(at)
        made.end(end)

    def on_event(self, event: Event) -> None:
        """Makes a span of each step that shard 0 has applied."""
        if isinstance(event, StepDone):
            with self._lock:
                step, before = self._trained
                self._trained = (event.step, event.seconds)
            if event.step == step + 1:  # otherwise the server goes on from a checkpoint
                self(Span("step", event.seconds - before, event.step))

    def _has_room_for_a_stranger(self) -> bool:
        now = self._monotonic()
        with self._lock:
            self._strangers = [at for at in self._strangers if now - at < 60]
            room = len(self._strangers) < MOST_STRANGERS
            if room:
                self._strangers.append(now)
        return room


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def attributes_of(span: Span) -> dict[str, str | int]:
    """The attributes of a span: all that a collector gets of it beside its name and its times."""
    check = span.failed_check if _CHECK.fullmatch(span.failed_check) else ""
    found: dict[str, str | int | None] = {
        "coterie.step": span.step,
        "coterie.peer": span.peer or None,
        "coterie.peer.role": span.role,
        "coterie.peer.tee": span.kind,
        "error.type": span.error or None,
        "coterie.failed_check": check or None,
    }
    return {name: value for name, value in found.items() if value is not None}
