"""What a node that trains or evaluates reports of its waits."""

from __future__ import annotations

import pytest

from coterie.nodes.participant import waiting_of
from coterie.runs.events import Waiting
from coterie.training.client import WaitsFor
from tests.ps.conftest import small_contract

LIMITS = small_contract(limits={"join_seconds": 60, "step_seconds": 30}).limits


@pytest.mark.parametrize(("begun", "left"), [(True, 20.0), (False, 50.0)])
def test_a_wait_names_whom_the_server_waits_for_and_what_is_left_of_the_limit(
    begun: bool, left: float
) -> None:
    waits = WaitsFor(("w0", "chief"), "w0 pauses", 10.0, begun)
    assert waiting_of("chief", LIMITS, waits) == Waiting(
        "chief", ("w0", "chief"), 10.0, left, "w0 pauses"
    )


def test_a_node_does_not_report_that_it_waits_for_itself() -> None:
    assert waiting_of("chief", LIMITS, WaitsFor(("chief",), "", 10.0, begun=True)) is None


def test_where_the_server_names_nobody_the_server_is_waited_for() -> None:
    event = waiting_of("w0", LIMITS, WaitsFor((), "", 1.0, begun=True))
    assert event is not None
    assert event.names == ("the parameter server",)
