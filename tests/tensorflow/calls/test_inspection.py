"""The inspection of a node's calls: each peer by its place in the contract."""

from __future__ import annotations

import queue
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from coterie.contract import load_contract
from coterie.errors import CoterieError
from coterie.ratls.traffic_secrets import Taken
from coterie.tensorflow.calls.inspection import Inspection
from fuzz.speaking import SERVICE, Speaker
from tests.conftest import REPOSITORY
from tests.tensorflow.preloaded.sealing import Sealer

pytestmark = pytest.mark.tensorflow

CONTRACT = load_contract(REPOSITORY / "examples" / "tensorflow" / "federated.toml")
SECONDS = 20.0
Told = queue.Queue[tuple[str, CoterieError, int]]


@contextmanager
def begun(node: str, told: Told) -> Iterator[Callable[[str], tuple[socket.socket, socket.socket]]]:
    """A node's inspection: gives a peer's end of a new connection, and the one that TensorFlow gets."""
    with ExitStack() as stack:
        inspection = Inspection(CONTRACT, CONTRACT.node(node), lambda *refusal: told.put(refusal))
        inspection.start()
        stack.callback(inspection.stop)

        def connect(peer: str) -> tuple[socket.socket, socket.socket]:
            here, there = socket.socketpair()
            here.setblocking(False)
            stack.enter_context(there)
            taken = inspection.put_between(Taken(here, b"\1" * 32, b"\2" * 32), peer)
            assert taken.way_out is not None
            stack.enter_context(taken.way_out)
            stack.enter_context(taken.socket)
            for end in (there, taken.socket):
                end.settimeout(SECONDS)
            return there, taken.socket

        yield connect


@pytest.mark.parametrize(
    ("node", "peer", "expected"),
    [
        ("worker0", "ps0", f"{SERVICE}RecvTensor"),
        ("worker0", "worker1", "no call"),
        ("ps0", "worker1", f"{SERVICE}GetStatus, {SERVICE}CreateWorkerSession, "),
    ],
)
def test_a_peer_may_call_what_its_role_may(node: str, peer: str, expected: str) -> None:
    told: Told = queue.Queue()
    with begun(node, told) as connect:
        there, _ = connect(peer)
        speaker = Speaker()
        said = speaker.opening + speaker.call(1, "/tensorflow.MasterService/CreateSession", b"")
        there.sendall(Sealer(b"\2" * 32).record(said))
        address, error, count = told.get(timeout=SECONDS)
        assert (address, count) == (peer, 1)
        assert error.what == f"{peer} may not make this call here"
        assert error.expected is not None
        assert error.expected.startswith(expected)
