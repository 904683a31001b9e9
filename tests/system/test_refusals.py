"""What must be refused is, by real processes, with the exact error and exit code."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

import coterie as package
from tests.system.conftest import (
    Federation,
    Node,
    Scene,
    StartNode,
    StartThread,
    contract_text,
    coterie,
    environment,
)
from tests.system.threads import ThreadNode

pytestmark = pytest.mark.system


def failure(node: Node | ThreadNode) -> dict[str, str]:
    error = node.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    return error


def test_contracts_that_differ_in_one_value_are_refused_by_its_name(
    federation: Federation, start_node: StartNode, start_thread: StartThread
) -> None:
    server, address = federation.server(start_node)
    other = federation.write("other.toml", federation.text.replace("batch = 64", "batch = 65"))
    worker = federation.worker(start_thread, address, contract=other)
    error = failure(worker)
    assert error["error"] == "ContractMismatch"
    assert "training.batch: 65 here, 64 there" in json.dumps(error)
    assert worker.finish() == 4
    refused = server.wait_event("Refused")
    assert refused["error"] == "ContractMismatch"
    assert "training.batch: 64 here, 65 there" in str(refused["reason"])


def test_changed_code_is_refused(
    federation: Federation, start_node: StartNode, tmp_path: Path
) -> None:
    server, address = federation.server(start_node)
    copy = tmp_path / "other-build"
    shutil.copytree(Path(package.__file__).parent, copy / "coterie")
    with (copy / "coterie" / "training" / "worker.py").open("a") as file:
        file.write("\n# one byte more\n")
    worker = federation.worker(start_node, address, env=environment(PYTHONPATH=str(copy)))
    # Whoever answered had not proved himself, so the worker goes on trying, and says why at once.
    refused = worker.wait_event("Refused")
    assert refused["error"] == "EvidenceRefused"
    assert "[mrenclave]" in str(refused["reason"])
    assert server.wait_event("Refused")["error"] in {"EvidenceRefused", "HandshakeFailed"}


def test_a_worker_without_its_partys_voucher_does_not_start(
    federation: Federation, start_thread: StartThread
) -> None:
    address = "127.0.0.1:9"  # it ends before it dials
    for key in ("bolt", "operator"):
        worker = federation.worker(start_thread, address, key=key)
        assert failure(worker)["error"] == "VoucherRefused"
        assert worker.finish() == 3
    unvouched = coterie(
        "node", federation.contract, "acme-worker", "--address", f"ps0={address}",
        "--data", federation.data / "acme",
    )  # fmt: skip
    assert unvouched.returncode == 3
    assert "nobody vouches for node acme-worker" in unvouched.stderr


def test_a_port_in_use_is_refused(federation: Federation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        finished = coterie(
            "node", federation.contract, "ps0",
            "--listen", listen, "--party-key", federation.key("operator"),
        )  # fmt: skip
    assert finished.returncode == 7
    assert listen in finished.stderr
    assert "remedy:" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_missing_worker_ends_the_wait_with_its_name(
    federation: Federation, start_thread: StartThread
) -> None:
    short = federation.write(
        "short.toml", federation.text.replace("join_seconds = 300", "join_seconds = 0.5")
    )
    server = start_thread(
        short, "ps0", "--listen", "127.0.0.1:0", "--party-key", federation.key("operator")
    )
    error = failure(server)
    assert error["error"] == "NodeMissing"
    assert "acme-worker, bolt-worker to join" in error["what"]
    assert server.finish() == 7


def test_an_output_directory_of_another_run_is_refused(hfl: Scene, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    finished = coterie("run", hfl.contract, "--data", hfl.data, "--out", tmp_path, "--json")
    assert finished.returncode == 7
    assert json.loads(finished.stdout)["error"] == "OutputInUse"
    assert [path.name for path in tmp_path.iterdir() if path.name != ".lock"] == ["holiday.jpg"]


def test_a_damaged_shard_ends_the_run_with_its_name(hfl: Scene, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(hfl.data, data)
    shard = next((data / "bolt").glob("train*"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    finished = coterie("run", hfl.contract, "--data", data, "--out", tmp_path / "out", "--json")
    assert finished.returncode == 5
    error = json.loads(finished.stdout)
    assert error["error"] == "DataSetDamaged"
    assert shard.name in error["what"]
    assert not (tmp_path / "out" / "result.json").exists()


def test_data_of_another_contract_is_refused(hfl: Scene, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(contract_text("hfl").replace("min_count = 2", "min_count = 3"))
    finished = coterie("run", other, "--data", hfl.data, "--out", tmp_path / "out", "--json")
    assert finished.returncode == 5
    assert json.loads(finished.stdout)["error"] == "DataSetMismatch"
    assert not (tmp_path / "out").exists()


def test_a_folder_without_data_is_refused_before_anything_starts(
    hfl: Scene, tmp_path: Path
) -> None:
    finished = coterie("run", hfl.contract, "--data", tmp_path, "--out", tmp_path / "out", "--json")
    assert finished.returncode == 5
    assert json.loads(finished.stdout) == {
        "error": "DataSetDamaged",
        "what": f"{tmp_path / 'acme'} holds no prepared data set",
        "expected": "manifest.json, as `coterie prepare` writes it",
        "seen": "no such file",
        "remedy": "check the path; or prepare the data: coterie prepare RAW OUT --contract C",
    }
    assert not (tmp_path / "out").exists()
    assert "started" not in finished.stderr


def test_a_users_mistake_never_shows_a_traceback(tmp_path: Path) -> None:
    finished = coterie("run", tmp_path / "none.toml", "--data", tmp_path, "--out", tmp_path / "out")
    assert finished.returncode == 4
    assert "cannot be read" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out").exists()
