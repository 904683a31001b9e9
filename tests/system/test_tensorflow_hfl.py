"""A TensorFlow cluster of several companies as real processes: it learns as a plain one does, and gives attackers nothing.

The attackers have passed the attestation, as one has who can forge a quote. Each attack that can succeed at all does so
on plain TensorFlow, too, so that a test would fail without the inspection.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from tensorflow.core.framework.device_attributes_pb2 import DeviceAttributes
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.debug_pb2 import DebugOptions

from coterie.contract import load_contract
from coterie.contract.signatures import generate_party_key, public_key_text
from coterie.contract.tensorflow_operations import HARMLESS
from coterie.errors import CallRefused, EnvironmentUnfit
from coterie.nodes.children import thread_environment
from coterie.tensorflow.building import NATIVE_PART
from coterie.tensorflow.calls.rules import Task
from coterie.tensorflow.cluster import tf_config
from faults.loopback import free_address, free_addresses
from tests.system.conftest import coterie, environment
from tests.system.peers import HostileWorker, Line, hostile_server
from tests.system.test_tensorflow import EXAMPLES, PROGRAMS, read_until
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
from tests.tensorflow.calls.speaking import SERVICE, Speaker

pytestmark = [pytest.mark.system, pytest.mark.timeout(600), pytest.mark.usefixtures("loopback")]

CONTRACT, DLRM = EXAMPLES / "federated.toml", EXAMPLES / "dlrm_between_graph.py"
ATTACKS = PROGRAMS / "attacks.py"
SECONDS = 120.0  # TensorFlow's start on a busy machine, among others


@pytest.fixture(scope="module", autouse=True)
def native_part() -> None:
    try:
        NATIVE_PART.build()
    except EnvironmentUnfit as error:
        pytest.skip(str(error))


@contextmanager
def plain(
    program: Path, *arguments: str, addresses: dict[str, str] | None = None
) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """The nodes of the example as stock TensorFlow, which knows no attestation and no inspection.

    With ``addresses``, which it fills, worker 1 does not run.
    """
    contract = load_contract(CONTRACT)
    real = free_addresses(len(contract.nodes))
    if addresses is not None:
        addresses.update(zip((one.name for one in contract.nodes), real, strict=True))
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        for one in contract.nodes if addresses is None else contract.nodes[:2]:
            places = tf_config(contract, one)
            for i, address in enumerate(real):
                places = places.replace(json.dumps(f"239.67.0.{i}:2222"), json.dumps(address))
            running[one.name] = subprocess.Popen(
                [sys.executable, str(program), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**thread_environment(contract), "TF_CONFIG": places},
            )
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def said_plainly(program: Path, *arguments: str) -> list[str]:
    """What all nodes printed, each line behind its node's name."""
    lines: list[str] = []
    with plain(program, *arguments) as running:
        for name in ("worker0", "worker1"):
            said, errors = running[name].communicate(timeout=200)
            assert running[name].returncode == 0, errors[-3000:]
            lines += [f"{name}: {line}" for line in said.splitlines()]
        running["ps0"].kill()
        lines += [f"ps0: {line}" for line in running["ps0"].communicate()[0].splitlines()]
    return lines


def said_attested(contract: Path, program: Path, *arguments: str) -> tuple[list[str], str]:
    """What all nodes printed, each line behind its node's name; and all that was told."""
    finished = coterie("tensorflow", "run", contract, program, "--", *arguments)
    assert finished.returncode == 0, finished.stderr[-4000:]
    told = finished.stdout + finished.stderr
    return told.splitlines(), told


def losses(lines: list[str]) -> list[str]:
    return sorted(line for line in lines if " loss " in line)


def test_synchronous_training_gives_the_plain_ones_losses_bit_for_bit() -> None:
    arguments = ("--sync", "--steps", "8", "--rows", "1000")
    plainly = losses(said_plainly(DLRM, *arguments))
    attested, _ = said_attested(CONTRACT, DLRM, *arguments)
    assert len(plainly) == 16
    assert losses(attested) == plainly


def test_asynchronous_training_decreases_the_loss() -> None:
    lines, told = said_attested(CONTRACT, DLRM, "--steps", "60", "--rows", "1000")
    for worker in ("worker0", "worker1"):
        own = [line for line in lines if line.startswith(worker) and " loss " in line]
        assert float.fromhex(own[-1].rpartition(" ")[2]) < 0.65  # it begins with log 2
    assert "refused" not in told


