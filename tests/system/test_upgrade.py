"""A patch release in the middle of a run: node by node, under a contract that lists both programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import coterie
from coterie.attestation.measurement import package_measurement
from coterie.contract import load_contract
from coterie.data.prepare.preparation import prepare
from coterie.nodes.launch import run_in_process
from coterie.receipts.explain import proves
from coterie.receipts.verification import verify_receipt
from faults.loopback import free_address
from faults.scene import Pace, scenes

pytestmark = pytest.mark.system
PACKAGE = Path(coterie.__file__).parent
NODES = {"ps0": "operator", "acme-worker": "acme", "bolt-worker": "bolt"}


def next_event(process: subprocess.Popen[str], kind: str) -> dict[str, object]:
    """Reads on to the next event of a kind."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, object] = json.loads(line)
        if event["event"] == kind:
            return event
    raise AssertionError(f"it ended before {kind}: exit code {process.wait()}")


def test_a_server_and_then_a_worker_are_upgraded_and_the_receipt_tells_it(tmp_path: Path) -> None:
    newer = tmp_path / "release" / "coterie"
    shutil.copytree(PACKAGE, newer, ignore=shutil.ignore_patterns("__pycache__"))
    with (newer / "text.py").open("a") as file:
        file.write("\n# a patch release\n")
    old, new = package_measurement(PACKAGE).hex(), package_measurement(newer).hex()
    scene = scenes(tmp_path / "scene", Pace(epochs=6, checkpoint_steps=5))["hfl"]
    text = scene.file.read_text().replace('measurement = "own"', f'mrenclave = ["{old}", "{new}"]')
    scene.file.write_text(text)
    contract = load_contract(scene.file)
    shutil.rmtree(scene.data)
    prepare(scene.file.parents[1] / "raw.tsv", scene.data, contract, deal="round-robin")
    address = free_address()

    def command(name: str) -> list[str]:
        words = [sys.executable, "-m", "coterie", "node", str(scene.file), name]
        words += ["--out", str(tmp_path / name), "--log-format", "json", "--end-with-parent"]
        words += ["--party-key", str(scene.keys[NODES[name]])]
        if name == "ps0":
            return [*words, "--listen", address]
        data = str(scene.data / NODES[name])
        return [*words, "--address", f"ps0={address}", "--data", data]

    with ExitStack() as stack:

        def start(name: str, package: Path) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                command(name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        server = start("ps0", PACKAGE)
        workers = {name: start(name, PACKAGE) for name in NODES if name != "ps0"}
        next_event(server, "CheckpointWritten")
        server.kill()
        server.wait()
        server = start("ps0", newer)
        next_event(server, "CheckpointWritten")
        workers["acme-worker"].kill()
        workers["acme-worker"].wait()
        workers["acme-worker"] = start("acme-worker", newer)
        finished = next_event(server, "Finished")
        for process in (server, *workers.values()):
            # Not communicate(): it closes standard input, and who ends with its parent ends by that.
            assert process.wait(60) == 0

    result = finished["result"]
    assert isinstance(result, dict)
    undisturbed = run_in_process(contract, scene.data, lambda _: None)
    assert result["model_digest"] == undisturbed.model_digest
    found = verify_receipt(tmp_path / "ps0" / "receipt.jsonl", expected=contract)
    assert found.history.starts == 2
    upgraded = [line for line in proves(found) if "more than one program" in line]
    assert [line.split()[0] for line in upgraded] == ["ps0", "acme-worker"]
    for line in upgraded:
        assert line.index(old) < line.index(new)
