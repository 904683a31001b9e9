"""What strangers cost a node: ``python -m faults.strangers [--seconds N]`` prints a table, measured per port.

A server, a worker that listens (SDT) and a key server run as processes. At each port 100 connections without credentials are
kept open for some seconds, from seven addresses, each made again as soon as it is cut off: silent ones,
ones that send noise, ones that send a byte from time to time, and ones that prove a key of their own and
send a large message of two million items. Beside them an honest node does its handshake, again and again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path

from coterie.contract import Node
from coterie.errors import CoterieError
from coterie.keys.server import messages as keys
from coterie.nodes.attested import attested_fabric
from coterie.nodes.options import NodeOptions
from coterie.nodes.trust import node_trust
from coterie.ps.wire import ps_pb2 as pb
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import ThrowAwayIdentity, unproved_key
from coterie.ratls.tls import ALPN, TlsConnection
from coterie.status import messages as status
from faults.loopback import free_address
from faults.nodes import Nodes, status_bytes
from faults.scene import Scene, scenes

_CONNECTIONS = 100
_SOURCES = 7
_ITEMS = (1 << 21) - 15
_FLOOD = (_ITEMS + 11).to_bytes(4, "big") + b"\xa1\x64kind\x9a" + _ITEMS.to_bytes(4, "big")
_FLOOD += b"\x80" * _ITEMS
_TICKS = os.sysconf("SC_CLK_TCK")  # a second
_numbers = count(1)


@dataclass(frozen=True)
class Port:
    """A listening port.

    Attributes:
        name: What it is.
        number: On loopback.
        process: Who listens.
        alpn: What is spoken there, by visitors where they may come; empty at gRPC's port.
        honest: An honest node's handshake and first call.
    """

    name: str
    number: int
    process: subprocess.Popen[str]
    alpn: bytes
    honest: Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """What a port's process used: bytes and descriptors more than before, CPU as a share of one core."""

    connections: int
    memory: int
    descriptors: int
    cpu: float
    honest_seconds: tuple[float, ...]


