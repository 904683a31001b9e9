"""Mutations of traces: who may send them, what is in them, and that nothing waits for them."""

from __future__ import annotations

from mutants.mutation import Of

_traces = Of("nodes/traces.py", "nodes/test_traces.py")
_otlp = Of("nodes/otlp.py", "nodes/test_traces.py")
_handshakes = Of("ratls/handshake_spans.py", "ratls/test_handshake_spans.py")

MUTATIONS = (
    _traces(
        "traces-without-the-contract",
        "if not contract.results.traces:",
        "if contract is None:",
        "a host has the program in its TEE send traces that no party allowed",
    ),
    _traces(
        "traces-in-the-clear",
        'parts.scheme == "https" or (parts.scheme == "http" and _on_loopback(host))',
        'parts.scheme in {"https", "http"}',
        "everybody on the way reads the traces",
    ),
    _traces(
        "traces-to-any-host-called-localhost",
        'return host == "localhost"',
        'return host.startswith("localhost")',
        "traces go in the clear to a name that begins like this machine's",
    ),
    _otlp(
        "any-answer",
        "session.stream = True",
        "session.stream = False",
        "a collector's endless answer fills the node's memory",
    ),
    _otlp(
        "an-end-that-waits",
        "ending.join(closing_seconds)",
        "ending.join()",
        "a collector that answers byte by byte holds up the node's end",
    ),
    _otlp(
        "traces-through-a-proxy",
        "session.trust_env = False",
        "session.trust_env = True",
        "the environment chooses who gets the traces",
    ),
    _otlp(
        "traces-of-the-environment",
        "    resource = Resource(\n",
        "    resource = Resource.create(\n",
        "names of the machine leave it",
    ),
    _otlp(
        "a-check-of-any-form",
        "if _CHECK.fullmatch(span.failed_check)",
        "if span.failed_check",
        "a peer chooses text that leaves the node",
    ),
    _otlp(
        "strangers-fill-the-queue",
        "if span.error and not span.peer and not self._has_room_for_a_stranger():",
        "if span.error and span.peer and not self._has_room_for_a_stranger():",
        "strangers push everything else out of the traces",
    ),
    _otlp(
        "traces-without-end",
        "if self._end is None or self._monotonic() < self._end:",
        "if self._end is None or self._monotonic() >= 0:",
        "a collector that hangs keeps a node from ending",
    ),
    _handshakes(
        "handshakes-untold",
        "for peer in proved:",
        "for peer in proved[:0]:",
        "no handshake is told",
    ),
)
