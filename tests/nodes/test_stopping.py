"""SIGTERM ends a node wherever its main thread is, and what it was doing goes on later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coterie.nodes.eventlines import decode_event
from coterie.nodes.stopping import EXIT_CODE
from coterie.ps.events import Stopped
from faults.relay import Relay
from tests.ratls.net import free_address
from tests.system.conftest import Federation, StartNode

# The fixtures of the system tests: a small contract, its data, and a way to start nodes.
from tests.system.conftest import federation as federation  # noqa: PLC0414
from tests.system.conftest import hfl as hfl  # noqa: PLC0414
from tests.system.conftest import hfl_digest as hfl_digest  # noqa: PLC0414
from tests.system.conftest import raw as raw  # noqa: PLC0414
from tests.system.conftest import start_node as start_node  # noqa: PLC0414

# Bytes: a worker sends some 35 000 for each of its 27 steps; the first checkpoint is of step 5.
ENOUGH_FOR_A_CHECKPOINT = 400_000
FIRST_PROCESS = ("unshare", "--pid", "--fork", "--kill-child")
# Minutes inside of one call into C, which no signal interrupts.
DEEP_IN_C = """
import hashlib, sys
from coterie.nodes.eventlines import encode_event
from coterie.nodes.stopping import end_on_sigterm
end_on_sigterm("w0", lambda event: print(encode_event(event), flush=True))
print("ready", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_it_ends_a_process_that_is_deep_in_foreign_code() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", DEEP_IN_C], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    told, errors = process.communicate(timeout=60)
    assert process.returncode == EXIT_CODE == 143
    assert [decode_event(line) for line in told.splitlines()] == [Stopped("w0")]
    assert errors == ""


def test_the_other_signals_keep_their_meaning() -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            DEEP_IN_C.replace(
                'hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)', "sys.stdin.read()"
            ),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert told == ""
    assert "KeyboardInterrupt" in errors


@pytest.mark.system
def test_a_server_that_was_told_to_end_goes_on_later(
    federation: Federation, hfl_digest: str, start_node: StartNode
) -> None:
    address = free_address()
    port = int(address.rpartition(":")[2])
    relay = Relay((port, port + 1), host="127.0.0.2")
    try:
        relay.stall_after(ENOUGH_FOR_A_CHECKPOINT)  # or a fast run might be over before it is told
        first, _ = federation.server(start_node, listen=address)
        workers = [
            federation.worker(start_node, address, party="acme"),
            federation.worker(start_node, f"127.0.0.2:{port}", party="bolt"),
        ]
        first.wait_event("CheckpointWritten")
        first.process.terminate()
        assert first.wait_event("Stopped") == {"event": "Stopped", "node": "ps0"}
        assert first.finish() == EXIT_CODE
        second, _ = federation.server(start_node, listen=address)
        relay.resume()
        result = second.wait_event("Finished")["result"]
    finally:
        relay.close()
    assert isinstance(result, dict)
    assert result["model_digest"] == hfl_digest
    assert [node.finish() for node in (second, *workers)] == [0, 0, 0]


@pytest.mark.system
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
