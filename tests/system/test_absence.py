"""Whole runs that go on without a worker: what the log and the result say about it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.conftest import (
    Federation,
    Node,
    StartNode,
    StartThread,
    contract_text,
    make_scene,
)
from tests.system.threads import ThreadNode

pytestmark = pytest.mark.system

COMPANIES = ("acme", "bolt", "corn")
WITH_QUORUM = "[limits]\nquorum = 2\ngrace_seconds = 2\n"


@pytest.fixture
def three(raw: Path, tmp_path: Path) -> Federation:
    """Three companies, two of which are a quorum; about 150 steps."""
    text = contract_text("hfl", COMPANIES).replace("[limits]\n", WITH_QUORUM)
    text = text.replace("epochs = 1\n", "epochs = 8\n")
    return Federation(tmp_path, make_scene("hfl", raw, tmp_path, text))


@dataclass(frozen=True)
class Started:
    """All nodes, in the middle of the training; corn's worker is a process, the others are threads."""

    server: ThreadNode
    workers: tuple[ThreadNode, ...]
    corn: Node


@pytest.fixture
def started(three: Federation, start_node: StartNode, start_thread: StartThread) -> Started:
    server, address = three.server(start_thread)
    corn = three.worker(start_node, address, party="corn")
    workers = [three.worker(start_thread, address, party=party) for party in ("acme", "bolt")]
    server.wait_event("CheckpointWritten")
    return Started(server, tuple(workers), corn)


def heard_of_corn(server: ThreadNode, kind: str) -> object:
    """The step at which corn is left out or returns; a busy machine may leave others out, too."""
    while (event := server.wait_event(kind))["node"] != "corn-worker":
        pass
    return event["step"]


def absences(server: ThreadNode) -> list[tuple[str, int, int | None]]:
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    return [(told["worker"], told["start"], told["stop"]) for told in result["absences"]]


def test_a_quorum_goes_on_without_a_worker_that_is_gone_for_good(started: Started) -> None:
    started.corn.kill()
    left_out = heard_of_corn(started.server, "LeftOut")
    assert ("corn-worker", left_out, None) in absences(started.server)
    assert [node.finish() for node in (started.server, *started.workers)] == [0, 0, 0]


def test_a_worker_that_was_left_out_comes_back(started: Started) -> None:
    server, corn = started.server, started.corn
    corn.process.send_signal(signal.SIGSTOP)
    left_out = heard_of_corn(server, "LeftOut")
    corn.process.send_signal(signal.SIGCONT)
    returned = heard_of_corn(server, "Returned")
    assert ("corn-worker", left_out, returned) in absences(server)
    assert [node.finish() for node in (server, *started.workers)] == [0, 0, 0]
    assert corn.finish() == 0
