"""Messages that attack a TensorFlow cluster of several companies, said byte by byte as no program can, give nothing.

The attackers have passed the attestation, as one has who can forge a quote. Each attack that can succeed at all does so
on plain TensorFlow, too, so that a test would fail without the inspection.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from fuzz.speaking import SERVICE, Speaker
from tests.system.attacked import Attacked, refusal
from tests.system.attacking import (
    PlainServer,
    elsewhere,
    fetching,
    named,
    promising,
    run,
    watched,
)
from tests.system.clusters import (
    SECONDS,
    serving_plainly,
)
from tests.system.peers import HostileWorker, Line, hostile_server
from tests.tensorflow.calls.asking import (
    HANDLE,
    PS,
    WORKERS,
    created,
    device,
    encoded,
    field,
    graph,
    node,
    registered,
    server_def,
    tensor,
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("loopback", "native_part"),
]

OTHER = "f" * 16  # a session's handle


@pytest.fixture
def of(tmp_path: Path) -> Iterator[Attacked]:
    with closing(Attacked(tmp_path)) as made:
        yield made


def test_messages_that_attack_get_everything_from_plain_tensorflow(of: Attacked) -> None:
    """The steps' numbers are known here; a parameter server knows them, and another worker must guess 56 random bits."""
    secret = of.of["worker0"]
    with serving_plainly("ps0", "worker0") as addresses:
        server, worker = map(PlainServer, addresses)
        own = server_def(WORKERS[0])
        own.job_name = "worker"
        worker.session(created(WORKERS[0], own), HANDLE)
        server.session(created(WORKERS[0]), HANDLE)
        server.session(created(WORKERS[1]), OTHER)
        kept = worker.graph(promising(secret, WORKERS[0], worker.incarnation), HANDLE)
        sent = worker.graph(promising(secret, PS, worker.incarnation), HANDLE)
        harmless = server.graph(graph(node()).SerializeToString(), OTHER)

        # What worker 0 sends to itself, as it does with what it feeds: whoever asks first gets it.
        worker.call("RunGraph", run(kept, HANDLE, 1))
        name = named(WORKERS[0], WORKERS[0], worker.incarnation)
        assert secret.encode() in worker.call("RecvTensor", encoded({1: 1, 2: name}))

        # What worker 0 sends to the parameter server: that fetches it for worker 1.
        worker.call("RunGraph", run(sent, HANDLE, 2))
        name = named(WORKERS[0], PS, worker.incarnation)
        assert secret.encode() in server.call("RunGraph", run(harmless, OTHER, 2, field(4, name)))

        worker.call("RunGraph", run(sent, HANDLE, 3))
        fetches = server.graph(fetching(worker.incarnation, server.incarnation), OTHER)
        server.call("RunGraph", run(fetches, OTHER, 3))
        name = named(PS, WORKERS[1], server.incarnation)
        assert secret.encode() in server.call("RecvTensor", encoded({1: 3, 2: name}))

        # A file at the parameter server, by a debugger.
        octets, options = watched(f"file://{of.folder}/debugger")
        server.call("RunGraph", run(server.graph(octets, OTHER, options), OTHER, 4))
        assert list((of.folder / "debugger").rglob("*secret*"))

        # The parameter server dials any address.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            session = "e" * 16
            server.call(
                "CreateWorkerSession",
                elsewhere(f"127.0.0.1:{listening.getsockname()[1]}", session),
            )
            fetches = server.graph(fetching(worker.incarnation, server.incarnation), session)
            with pytest.raises(grpc.RpcError):
                server.call("RunGraph", run(fetches, session, 5), 2)
            listening.settimeout(SECONDS)
            with listening.accept()[0] as dialled:
                assert dialled.recv(3) == b"PRI"

        # The end of worker 0's session at the parameter server.
        mine = server.graph(graph(node()).SerializeToString(), HANDLE)
        server.call("RunGraph", run(mine, HANDLE, 6))
        server.session(created(WORKERS[0])[:-1] + b"\x06", "d" * 16)
        with pytest.raises(grpc.RpcError, match="Session handle is not found"):
            server.call("RunGraph", run(mine, HANDLE, 7))


