"""Checkpoints and models that lie sealed on foreign machines: whole runs with real key servers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coterie.trained.trained_model import TrainedModel
from tests.system.conftest import (
    AnyNode,
    Federation,
    Ran,
    StartNode,
    StartThread,
    contract_text,
    coterie,
    environment,
    make_scene,
    result_json,
)
from tests.system.sealed import PARTIES, KeyServers, demanding, seal, seal_key
from tests.system.threads import ThreadKeyServer

pytestmark = pytest.mark.system

SEAL = "seal_checkpoints = true"


@pytest.fixture
def sealing(federation: Federation) -> Federation:
    """A signed contract that seals checkpoints."""
    return demanding(federation, SEAL)


@pytest.fixture
def key_server() -> Iterator[KeyServers]:
    servers = KeyServers()
    yield servers
    servers.close()


def start_server(
    federation: Federation,
    start: Callable[..., AnyNode],
    servers: dict[str, ThreadKeyServer],
    listen: str,
) -> AnyNode:
    """The parameter server: its own party's key server, and the others' by name."""
    named: list[str] = []
    for party, server in servers.items():
        address = server.address if party == "operator" else f"{party}={server.address}"
        named += ["--key-server", address]
    out = federation.folder / "ps0"
    return start(federation.contract, "ps0", "--listen", listen, "--out", out, *named)


def on_disk(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def patterns(model: TrainedModel) -> list[bytes]:
    """Bytes that give the model away: pieces of its dense parameters, and of some rows."""
    dense = [model.dense[i : i + 4].tobytes() for i in range(0, model.dense.size - 4, 64)]
    rows = [model.row_values[i].tobytes() for i in range(0, model.row_ids.size, 50)]
    return [pattern for pattern in dense + rows if any(pattern)]


def test_a_server_killed_in_mid_run_goes_on_from_sealed_checkpoints_and_shows_its_host_nothing(
    sealing: Federation,
    hfl_run: Ran,
    hfl_digest: str,
    start_node: StartNode,
    start_thread: StartThread,
    key_server: KeyServers,
) -> None:
    sealed = {party: seal(sealing, party) for party in ("acme", "bolt")}
    keys = {party: seal_key(sealing, party) for party in ("acme", "bolt")}
    servers = {party: key_server(sealing, party) for party in PARTIES}
    first = start_server(sealing, start_node, servers, "127.0.0.1:0")
    address = str(first.wait_event("Listening")["address"])
    outs = {party: sealing.folder / f"{party}-out" for party in ("acme", "bolt")}
    workers = [
        start_thread(
            *(sealing.contract, f"{party}-worker", "--address", f"ps0={address}"),
            *("--data", sealed[party], "--key-server", servers[party].address),
            *("--out", outs[party]),
        )
        for party in ("acme", "bolt")
    ]
    first.wait_event("CheckpointWritten")
    first.kill()
    second = start_server(sealing, start_thread, servers, address)
    assert second.wait_event("Resumed")["step"]
    result = second.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == hfl_digest
    assert [node.finish() for node in (second, *workers)] == [0, 0, 0]

    opened = sealing.folder / "model.coterie"
    done = coterie(
        *("unseal", outs["acme"] / "model.coterie.sealed", opened, "--key", keys["acme"])
    )
    assert done.returncode == 0, done.stderr
    model = TrainedModel.read(opened)
    assert model.digest.hex() == hfl_digest
    _refuse_unsealing(outs["acme"] / "model.coterie.sealed", keys["bolt"], sealing.folder)

    secrets = patterns(model)
    hosts = on_disk(hfl_run.out / "nodes" / "ps0" / "checkpoints")
    assert any(secret in octets for octets in hosts.values() for secret in secrets), "not planted"
    for folder in (sealing.folder / "ps0", *outs.values()):
        found = [p for p, o in on_disk(folder).items() if any(secret in o for secret in secrets)]
        assert found == []

    for party in PARTIES:
        lines = (sealing.folder / f"{party}-log.jsonl").read_text().splitlines()
        shares = [x for x in map(json.loads, lines) if x["wanted"] == "share"]
        assert [(x["node"], x["party"], x["outcome"]) for x in shares] == [
            ("ps0", "operator", "granted")
        ] * 2


def _refuse_unsealing(sealed: Path, wrong: Path, folder: Path) -> None:
    done = coterie("unseal", sealed, folder / "stolen", "--key", wrong)
    assert done.returncode == 5
    assert "cannot be opened" in done.stderr
    assert not (folder / "stolen").exists()


@pytest.mark.parametrize("missing", ["acme", "operator"])
def test_a_server_that_lacks_a_partys_share_does_not_start(
    sealing: Federation, start_thread: StartThread, missing: str
) -> None:
    keys = [("--party-key", f"{p}={sealing.key(p)}") for p in PARTIES if p not in (missing, "bolt")]
    # Without its own party's share there is no voucher either.
    own = [] if missing == "operator" else ["--party-key", str(sealing.key("operator"))]
    node = start_thread(
        *(sealing.contract, "ps0", "--listen", "127.0.0.1:0", "--out", sealing.folder / "ps0"),
        *(item for pair in keys for item in pair),
        *own,
    )
    error = node.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    if missing == "operator":
        assert error["error"] == "VoucherRefused"
    else:
        assert error["what"] == (
            "nobody gives node ps0 the share of party acme of the checkpoints' key"
        )
        assert "--key-server acme=HOST:PORT" in error["remedy"]
        assert error["error"] == "KeyRefused"
    assert node.finish() == 3
    assert not (sealing.folder / "ps0" / "checkpoints").exists()


def test_a_key_server_that_is_down_is_named(
    federation: Federation, start_thread: StartThread
) -> None:
    federation.text = federation.text.replace("join_seconds = 300", "join_seconds = 1")
    sealing = demanding(federation, SEAL)
    node = start_thread(
        *(sealing.contract, "ps0", "--listen", "127.0.0.1:0", "--out", sealing.folder / "ps0"),
        *("--party-key", sealing.key("operator"), "--party-key", f"acme={sealing.key('acme')}"),
        *("--key-server", "bolt=127.0.0.1:1"),
    )
    error = node.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    assert error["what"] == "the key server of bolt does not answer at 127.0.0.1:1"
    assert node.finish() == 7


def test_a_worker_takes_no_other_partys_key_server(sealing: Federation) -> None:
    done = coterie(
        *("node", sealing.contract, "acme-worker", "--party-key", sealing.key("acme")),
        *("--key-server", "bolt=127.0.0.1:1"),
    )
    assert done.returncode == 4
    assert "acme-worker needs its own party's key server" in done.stderr


def test_checkpoints_of_another_contract_are_refused(
    sealing: Federation, start_thread: StartThread
) -> None:
    out = sealing.folder / "ps0"
    keys = [item for p in PARTIES for item in ("--party-key", f"{p}={sealing.key(p)}")]
    start = ("ps0", "--listen", "127.0.0.1:0", "--out", out, *keys)
    start = (*start, "--party-key", sealing.key("operator"))
    server = start_thread(sealing.contract, *start)
    address = str(server.wait_event("Listening")["address"])
    workers = [sealing.worker(start_thread, address, party=party) for party in ("acme", "bolt")]
    assert [node.finish() for node in (server, *workers)] == [0, 0, 0]
    # What remains are the checkpoints; the receipt of another run is refused before them.
    (out / "receipt.jsonl").unlink()
    sealing.text = sealing.text.replace("seed = 3", "seed = 4")
    other = demanding_again(sealing)
    refused = start_thread(other.contract, *start)
    error = refused.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    assert error["error"] == "CheckpointDamaged"
    assert "of another run" in error["what"]
    assert refused.finish() == 7


def demanding_again(federation: Federation) -> Federation:
    """Signs the changed contract."""
    from tests.system.sealed import sign

    federation.contract = federation.write("contract.toml", federation.text)
    for party in PARTIES:
        sign(federation, party)
    return federation


def test_a_run_on_one_machine_seals_too_and_resumes(
    raw: Path, hfl_digest: str, tmp_path: Path
) -> None:
    text = contract_text("hfl").replace("[trust]", f"[trust]\n{SEAL}", 1)
    scene = make_scene("hfl", raw, tmp_path, text)
    out = tmp_path / "run"
    command = ["run", str(scene.contract), "--data", str(scene.data), "--out", str(out), "--json"]
    first = subprocess.Popen(
        [sys.executable, "-m", "coterie", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert first.stderr is not None
    for line in first.stderr:
        if "checkpoint at step" in line:
            first.send_signal(signal.SIGKILL)
            break
    first.communicate()
    files = list((out / "nodes" / "ps0" / "checkpoints").glob("s*-*"))
    assert files
    assert all(path.read_bytes().startswith(b"COTSEAL1") for path in files)

    assert result_json(coterie(*command))["model_digest"] == hfl_digest
    assert TrainedModel.read(out / "model.coterie").digest.hex() == hfl_digest
