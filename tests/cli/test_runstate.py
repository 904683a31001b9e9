"""From a run's events to what its live view shows: a pure function."""

from __future__ import annotations

from functools import reduce

import pytest

from coterie.cli.runstate import RunState
from coterie.runs import events
from tests.report.runs import HFL, MEASUREMENT, attestations, steps

BEGINNING = RunState.of(HFL)


def after(*heard: events.Event, start: RunState = BEGINNING) -> RunState:
    return reduce(RunState.after, heard, start)


def standing(state: RunState, node: str = "acme-worker") -> str:
    return state.nodes[node].standing


def joined() -> RunState:
    names = [node.name for node in HFL.nodes]
    started = [events.Started(n, "worker", "acme") for n in names]
    return after(*started, *attestations(HFL), *(events.Joined(n, ()) for n in names[1:]))


def test_before_anything_happens_everybody_is_awaited() -> None:
    assert [node.name for node in BEGINNING.nodes.values()] == [node.name for node in HFL.nodes]
    assert {node.standing for node in BEGINNING.nodes.values()} == {"waiting"}
    assert (BEGINNING.loss, BEGINNING.examples_per_second, BEGINNING.seconds_left) == (None,) * 3


def test_a_node_goes_from_loading_to_finished() -> None:
    times = events.WorkerTimes("acme-worker", 60, 0.0, 1.0, 1.0, 0.1, 0.1)
    path: list[tuple[events.Event, str]] = [
        (events.Started("acme-worker", "worker", "acme"), "loading"),
        (events.Joined("acme-worker", ("bolt-worker",)), "joined"),
        (steps()[0], "training"),
        (events.LeftOut("acme-worker", 2), "left out"),
        (steps()[1], "left out"),
        (events.Returned("acme-worker", 3), "training"),
        (times, "finished"),
    ]
    state = BEGINNING
    for event, expected in path:
        state = state.after(event)
        assert standing(state) == expected
    assert standing(state.after(events.Failed("acme-worker", 5, {})), "acme-worker") == "failed"


def test_a_listening_server_is_ready() -> None:
    assert standing(after(events.Listening("ps0", "127.0.0.1:1")), "ps0") == "ready"


def test_attestation_says_what_peers_saw_and_how_many() -> None:
    state = after(
        *attestations(HFL),
        events.Attested("acme-worker", "ps0", "ps", "operator", "UpToDate", MEASUREMENT),
        events.Attested("bolt-worker", "ps0", "ps", "operator", "UpToDate", MEASUREMENT),
        events.Attested("bolt-worker", "ps0", "ps", "operator", "UpToDate", MEASUREMENT),
    )
    assert state.nodes["acme-worker"].attestation == f"UpToDate {MEASUREMENT[:8]}"
    assert state.nodes["ps0"].judges == {"acme-worker", "bolt-worker"}


def test_refusals_are_counted_at_who_refused() -> None:
    refused = events.Refused("ps0", "EvidenceRefused", "debug")
    assert after(refused, refused).nodes["ps0"].refusals == 2


def test_pace_and_time_left_follow_the_last_steps() -> None:
    state = after(*steps()[:30], start=joined())
    assert (state.step, state.steps) == (30, 60)
    assert state.examples_per_second == pytest.approx(512 / 0.05)
    assert state.seconds_left == pytest.approx(30 * 0.05)
    assert state.loss is not None
    assert 0.5 + 1 / 30 < state.loss < 0.5 + 1 / 10, "a mean that follows"
    assert state.accuracy is not None
    assert 0.75 - 0.2 / 10 < state.accuracy < 0.75 - 0.2 / 30


def test_a_restarted_server_starts_a_new_clock() -> None:
    again = events.StepDone(11, 60, 512, 0.5, 0.05, 0.7, 1, 512)
    state = after(*steps()[:30], events.Resumed(10, "00"), again, start=joined())
    assert (state.step, state.examples_per_second) == (11, None)
    without_notice = after(*steps()[:30], again, start=joined())
    assert without_notice.seconds_left is None


def test_a_step_that_nothing_is_told_of_keeps_loss_and_accuracy() -> None:
    before = after(*steps()[:3])
    then = before.after(events.StepDone(4, 60, 8, None, 0.3))
    assert (then.step, then.loss, then.accuracy) == (4, before.loss, before.accuracy)


def test_the_end_brings_the_metrics() -> None:
    state = after(events.Finished({"validation_auc": 0.7, "test_auc": None}), start=joined())
    assert (state.validation_auc, state.test_auc) == (0.7, None)
    assert {node.standing for node in state.nodes.values()} == {"finished"}


def test_what_is_not_of_this_contract_changes_no_node() -> None:
    state = after(events.Started("stranger", "worker", "nobody"), events.LeftOut("stranger", 1))
    assert state.nodes == BEGINNING.nodes
    assert state.latest.startswith("stranger is left out")