PROMISED = "may not ask for this tensor; expected: a tensor from "
OF_A_SERVER = (
    *("GetStatus", "CreateWorkerSession", "DeleteWorkerSession", "RegisterGraph"),
    *("RunGraph", "CleanupGraph", "RecvTensor"),
)


def unreadable(sender: str, request: str) -> str:
    return (
        f"a request of {sender} cannot be read; expected: {request} as TensorFlow's master "
        "sends it; seen: a field more, or one that is there twice"
    )


def answered(line: Line, *calls: tuple[str, bytes]) -> bytes:
    """What a node answers to calls, the last of which it refuses."""
    speaker = Speaker()
    said = speaker.opening
    for i, (path, message) in enumerate(calls):
        said += speaker.call(2 * i + 1, path if "/" in path else SERVICE + path, message)
    line.say(said)
    return line.rest()


def test_a_parameter_server_gives_a_worker_that_attacks_it_nothing_of_others(of: Attacked) -> None:
    """The messages with which plain TensorFlow gave everything."""
    server = of.start("ps0")
    server.event("Listening")
    worker = HostileWorker(of.contract, "worker1", of.key, "ps0")
    harmless = registered(graph(node()))
    theirs, debugged = fetching(1, 2), watched(f"file://{of.folder}/debugger")
    name = named(WORKERS[0], PS, 1)
    graphs = "a graph of worker1 may not run here"
    requests = "worker1 may not send this request"
    calls = ", ".join(SERVICE + one for one in OF_A_SERVER)
    master = "/tensorflow.MasterService/CreateSession"
    # The node tells the first refusal for a reason at once, and further ones seldom.
    for said, reason in (
        (
            [("CreateWorkerSession", created()), ("RegisterGraph", registered(theirs))],
            f"{graphs}; expected: this node's devices and the sender's; seen: {device(WORKERS[0])}",
        ),
        (
            [("RegisterGraph", harmless), ("RunGraph", run("0" * 16, HANDLE, 7, field(4, name)))],
            unreadable("worker1", "RunGraphRequest"),
        ),
        (
            [("CreateWorkerSession", created(WORKERS[0]))],
            f"{requests}; expected: master_task {WORKERS[1]}; seen: {WORKERS[0]}",
        ),
        (
            [("RecvTensor", tensor(named(PS, WORKERS[0], 2)))],
            f"worker1 {PROMISED}ps 0 to worker 1; seen: {named(PS, WORKERS[0], 2)}",
        ),
        (
            [(master, b"")],
            f"worker1 may not make this call here; expected: {calls}; seen: {master}",
        ),
        ([("RegisterGraph", registered(debugged[0], debug_options=debugged[1]))], None),
        ([("CreateWorkerSession", elsewhere("127.0.0.1:1", HANDLE))], None),
        ([("RegisterGraph", registered(graph(node("ReadFile"))))], None),
    ):
        heard = answered(worker.line(), *said)
        assert not any(secret.encode() in heard for secret in of.of.values())
        if reason is not None:
            assert refusal(server) == reason
    assert not (of.folder / "debugger").exists()


def test_a_worker_gives_a_parameter_server_that_attacks_it_nothing(of: Attacked) -> None:
    worker = of.start("worker0")
    fed = tensor(named(WORKERS[0], WORKERS[0], 1))
    calls = "ps0 may not make this call here; expected: /tensorflow.WorkerService/RecvTensor"
    with hostile_server(of.contract, "ps0", of.key) as lines:
        for call, reason in (
            (
                ("RegisterGraph", registered(graph(node()))),
                f"{calls}; seen: {SERVICE}RegisterGraph",
            ),
            (
                ("RecvTensor", fed),
                f"ps0 {PROMISED}worker 0 to ps 0; seen: {named(WORKERS[0], WORKERS[0], 1)}",
            ),
            (
                ("RecvTensor", fed + field(2, named(WORKERS[0], PS, 1))),
                unreadable("ps0", "RecvTensorRequest"),
            ),
            (("RecvTensor", tensor(named(WORKERS[0], WORKERS[1], 1))), None),
            (("/tensorflow.eager.EagerService/CreateContext", b""), None),
            (("RunGraph", run("0" * 16, HANDLE, 1)), None),
        ):
            heard = answered(lines.next(), call)
            assert of.of["worker0"].encode() not in heard
            if reason is not None:
                assert refusal(worker) == reason
