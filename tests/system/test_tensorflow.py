"""TensorFlow clusters as real processes: attested equals plain, the wire shows nothing, strangers stay out."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Self

import pytest

from benchmarks.clusters import run_plain_cluster
from coterie.contract import load_contract
from coterie.contract.signatures import generate_party_key, public_key_text
from coterie.nodes.stopping import EXIT_CODE
from coterie.tensorflow.building import NATIVE_PART
from faults.loopback import free_address
from tests.conftest import REPOSITORY
from tests.system.clusters import EXAMPLES, PROGRAMS, ClusterNode
from tests.system.conftest import coterie, environment

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("loopback", "native_part"),
]


def attested(contract: Path, program: Path, *arguments: str) -> list[str]:
    """What the chief printed in an attested run on this machine."""
    finished = coterie("tensorflow", "run", contract, program, "--", *arguments)
    assert finished.returncode == 0, finished.stderr[-4000:]
    return finished.stdout.splitlines()


def losses(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("step ")]


@pytest.mark.parametrize(
    ("contract", "program", "arguments"),
    [
        ("cluster.toml", "dlrm_in_graph.py", ("--steps", "20", "--rows", "5000")),
        pytest.param(
            *("mirrored.toml", "multi_worker_mirrored.py", ("--steps", "10")),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_attested_run_gives_the_plain_ones_losses_bit_for_bit(
    contract: str, program: str, arguments: tuple[str, ...]
) -> None:
    plain = run_plain_cluster(
        load_contract(EXAMPLES / contract), EXAMPLES / program, list(arguments)
    )
    assert len(losses(plain)) == int(arguments[1])
    lines = attested(EXAMPLES / contract, EXAMPLES / program, *arguments)
    assert losses(lines) == losses(plain)


@pytest.mark.slow
def test_a_parameter_server_strategy_with_one_worker_gives_the_plain_ones_losses(
    tmp_path: Path,
) -> None:
    text = (EXAMPLES / "cluster.toml").read_text()
    start, end = text.index('[[nodes]]\nname = "worker1"'), text.index("\n[tensorflow]")
    contract = tmp_path / "one.toml"
    contract.write_text(text[:start] + text[end:])
    program = EXAMPLES / "dlrm_parameter_server.py"
    plain = run_plain_cluster(load_contract(contract), program, ["--steps", "20"])
    assert len(losses(plain)) == 20
    assert losses(attested(contract, program, "--steps", "20")) == losses(plain)


@pytest.mark.slow
def test_a_parameter_server_strategy_with_two_workers_learns_as_the_plain_one_does() -> None:
    """Asynchronous: no two runs are alike, but step i has the same batch in all of them."""
    contract, program = EXAMPLES / "cluster.toml", EXAMPLES / "dlrm_parameter_server.py"
    arguments = ["--steps", "200"]
    plain = tenths(run_plain_cluster(load_contract(contract), program, arguments))
    ours = tenths(attested(contract, program, *arguments))
    for first, last in (plain, ours):
        assert last < 0.9 * first
    assert ours == pytest.approx(plain, rel=0.1)


def tenths(lines: list[str]) -> tuple[float, float]:
    """Mean loss of the first and of the last tenth of the steps."""
    values = [float.fromhex(line.split(" loss ")[1]) for line in losses(lines)]
    assert len(values) == 200
    return fmean(values[:20]), fmean(values[-20:])


class Capture:
    """Everything that crosses loopback, searched for texts while it passes."""

    def __init__(self, texts: list[bytes]) -> None:
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        except PermissionError:
            pytest.skip("capturing packets needs root (CAP_NET_RAW)")
        self._socket.setsockopt(socket.SOL_SOCKET, 33, 1 << 28)  # SO_RCVBUFFORCE
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self._texts = texts
        self.found: set[bytes] = set()
        self.packets = self.dropped = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join()
        counts = self._socket.getsockopt(263, 6, 8)  # SOL_PACKET, PACKET_STATISTICS
        self.dropped = int.from_bytes(counts[4:8], sys.byteorder)
        self._socket.close()

    def _listen(self) -> None:
        tails: dict[bytes, bytes] = {}
        longest = max(map(len, self._texts))
        while True:
            try:
                packet = self._socket.recv(1 << 17)
            except TimeoutError:
                if self._stopping:
                    return
                continue
            self.packets += 1
            flow = packet[26:38]  # both addresses and ports, in IPv4 without options
            seen = tails.get(flow, b"") + packet[54:]
            self.found |= {text for text in self._texts if text in seen}
            tails[flow] = seen[-longest:]


@pytest.mark.slow
@pytest.mark.alone
def test_no_canary_crosses_the_wire_attested_and_all_do_in_plaintext(tmp_path: Path) -> None:
    canary = f"canary_{secrets.token_hex(8)}"
    texts = [
        f"{canary}_in_{place}".encode()
        for place in ("a_variable", "a_feed", "a_file_name", "an_operation")
    ]
    contract, program = EXAMPLES / "cluster.toml", PROGRAMS / "canaries.py"
    with Capture(texts) as plain:
        said = run_plain_cluster(load_contract(contract), program, [canary, str(tmp_path)])
    assert plain.found == set(texts)
    written = tmp_path / f"{canary}_in_a_file_name"
    assert written.read_bytes() == texts[1]
    written.unlink()

    with Capture([*texts, canary.encode(), b"tensorflow.WorkerService", b"PRI * HTTP/2.0"]) as ours:
        assert attested(contract, program, canary, str(tmp_path)) == said

    assert written.read_bytes() == texts[1]  # it did all the same
    assert ours.packets > 100
    assert ours.dropped == 0
    assert not ours.found & {*texts, canary.encode(), b"tensorflow.WorkerService"}


def test_a_program_runs_where_nobody_of_its_user_looks_into_it() -> None:
    """The node has started itself anew, with the layer in front of libc, before it read its key."""
    lines = attested(EXAMPLES / "mirrored.toml", PROGRAMS / "dumpable.py")
    assert lines == ["dumpable 0"]


class Cluster:
    """Nodes that are started one by one, under a contract with real keys and digests."""

    def __init__(self, folder: Path, program: Path, **trust: int) -> None:
        key = generate_party_key(folder / "owner.pem")
        measured = coterie("tensorflow", "measure", program)
        assert measured.returncode == 0
        text = (EXAMPLES / "cluster.toml").read_text()
        text = text.replace(
            '[[parties]]\nname = "owner"',
            f'[[parties]]\nname = "owner"\nkey = "{public_key_text(key)}"',
        ).replace("[tensorflow]\n", measured.stdout)
        limits = "".join(f"{name} = {value}\n" for name, value in trust.items())
        text = text.replace('tee = "simulated"\n', f'tee = "simulated"\n{limits}')
        for port in ("7440", "7450", "7460"):
            text = text.replace(f"127.0.0.1:{port}", free_address())
        self.contract = folder / "contract.toml"
        self.contract.write_text(text)
        self.key = folder / "owner.pem"
        self.program = program
        self.running: list[ClusterNode] = []

    def start(
        self, name: str, *arguments: str, program: Path | None = None, contract: Path | None = None
    ) -> ClusterNode:
        node = ClusterNode(
            contract or self.contract,
            name,
            program or self.program,
            key=self.key,
            arguments=arguments,
        )
        self.running.append(node)
        return node

    def close(self) -> None:
        for node in self.running:
            node.close()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(program: Path, **trust: int) -> Cluster:
        made.append(Cluster(tmp_path, program, **trust))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.mark.slow
def test_a_worker_dies_is_dropped_and_comes_back_with_a_new_key(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster, back = make_cluster(PROGRAMS / "rejoin.py"), tmp_path / "back"
    chief = cluster.start("chief", str(back))
    cluster.start("ps0", str(back))
    cluster.start("worker0", str(back))
    worker = cluster.start("worker1", str(back))
    assert chief.printed("both") == "both 2"

    worker.close()

    assert chief.printed("lost").split()[1] in {"UnavailableError", "AbortedError"}
    assert chief.printed("without") == "without 1"
    again = cluster.start("worker1", str(back))
    peers = {again.event("Attested")["peer"] for _ in range(3)}
    while peers != {"chief", "ps0", "worker0"}:  # some were attested from both sides
        peers.add(again.event("Attested")["peer"])
    back.touch()
    assert chief.printed("again") == "again 2"
    assert chief.process.wait(60) == 0


@pytest.mark.slow
def test_keys_are_renewed_while_a_program_trains(make_cluster: Callable[..., Cluster]) -> None:
    """Certificates and pins of one minute: training goes on when all that it began with has expired."""
    cluster = make_cluster(
        PROGRAMS / "for_a_while.py", certificate_minutes=1, reattestation_minutes=1
    )
    chief = cluster.start("chief", "75")
    for name in ("ps0", "worker0", "worker1"):
        cluster.start(name, "75")
    attested: list[str] = []
    said: list[str] = []
    for line in chief.rest():
        if '"event": "Attested"' in line:
            attested.append(json.loads(line)["peer"])
        elif '"event"' not in line:
            said = line.split()
    assert chief.process.returncode == 0
    assert int(said[3]) == 2 * int(said[1]) > 0  # no step was lost, none was done twice
    for peer in ("ps0", "worker0", "worker1"):
        assert attested.count(peer) >= 2  # at the start, and at least once while it trained


def test_a_node_that_is_alone_says_for_whom_it_waits_and_ends_when_it_is_told(
    make_cluster: Callable[..., Cluster],
) -> None:
    node = make_cluster(PROGRAMS / "rejoin.py").start("worker0")
    waiting = node.event("Waiting")
    assert waiting["names"] == ["chief", "ps0", "worker1"]
    assert float(str(waiting["seconds"])) <= 3
    reason = str(waiting["reason"])
    assert "chief has not dialled yet; ps0 does not answer at 127.0.0.1:" in reason
    assert "Connection refused" in reason
    node.process.terminate()
    assert node.event("Stopped")["node"] == "worker0"
    assert node.process.wait(60) == EXIT_CODE


def failure(node: ClusterNode) -> dict[str, str]:
    """The error with which a node fails."""
    error = node.event("Failed")["error"]
    assert isinstance(error, dict)
    return error


def test_another_program_is_refused(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = make_cluster(PROGRAMS / "rejoin.py")
    other = tmp_path / "rejoin.py"
    other.write_text((PROGRAMS / "rejoin.py").read_text() + "# one line more\n")
    node = cluster.start("worker0", program=other)
    error = failure(node)
    assert error["error"] == "ContractInvalid"
    assert "tensorflow.program" in error["expected"]
    assert node.process.wait(60) == 4


def test_a_node_under_another_programs_contract_is_refused(
    make_cluster: Callable[..., Cluster], tmp_path: Path
) -> None:
    """The program's digest is in the contract's, and so in every node's claims."""
    cluster = make_cluster(PROGRAMS / "rejoin.py")
    other = tmp_path / "other.py"
    other.write_text("print('mine')\n")
    digests = json.loads(coterie("tensorflow", "measure", other, "--json").stdout)
    lines = cluster.contract.read_text().splitlines()
    changed = [
        f'program = "{digests["program"]}"' if line.startswith("program = ") else line
        for line in lines
    ]
    contract = tmp_path / "changed.toml"
    contract.write_text("\n".join(changed))
    cluster.start("ps0")
    node = cluster.start("worker0", program=other, contract=contract)
    error = failure(node)
    assert error["error"] in {"ContractMismatch", "HandshakeFailed"}
    assert "tensorflow.program" in json.dumps(error)


