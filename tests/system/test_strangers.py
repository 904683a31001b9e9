"""Strangers at both ports of a running server: the run goes on, to the same model."""

from __future__ import annotations

import json
import resource
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from faults.loopback import free_address
from tests.system.conftest import Federation, Node, StartNode

pytestmark = pytest.mark.system

DESCRIPTORS = 300
CONNECTIONS = 400  # more than the server may open
ROUND_SECONDS = 2.0


@contextmanager
def crowd(ports: tuple[int, ...]) -> Iterator[None]:
    """Keeps so many silent connections to each port, as far as they are borne."""
    over = threading.Event()

    def knock(port: int) -> None:
        held: list[socket.socket] = []
        while not over.wait(ROUND_SECONDS):
            ended = select.select(held, [], [], 0)[0] if held else []
            for sock in ended:
                held.remove(sock)
                sock.close()
            while len(held) < CONNECTIONS and not over.is_set():
                sock = socket.socket()
                sock.settimeout(1.0)
                with suppress(OSError):  # too many wait for the server already
                    sock.bind(("127.0.0.2", 0))
                    sock.connect(("127.0.0.1", port))
                    held.append(sock)
                    continue
                sock.close()
                break
        for sock in held:
            sock.close()

    threads = [threading.Thread(target=knock, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_run_bears_more_connections_than_there_are_descriptors(
    hfl_digest: str, federation: Federation, start_node: StartNode, tmp_path: Path
) -> None:
    address = free_address()
    port = int(address.rpartition(":")[2])
    server = start_node(
        *(federation.contract, "ps0", "--listen", address, "--out", tmp_path / "kept"),
        *("--party-key", federation.key("operator")),
    )
    server.wait_event("Listening")
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with crowd((port, port + 1)):
        workers = [
            federation.worker(start_node, address, party=party) for party in ("acme", "bolt")
        ]
        told = list(events_of(server))
        assert [node.finish() for node in (server, *workers)] == [0, 0, 0]
    result = told[-1]["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == hfl_digest
    refused = [event for event in told if event["event"] == "Refused"]
    assert 0 < len(refused) < 20, "thousands of connections, told in few lines"


def events_of(node: Node) -> Iterator[dict[str, object]]:
    """All that a node tells until it has finished."""
    assert node.process.stdout is not None
    for line in node.process.stdout:
        event = json.loads(line)
        assert isinstance(event, dict)
        assert event["event"] != "Failed", event
        yield event
        if event["event"] == "Finished":
            return
