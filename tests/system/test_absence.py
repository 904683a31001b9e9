"""Whole runs that go on without a worker: what the log and the result say about it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.system.conftest import Federation, Node, StartNode, contract_text, make_scene

pytestmark = pytest.mark.system

COMPANIES = ("acme", "bolt", "corn")
WITH_QUORUM = "[limits]\nquorum = 2\ngrace_seconds = 2\n"


@pytest.fixture
def three(raw: Path, tmp_path: Path) -> Federation:
    """Three companies, two of which are a quorum; about 150 steps."""
    text = contract_text("hfl", COMPANIES).replace("[limits]\n", WITH_QUORUM)
    text = text.replace("epochs = 1\n", "epochs = 8\n")
    return Federation(tmp_path, make_scene("hfl", raw, tmp_path, text))


def started(three: Federation, start: StartNode) -> tuple[Node, dict[str, Node]]:
    """All nodes, in the middle of the training."""
    server, address = three.server(start)
    workers = {party: three.worker(start, address, party=party) for party in COMPANIES}
    server.wait_event("CheckpointWritten")
    return server, workers


def test_a_quorum_goes_on_without_a_worker_that_is_gone_for_good(
    three: Federation, start_node: StartNode
) -> None:
    server, workers = started(three, start_node)
    workers.pop("corn").kill()
    left_out = server.wait_event("LeftOut")
    assert left_out["node"] == "corn-worker"
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    (absence,) = result["absences"]
    assert absence["worker"] == "corn-worker"
    assert absence["start"] == left_out["step"]
    assert absence["stop"] is None
    assert [node.finish() for node in (server, *workers.values())] == [0, 0, 0]


def test_a_worker_that_was_left_out_comes_back(three: Federation, start_node: StartNode) -> None:
    server, workers = started(three, start_node)
    workers["corn"].process.send_signal(signal.SIGSTOP)
    left_out = server.wait_event("LeftOut")
    assert left_out["node"] == "corn-worker"
    workers["corn"].process.send_signal(signal.SIGCONT)
    returned = server.wait_event("Returned")
    assert returned["node"] == "corn-worker"
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    (absence,) = result["absences"]
    assert (absence["worker"], absence["start"], absence["stop"]) == (
        "corn-worker",
        left_out["step"],
        returned["step"],
    )
    assert [node.finish() for node in (server, *workers.values())] == [0, 0, 0, 0]
