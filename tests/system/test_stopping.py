"""Nodes that are told to end: by SIGTERM, also as the first process of a container."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from coterie.nodes.stopping import EXIT_CODE
from faults.loopback import free_address
from faults.relay import Relay
from tests.system.conftest import Federation, StartNode, StartThread

pytestmark = pytest.mark.system

# Bytes: a worker sends some 35 000 for each of its 27 steps; the first checkpoint is of step 5.
ENOUGH_FOR_A_CHECKPOINT = 400_000
FIRST_PROCESS = ("unshare", "--pid", "--fork", "--kill-child")


def test_a_server_that_was_told_to_end_goes_on_later(
    federation: Federation, hfl_digest: str, start_node: StartNode, start_thread: StartThread
) -> None:
    address = free_address()
    port = int(address.rpartition(":")[2])
    relay = Relay((port, port + 1), host="127.0.0.2")
    try:
        relay.stall_after(ENOUGH_FOR_A_CHECKPOINT)  # or a fast run might be over before it is told
        first, _ = federation.server(start_node, address)
        workers = [
            federation.worker(start_thread, address, party="acme"),
            federation.worker(start_thread, f"127.0.0.2:{port}", party="bolt"),
        ]
        first.wait_event("CheckpointWritten")
        first.process.terminate()
        assert first.wait_event("Stopped")["node"] == "ps0"
        assert first.finish() == EXIT_CODE
        second, _ = federation.server(start_thread, address)
        relay.resume()
        result = second.wait_event("Finished")["result"]
    finally:
        relay.close()
    assert isinstance(result, dict)
    assert result["model_digest"] == hfl_digest
    assert [node.finish() for node in (second, *workers)] == [0, 0, 0]


def test_it_ends_the_first_process_of_a_container(
    federation: Federation, start_node: StartNode
) -> None:
    """The kernel drops SIGTERM to the first process of a PID namespace that has no handler."""
    possible = subprocess.run([*FIRST_PROCESS, "true"], capture_output=True, text=True, check=False)
    if possible.returncode != 0:
        pytest.skip(f"no PID namespaces here: {possible.stderr.strip()}")
    node = start_node(
        federation.contract, "ps0",
        "--listen", "127.0.0.1:0", "--out", federation.folder / "ps0",
        "--party-key", federation.key("operator"),
        prefix=FIRST_PROCESS,
    )  # fmt: skip
    node.wait_event("Listening")
    outer = node.process.pid
    (inner,) = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
    assert Path(f"/proc/{inner}/status").read_text().split("NSpid:")[1].split()[1] == "1"
    os.kill(int(inner), signal.SIGTERM)
    node.wait_event("Stopped")
    assert node.finish() == EXIT_CODE
