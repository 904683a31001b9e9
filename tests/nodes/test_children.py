"""Child processes are heard, and none outlives who started it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coterie.contract import Node, load_contract
from coterie.errors import ContractInvalid, NodeFailed
from coterie.nodes.children import Children, Exited, Printed, raise_failure
from coterie.runs.directory import RunDirectory, open_run_directory
from coterie.runs.event_log import read_events
from coterie.runs.events import Failed, Listening
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.system

EVENT = (
    '{"event": "Listening", "time": "2026-11-30T00:00:00.000Z", "node": "ps0", "address": "h:1"}'
)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    contract = load_contract(REPOSITORY / "examples" / "hfl.toml")
    with open_run_directory(tmp_path / "run", contract, "ra-tls") as opened:
        yield opened


@pytest.fixture
def ps0(directory: RunDirectory) -> Node:
    return directory.contract.node("ps0")


def ended(node: str, seen: str, log: Path) -> NodeFailed:
    return NodeFailed(f"{node} ended", seen=seen, remedy=str(log))


def program(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_events_and_other_lines_are_heard_until_the_process_ends(
    directory: RunDirectory, ps0: Node
) -> None:
    children = Children(directory, ended, keep_events=True)
    with children.started(ps0, program(f"print('''{EVENT}'''); print('a line')")):
        assert children.alive == {"ps0"}
        assert children.next_message() == Listening("ps0", "h:1")
        assert children.next_message() == Printed("ps0", "a line")
        assert children.next_message() == Exited("ps0", 0)
        assert children.alive == set()
    assert list(read_events(directory.node("ps0"))) == [Listening("ps0", "h:1")]


def test_what_is_not_to_be_kept_is_not(directory: RunDirectory, ps0: Node) -> None:
    children = Children(directory, ended, keep_events=False)
    with children.started(ps0, program("print('\\udcff'.encode('utf-8', 'replace'))")):
        assert isinstance(children.next_message(), Printed)
    assert list(read_events(directory.node("ps0"))) == []


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("raise SystemExit('first\\nwhy')", "why"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
    ],
)
def test_a_process_that_fails_is_told_with_its_last_words(
    directory: RunDirectory, ps0: Node, text: str, seen: str
) -> None:
    children = Children(directory, ended, keep_events=False)
    with children.started(ps0, program(text)), pytest.raises(NodeFailed) as failed:
        children.next_message()
    assert seen in failed.value.seen
    assert failed.value.remedy == str(directory.node("ps0") / "stderr.log")


def test_a_process_ends_with_the_context(directory: RunDirectory, ps0: Node) -> None:
    children = Children(directory, ended, keep_events=False)
    with children.started(ps0, program("import os, sys; print(os.getpid()); sys.stdin.read()")):
        heard = children.next_message()
    assert isinstance(heard, Printed)
    assert children.next_message() == Exited("ps0", 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(heard.text), 0)


def test_descriptors_are_inherited_by_number(directory: RunDirectory, ps0: Node) -> None:
    reading, writing = os.pipe()
    children = Children(directory, ended, keep_events=False)
    with children.started(
        ps0, program(f"import os; os.write({writing}, b'here')"), inherited=[writing]
    ):
        assert children.next_message() == Exited("ps0", 0)
    assert os.read(reading, 10) == b"here"
    os.close(reading)
    os.close(writing)


def test_every_node_is_told_contract_name_and_key(directory: RunDirectory, ps0: Node) -> None:
    said = Children(directory, ended, keep_events=False).arguments(ps0, "program.py")
    assert said[:3] == [str(directory.contract_file), "ps0", "program.py"]
    assert {"--end-with-parent", "--party-key"} <= set(said)


def test_a_nodes_own_error_is_raised_as_it_is() -> None:
    error = ContractInvalid("wrong", expected="a", seen="b", remedy="c")
    with pytest.raises(ContractInvalid, match="wrong"):
        raise_failure(Failed("ps0", error.exit_code, error.to_dict()))
    with pytest.raises(NodeFailed, match="node ps0 failed"):
        raise_failure(Failed("ps0", 1, {}))
    raise_failure(Listening("ps0", "h:1"))
