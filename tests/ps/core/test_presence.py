"""Who is heard of, and for how long a node has been silent."""

from __future__ import annotations

from coterie.ps.core.presence import Presence
from tests.ps.conftest import Clock


def test_a_node_is_silent_from_the_end_of_its_last_call() -> None:
    clock = Clock()
    presence = Presence(clock)
    presence.begin("w0")
    clock.now += 100
    assert presence.silent_seconds("w0") == 0
    presence.end("w0")
    clock.now += 4
    assert (presence.silent_seconds("w0"), presence.silent(("w0",))) == (4, ())
    clock.now += 1
    assert presence.silent(("w0", "w1")) == ("w0",)


def test_a_node_is_heard_of_while_any_of_its_calls_is_answered() -> None:
    clock = Clock()
    presence = Presence(clock)
    presence.begin("w0")
    presence.begin("w0")
    presence.end("w0")
    clock.now += 60
    assert presence.silent(("w0",)) == ()
    presence.end("w0")
    assert presence.silent_seconds("w0") == 0


def test_a_node_that_never_called_is_not_called_silent() -> None:
    assert Presence(Clock()).silent(("w0",)) == ()
