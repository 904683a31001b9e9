"""Messages that attack a TensorFlow cluster of several companies, said byte by byte as no program can, give nothing.

The attackers have passed the attestation, as one has who can forge a quote. Each attack that can succeed at all does so
on plain TensorFlow, too, so that a test would fail without the inspection.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from tensorflow.core.framework.device_attributes_pb2 import DeviceAttributes
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.debug_pb2 import DebugOptions

from coterie.errors import EnvironmentUnfit
from coterie.tensorflow.building import NATIVE_PART
from coterie.tensorflow.calls.rules import Task
from fuzz.speaking import SERVICE, Speaker
from tests.system.clusters import (
    SECONDS,
    Node,
    Secrets,
    plain,
)
from tests.system.peers import HostileWorker, Line, hostile_server
from tests.system.test_tensorflow import PROGRAMS, read_until
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
    send,
    server_def,
    tensor,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(600), pytest.mark.usefixtures("loopback")]

EDGE = "edge_1_secret"
OTHER = "f" * 16  # a session's handle


@pytest.fixture(scope="module", autouse=True)
def native_part() -> None:
    try:
        NATIVE_PART.build()
    except EnvironmentUnfit as error:
        pytest.skip(str(error))


@pytest.fixture
def of(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path)


@pytest.fixture
def start(of: Secrets) -> Iterator[Callable[[str], Node]]:
    started: list[Node] = []

    def start(name: str) -> Node:
        started.append(Node(of, name))
        return started[-1]

    yield start
    for one in started:
        one.close()


def placed(one: NodeDef, task: Task) -> NodeDef:
    one.device = device(task)
    return one


def constant(text: str, task: Task) -> NodeDef:
    one = placed(node("Const", "secret"), task)
    one.attr["dtype"].type = 7
    one.attr["value"].tensor.CopyFrom(TensorProto(dtype=7, string_val=[text.encode()]))
    return one


def exchange(op: str, source: Task, target: Task, incarnation: int) -> NodeDef:
    one = placed(send(source, target, op), source if op == "_Send" else target)
    one.name = f"{op}_to_{target.role}"  # a session keeps what is of one name
    one.attr["tensor_name"].s = EDGE.encode()
    one.attr["T" if op == "_Send" else "tensor_type"].type = 7
    one.attr["send_device_incarnation"].i = incarnation - (incarnation >> 63 << 64)
    return one


def promising(text: str, target: Task, incarnation: int) -> bytes:
    """A graph of worker 0 that sends its secret."""
    sends = exchange("_Send", WORKERS[0], target, incarnation)
    sends.input.append("secret")
    octets: bytes = graph(constant(text, WORKERS[0]), sends).SerializeToString()
    return octets


def fetching(incarnation: int, own: int) -> bytes:
    """A graph of the parameter server that receives what worker 0 has sent it, and passes it on to worker 1."""
    receives, passes = (
        exchange("_Recv", WORKERS[0], PS, incarnation),
        exchange("_Send", PS, WORKERS[1], own),
    )
    passes.input.append(receives.name)
    octets: bytes = graph(receives, passes).SerializeToString()
    return octets


def watched(url: str) -> tuple[bytes, bytes]:
    """A graph of the parameter server, and options for a debugger that writes its tensors to a file."""
    options = DebugOptions()
    one = options.debug_tensor_watch_opts.add(node_name="secret", debug_ops=["DebugIdentity"])
    one.debug_urls.append(url)
    return graph(constant("x", PS)).SerializeToString(), options.SerializeToString()


def elsewhere(address: str, session: str) -> bytes:
    """A session at the parameter server in a cluster whose worker 0 is at an address."""
    said = server_def()
    said.cluster.job.add(name="ps").tasks[0] = "127.0.0.1:1"
    said.cluster.job.add(name="worker").tasks[0] = address
    return created(server=said).replace(HANDLE.encode(), session.encode(), 1)


def run(handle: str, session: str, step: int, more: bytes = b"") -> bytes:
    fields: dict[int, int | bytes | str] = {8: session, 10: 1, 11: secrets.randbits(62)}
    return encoded({1: handle, 2: step}) + more + encoded(fields)


def named(source: Task, target: Task, incarnation: int) -> str:
    return f"{device(source)};{incarnation:016x};{device(target)};{EDGE};0:0"


class PlainServer:
    """A stock TensorFlow server, called byte by byte."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        status = self.call("GetStatus", b"")
        self.incarnation: int = DeviceAttributes.FromString(status[2 : 2 + status[1]]).incarnation

    def call(self, method: str, message: bytes, seconds: float = SECONDS) -> bytes:
        asked = self._channel.unary_unary(
            SERVICE + method,
            request_serializer=lambda octets: octets,
            response_deserializer=lambda octets: octets,
        )
        answer: bytes = asked(message, timeout=seconds, wait_for_ready=True)
        return answer

    def session(self, message: bytes, handle: str) -> None:
        self.call("CreateWorkerSession", message.replace(HANDLE.encode(), handle.encode(), 1))

    def graph(self, octets: bytes, session: str, options: bytes = b"") -> str:
        message = registered(octets, debug_options=options)
        answer = self.call("RegisterGraph", message.replace(HANDLE.encode(), session.encode(), 1))
        return answer[2:].decode()


def test_messages_that_attack_get_everything_from_plain_tensorflow(of: Secrets) -> None:
    """The steps' numbers are known here; a parameter server knows them, and another worker must guess 56 random bits."""
    addresses: dict[str, str] = {}
    secret = of.of["worker0"]
    with plain(PROGRAMS / "serving.py", addresses=addresses):
        server, worker = PlainServer(addresses["ps0"]), PlainServer(addresses["worker0"])
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


def test_a_parameter_server_gives_a_worker_that_attacks_it_nothing_of_others(
    of: Secrets, start: Callable[[str], Node]
) -> None:
    """The messages with which plain TensorFlow gave everything."""
    server = start("ps0")
    read_until(server.process, "Listening")
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
            assert server.refused() == reason
    assert not (of.folder / "debugger").exists()


def test_a_worker_gives_a_parameter_server_that_attacks_it_nothing(
    of: Secrets, start: Callable[[str], Node]
) -> None:
    worker = start("worker0")
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
                assert worker.refused() == reason
