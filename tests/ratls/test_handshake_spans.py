"""What a node's traces show of its handshakes, on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from coterie.address import Address
from coterie.errors import EvidenceRefused, PeerUnreachable
from coterie.ratls.handshake import dial
from coterie.ratls.trust import TrustContext
from coterie.spans import Span, untraced

if TYPE_CHECKING:
    from tests.ratls.conftest import World


@pytest.fixture
def traced(world: World) -> Callable[..., tuple[TrustContext, list[Span]]]:
    def make(name: str, **how: object) -> tuple[TrustContext, list[Span]]:
        spans: list[Span] = []
        return replace(world.trust(name, **how), tracer=spans.append), spans  # type: ignore[arg-type]

    return make


Traced = Callable[..., tuple[TrustContext, list[Span]]]


def without_time(span: Span) -> Span:
    assert span.seconds > 0
    return replace(span, seconds=0.0)


def test_both_sides_name_the_peer_that_proved_itself(world: World, traced: Traced) -> None:
    dialler, ours = traced("acme-worker")
    listener, theirs = traced("ps0")
    assert world.handshake(dialler, listener).attested
    assert [without_time(span) for span in ours] == [
        Span("handshake", 0.0, peer="ps0", role="ps", kind="simulated")
    ]
    assert [without_time(span) for span in theirs] == [
        Span("handshake", 0.0, peer="acme-worker", role="worker", kind="simulated")
    ]


def test_a_refusal_has_its_check_and_no_word_more(world: World, traced: Traced) -> None:
    dialler, ours = traced("acme-worker", measurement=bytes(32))  # another program
    listener, theirs = traced("ps0")
    outcome = world.handshake(dialler, listener)
    assert isinstance(outcome.dialler, EvidenceRefused)
    assert [without_time(span) for span in ours] == [
        Span("handshake", 0.0, peer="ps0", error="EvidenceRefused", failed_check="mrenclave")
    ]
    # Who has not proved itself has no name.
    assert [without_time(span) for span in theirs] == [
        Span("handshake", 0.0, error=type(outcome.listener).__name__)
    ]


def test_a_node_that_does_not_answer_is_named_by_its_dialler(traced: Traced) -> None:
    dialler, spans = traced("acme-worker")
    with pytest.raises(PeerUnreachable):
        dial(Address("127.0.0.1", 1), "ps0", dialler, seconds=5.0)
    assert [without_time(span) for span in spans] == [
        Span("handshake", 0.0, peer="ps0", error="PeerUnreachable")
    ]


def test_without_a_tracer_there_are_none(world: World) -> None:
    assert world.trust("ps0").tracer is untraced