class Secrets:
    """A folder with each node's secret, in a cluster whose contract allows all operations that it may allow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.of = {name: secrets.token_hex(7) for name in ("ps0", "worker0", "worker1")}
        for name, secret in self.of.items():
            (folder / name).write_text(secret)
        allowed = ", ".join(f'"{one}"' for one in sorted(HARMLESS))
        text = re.sub(
            r"operations = \[.*?\]",
            f"operations = [{allowed}]",
            CONTRACT.read_text(),
            flags=re.DOTALL,
        )
        self.key = folder / "party.pem"
        public = public_key_text(generate_party_key(self.key))
        for party in ("host", "acme", "bolt"):
            text = text.replace(f'name = "{party}"', f'name = "{party}"\nkey = "{public}"')
        measured = coterie("tensorflow", "measure", ATTACKS)
        text = text.replace("[tensorflow]\n", measured.stdout)
        self.file = folder / "contract.toml"
        self.file.write_text(text.replace("127.0.0.1:7440", free_address()))
        self.contract = load_contract(self.file)


AS_A_WORKER = ("plain", "functions", "condition", "beside", "write", "python", "other")
AS_A_SERVER = ("worker", "master")


@pytest.fixture
def of(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path)


def test_programs_that_attack_get_everything_from_plain_tensorflow(of: Secrets) -> None:
    """All but Python code: a function has a number in the process that made it, and none at the server."""
    lines = said_plainly(ATTACKS, str(of.folder))
    for name in ("plain", "functions", "condition", "beside"):
        assert f"worker1: {name}: {of.of['ps0']}" in lines
    assert f"worker1: other: {of.of['worker0']}" in lines
    assert "worker1: write: written" in lines
    assert (of.folder / "written").read_text() == "x"
    assert "worker1: python: failed: InvalidArgumentError" in lines
    for name in AS_A_SERVER:
        assert f"ps0: {name}: {of.of['worker0']}" in lines
    assert "worker0: trained: True" in lines


class Node:
    """One attested node of the cluster, started by itself, as its owner starts it."""

    def __init__(self, of: Secrets, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "coterie", "tensorflow", "node"),
                *(str(of.file), name, str(ATTACKS), "--party-key", str(of.key)),
                *("--log-format", "json", "--end-with-parent", "--", str(of.folder)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def refused(self) -> str:
        """The reason of the next refusal that it tells."""
        return reason_of(read_until(self.process, "Refused"))

    def said(self) -> list[str]:
        """All that it says until it ends; an end of its input would end it."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        said = self.process.stdout.read()
        self.process.wait(SECONDS)
        return [*said.splitlines(), *self.process.stderr.read().splitlines()]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def reason_of(event: str) -> str:
    told = json.loads(event)
    assert told["error"] == "CallRefused"
    reason: str = told["reason"]
    return reason.partition("; remedy: ")[0]


@pytest.fixture
def start(of: Secrets) -> Iterator[Callable[[str], Node]]:
    started: list[Node] = []

    def start(name: str) -> Node:
        started.append(Node(of, name))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_programs_that_attack_get_nothing_and_the_attacked_node_tells_it(
    of: Secrets, start: Callable[[str], Node]
) -> None:
    """A worker opens no session at another worker: they do not even know each other's address."""
    server, *workers = [start(name) for name in ("ps0", "worker0", "worker1")]
    said = {worker.name: worker.said() for worker in workers}
    assert [worker.process.returncode for worker in workers] == [0, 0], said
    server.process.terminate()
    said["ps0"] = server.said()
    for name, attacks in (("worker1", AS_A_WORKER), ("ps0", AS_A_SERVER)):
        for attack in attacks:
            (line,) = [one for one in said[name] if one.startswith(f"{attack}: ")]
            assert line.partition(": ")[2] in (
                {"no answer"}
                if attack == "other"
                else {"failed: UnavailableError", "failed: DeadlineExceededError"}
            )
    assert "trained: True" in said["worker0"]
    assert not (of.folder / "written").exists()
    assert not [one for lines in said.values() for one in lines if has_any(of, one)]
    refusals = {
        name: [reason_of(one) for one in lines if '"event": "Refused"' in one]
        for name, lines in said.items()
    }
    assert refusals["ps0"][0] == (
        "a graph of worker1 may not run here; expected: operations of the contract's list; seen: ReadFile"
    )
    assert refusals["worker0"][0] == (
        "ps0 may not make this call here; expected: /tensorflow.WorkerService/RecvTensor; "
        "seen: /tensorflow.WorkerService/GetStatus"
    )


def has_any(of: Secrets, line: str) -> bool:
    return any(secret in line for secret in of.of.values())


# What follows is said byte by byte, as no program of TensorFlow's can.

EDGE = "edge_1_secret"
OTHER = "f" * 16  # a session's handle


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


@pytest.mark.slow
def test_a_run_whose_program_needs_more_than_its_contract_allows_ends(tmp_path: Path) -> None:
    contract = tmp_path / "contract.toml"
    contract.write_text(CONTRACT.read_text().replace('"RandomUniform", ', ""))
    finished = coterie("tensorflow", "run", contract, DLRM, "--", "--steps", "2", "--rows", "1000")
    assert finished.returncode == CallRefused.exit_code
    assert "error: node ps0 refuses what the program asks of it" in finished.stderr
    assert "seen: RandomUniform" in finished.stderr