def test_a_plain_tensorflow_client_gets_nothing(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(PROGRAMS / "rejoin.py")
    node = cluster.start("ps0")
    assert str(node.event("RecordLayer")["openssl"]).startswith("OpenSSL ")
    host, _, port = str(node.event("Listening")["address"]).rpartition(":")
    client = (
        "import sys, tensorflow as tf\n"
        "graph = tf.Graph()\n"
        "with graph.as_default():\n"
        "    value = tf.constant(1.0)\n"
        "options = tf.compat.v1.ConfigProto(operation_timeout_in_ms=3000)\n"
        "try:\n"
        "    print(tf.compat.v1.Session(sys.argv[1], graph=graph, config=options).run(value))\n"
        "except tf.errors.OpError as error:\n"
        "    print(type(error).__name__)\n"
    )
    for target in (f"grpc://{host}:{port}", f"grpc://{host}:{int(port) + 1}"):
        finished = subprocess.run(
            [sys.executable, "-c", client, target],
            capture_output=True, text=True, timeout=120, check=False, env=environment(),
        )  # fmt: skip
        assert finished.stdout.strip() in {"UnavailableError", "DeadlineExceededError"}
    refused = node.event("Refused")
    assert refused["error"] in {"HandshakeFailed", "EvidenceRefused"}


def test_a_process_without_the_native_part_in_front_refuses_to_run() -> None:
    script = (
        "from pathlib import Path\n"
        "from coterie.errors import EnvironmentUnfit\n"
        "from coterie.tensorflow.native import Native\n"
        "try:\n"
        "    Native(Path('/'), 0)\n"
        "except EnvironmentUnfit as error:\n"
        "    print(error.what)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert finished.stdout == (
        "TensorFlow's socket calls do not pass through Coterie's native part\n"
    )


def test_a_process_whose_tensorflow_escapes_the_native_part_refuses_to_run(tmp_path: Path) -> None:
    """The library is in front, but does not take TensorFlow for TensorFlow: the canary tells."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from coterie.errors import EnvironmentUnfit\n"
        "from coterie.tensorflow.native import Native\n"
        "from coterie.tensorflow import selftest\n"
        "from tests.ratls.conftest import World\n"
        "selftest._SECONDS = 3.0\n"
        "native = Native(Path('/nowhere'), 0)\n"
        "trust = World().trust('ps0')\n"
        "try:\n"
        "    selftest.self_test(native, trust.credentials.current().identity, trust.clock())\n"
        "except EnvironmentUnfit as error:\n"
        "    print(error.what)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "LD_PRELOAD": str(NATIVE_PART.path), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert finished.stdout == (
        "TensorFlow's socket calls do not pass through Coterie's native part\n"
    ), finished.stderr[-2000:]


def test_federated_contracts_without_operations_are_refused_in_words(tmp_path: Path) -> None:
    program = PROGRAMS / "rejoin.py"
    text = (EXAMPLES / "federated.toml").read_text()
    contract = tmp_path / "contract.toml"
    contract.write_text(text[: text.index("operations = [")] + text[text.index("[trust]") :])
    for arguments in (("run", contract, program), ("node", contract, "worker0", program)):
        finished = coterie("tensorflow", *arguments)
        assert finished.returncode == 4
        assert "tensorflow.operations is needed in mode hfl" in finished.stderr
        assert "Traceback" not in finished.stderr


def test_contracts_of_the_two_engines_keep_apart(tmp_path: Path) -> None:
    own = coterie("run", EXAMPLES / "cluster.toml", "--data", tmp_path, "--out", tmp_path / "out")
    assert own.returncode == 4
    assert "coterie tensorflow run" in own.stderr
    other = coterie("tensorflow", "run", EXAMPLES.parent / "sdt.toml", PROGRAMS / "rejoin.py")
    assert other.returncode == 4
    assert "a section [tensorflow]" in other.stderr
