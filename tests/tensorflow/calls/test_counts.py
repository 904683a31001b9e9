"""What a node counts of the calls that its peers make: passed on by method, and refused."""

from __future__ import annotations

import queue
import socket

from coterie.contract import load_contract
from coterie.errors import CoterieError
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.calls.counts import Passed
from coterie.tensorflow.calls.inspection import Inspection
from fuzz.speaking import SERVICE, Speaker
from tests.conftest import REPOSITORY
from tests.tensorflow.preloaded.sealing import Sealer

HERE, THERE = b"\1" * 32, b"\2" * 32
SECONDS = 20.0


def test_calls_are_counted_by_peer_and_method() -> None:
    contract = load_contract(REPOSITORY / "examples" / "tensorflow" / "federated.toml")
    (server,) = contract.by_role("ps")
    told: queue.Queue[tuple[str, CoterieError, int]] = queue.Queue()
    inspection = Inspection(contract, server, lambda *refusal: told.put(refusal))
    inspection.start()
    here, peer = socket.socketpair()
    here.setblocking(False)
    taken = inspection.put_between(Taken(here, HERE, THERE), "worker0")
    peer.settimeout(SECONDS)
    try:
        assert taken.way_out is not None
        with taken.socket, taken.way_out, peer:
            speaker, sealing = Speaker(), Sealer(THERE)
            peer.sendall(sealing.record(speaker.opening))
            for stream in (1, 3):
                peer.sendall(
                    sealing.record(speaker.call(stream, f"{SERVICE}CleanupGraph", b"\x08\x05"))
                )
            peer.sendall(sealing.record(speaker.call(5, f"{SERVICE}GetStatus", b"")))
            peer.sendall(sealing.record(speaker.call(7, f"{SERVICE}Tracing", b"x")))
            address, error, count = told.get(timeout=SECONDS)
    finally:
        inspection.stop()
    assert (address, count) == ("worker0", 1)
    assert "Tracing" in str(error)
    assert inspection.counts.passed() == {
        ("worker0", "CleanupGraph"): Passed(2, 4),
        ("worker0", "GetStatus"): Passed(1, 0),
    }
    assert inspection.counts.refused() == {"worker0": 1}