def main() -> int:
    """Measures; 1 if an honest node was refused."""
    parser = argparse.ArgumentParser(prog="python -m faults.strangers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="at each port")
    parser.add_argument("--only", default="", help="ports whose names hold this")
    given = parser.parse_args()
    sys.stdout.write(
        "| Port | Connections made | Memory, MB more | Descriptors more | CPU, of one core | "
        "Honest handshakes: number, median s, longest s |\n|---|---|---|---|---|---|\n"
    )
    refused = False
    with tempfile.TemporaryDirectory(prefix="coterie-strangers-") as name:
        folder = Path(name)
        with _listening(scenes(folder / "scenes")["sdt"], folder) as ports:
            for port in (port for port in ports if given.only in port.name):
                cost = _measured(port, given.seconds)
                took = cost.honest_seconds
                refused = refused or not took
                told = (
                    f"{len(took)}, {statistics.median(took):.2f}, {max(took):.2f}" if took else "0"
                )
                sys.stdout.write(
                    f"| {port.name} | {cost.connections:,} | {cost.memory / 1e6:.1f} | "
                    f"{cost.descriptors} | {cost.cpu:.2f} | {told} |\n"
                )
                sys.stdout.flush()
    return int(refused)


@contextmanager
def _listening(scene: Scene, folder: Path) -> Iterator[list[Port]]:
    """The ports of a server, a worker and a key server."""
    contract = scene.contract
    nodes = Nodes(scene, folder)
    address = free_address()
    keyserver = _key_server(scene, folder, address)
    try:
        for name in ("ps0", "worker0"):
            nodes.start(contract.node(name))
        addresses = {name: nodes.address(name) for name in ("ps0", "worker0")}
        options = NodeOptions(addresses=addresses, party_key=scene.keys["owner"])

        def status_of_server(node: Node) -> object:
            fabric = attested_fabric(
                contract, node, options, on_event=lambda _: None, incarnation=next(_numbers)
            )
            try:
                return fabric.parameter_server(0).status(pb.StatusRequest())
            finally:
                fabric.close()

        def reach_worker(node: Node) -> object:
            fabric = attested_fabric(
                contract, node, options, on_event=lambda _: None, incarnation=next(_numbers)
            )
            try:
                return fabric.data_receiver("worker0", 5.0)
            finally:
                fabric.close()

        def voucher(node: Node) -> object:
            with_server = NodeOptions(addresses=addresses, key_server=address)
            return node_trust(contract, node, with_server, incarnation=next(_numbers))

        honest = {
            "ps0": partial(status_of_server, contract.node("worker1")),
            "worker0": partial(reach_worker, contract.node("chief")),
        }
        ports = []
        for name, call in honest.items():
            number = int(addresses[name].rpartition(":")[2])
            process = nodes.process(name)
            alpn = status.PROTOCOL.alpn if name == "ps0" else ALPN
            ports.append(Port(f"attestation, {name}", number, process, alpn, call))
            ports.append(Port(f"gRPC, {name}", number + 1, process, b"", call))
        number = int(address.rpartition(":")[2])
        ports.append(
            Port(
                "key server",
                number,
                keyserver,
                keys.PROTOCOL.alpn,
                partial(voucher, contract.node("worker1")),
            )
        )
        for port in ports:
            port.honest()  # it is up, and warm
        yield ports
    finally:
        keyserver.kill()
        keyserver.wait()
        nodes.close()


def _key_server(scene: Scene, folder: Path, address: str) -> subprocess.Popen[str]:
    policy = folder / "policy.toml"
    policy.write_text(f'format = 1\nparty = "owner"\ncontract = "{scene.file}"\n')
    command = [sys.executable, "-m", "coterie", "keyserver", str(policy), "--listen", address]
    command += ["--party-key", str(scene.keys["owner"]), "--log", str(folder / "keys.jsonl")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)


def _measured(port: Port, seconds: float) -> Cost:
    """Keeps hostile connections to a port, and does honest handshakes beside them."""
    process = port.process.pid
    memory, descriptors, cpu = _held(process), _descriptors(process), _cpu(process)
    most = [memory, descriptors]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            most[0] = max(most[0], _held(process))
            most[1] = max(most[1], _descriptors(process))

    watching = threading.Thread(target=watch)
    began = time.monotonic()
    took = []
    with _crowd(port) as made:
        watching.start()
        while time.monotonic() < began + seconds:
            start = time.monotonic()
            with suppress(CoterieError):
                port.honest()
                took.append(time.monotonic() - start)
        used = (_cpu(process) - cpu) / (time.monotonic() - began)
        over.set()
        watching.join()
    return Cost(made.value, most[0] - memory, most[1] - descriptors, used, tuple(took))


@contextmanager
def _crowd(port: Port) -> Iterator[Synchronized[int]]:
    """Hostile connections, from a process of their own: they share no lock with who is honest."""
    apart = multiprocessing.get_context("spawn")
    over, made = apart.Event(), apart.Value("i")
    process = apart.Process(target=_knock, args=(port.number, port.alpn or b"h2", over, made))
    process.start()
    try:
        yield made
    finally:
        over.set()
        process.join()


def _knock(port: int, alpn: bytes, over: Event, made: Synchronized[int]) -> None:
    threads = [
        threading.Thread(target=_hostile, args=(port, alpn, place, over, made))
        for place in range(_CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _hostile(port: int, alpn: bytes, place: int, over: Event, made: Synchronized[int]) -> None:
    acts = (_silent, _noise, _drip, partial(_flood, alpn))
    while not over.is_set():
        with suppress(OSError, CoterieError), socket.socket() as sock:
            sock.settimeout(0.5)
            sock.bind((f"127.0.0.{2 + place % _SOURCES}", 0))
            sock.connect(("127.0.0.1", port))
            with made.get_lock():
                made.value += 1
            acts[place % len(acts)](sock, over)
        over.wait(0.05)  # or the strangers' own work would be all that the machine does


def _silent(sock: socket.socket, over: Event) -> None:
    _until_cut(sock, over)


def _noise(sock: socket.socket, over: Event) -> None:
    sock.sendall(random.Random(7).randbytes(1 << 16))  # noqa: S311 (noise, no secret)
    _until_cut(sock, over)


def _drip(sock: socket.socket, over: Event) -> None:
    for octet in b"\x16\x03\x01\x02\x00\x01" + bytes(1 << 9):
        sock.sendall(bytes([octet]))
        if over.wait(0.5):
            return


def _flood(alpn: bytes, sock: socket.socket, over: Event) -> None:
    connection = TlsConnection(
        sock,
        ThrowAwayIdentity.create(datetime.now(UTC)),
        lambda der: unproved_key(der, "the victim", most=1 << 20),
        listener=False,
        at=datetime.now(UTC),
        deadline=Deadline.after(10),
        peer_name="the victim",
        alpn=alpn,
    )
    connection.handshake()
    connection.send(_FLOOD)
    _until_cut(sock, over)


def _until_cut(sock: socket.socket, over: Event) -> None:
    while not over.is_set():
        with suppress(TimeoutError):
            if not sock.recv(1 << 16):
                return


def _held(process: int) -> int:
    return status_bytes(process, "RssAnon")


def _descriptors(process: int) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def _cpu(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


if __name__ == "__main__":
    sys.exit(main())
