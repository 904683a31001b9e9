"""Nodes of a TensorFlow cluster of several companies as processes, plain and attested, for tests."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coterie.contract import load_contract
from coterie.contract.signatures import generate_party_key, public_key_text
from coterie.contract.tensorflow_operations import HARMLESS
from coterie.nodes.children import thread_environment
from coterie.tensorflow.cluster import tf_config
from faults.loopback import free_address, free_addresses
from tests.system.conftest import coterie, environment
from tests.system.test_tensorflow import EXAMPLES, PROGRAMS, read_until

CONTRACT, DLRM = EXAMPLES / "federated.toml", EXAMPLES / "dlrm_between_graph.py"
ATTACKS = PROGRAMS / "attacks.py"
SECONDS = 120.0  # TensorFlow's start on a busy machine, among others


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
