"""Whole runs on sealed data: key servers vouch and give keys, and nobody else has any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Federation, Ran, Scene, StartThread, coterie, rented
from tests.system.sealed import PARTIES, KeyServers, demanding, seal

pytestmark = pytest.mark.system

# A worker opens its data before it dials: whoever is refused then needs no server.
NOBODY = "127.0.0.1:9"


@pytest.fixture
def signed(federation: Federation) -> Federation:
    return demanding(federation)


@pytest.fixture
def key_server() -> Iterator[KeyServers]:
    servers = KeyServers()
    yield servers
    servers.close()


def test_sealed_data_train_the_same_model(
    signed: Federation,
    hfl_digest: str,
    start_thread: StartThread,
    key_server: KeyServers,
) -> None:
    sealed = {party: seal(signed, party) for party in ("acme", "bolt")}
    servers = {party: key_server(signed, party) for party in PARTIES}
    ps = start_thread(
        *(signed.contract, "ps0", "--listen", "127.0.0.1:0", "--out", signed.folder / "ps0"),
        *("--key-server", servers["operator"].address),
    )
    address = str(ps.wait_event("Listening")["address"])
    workers = [
        start_thread(
            *(signed.contract, f"{party}-worker", "--address", f"ps0={address}"),
            *("--data", sealed[party], "--key-server", servers[party].address),
        )
        for party in ("acme", "bolt")
    ]
    result = ps.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == hfl_digest
    assert [node.finish() for node in (ps, *workers)] == [0, 0, 0]
    granted = [(told["node"], told["wanted"]) for told in servers["acme"].end()]
    assert granted == [("acme-worker", "voucher"), ("acme-worker", "data")]


def test_a_chief_deals_out_sealed_data(
    sdt: Scene,
    sdt_local: Ran,
    tmp_path: Path,
    start_thread: StartThread,
    key_server: KeyServers,
) -> None:
    owner = demanding(Federation(tmp_path, sdt))
    sealed = seal(owner, "owner")
    server = key_server(owner, "owner")
    nodes = rented(owner, start_thread, sealed, ("--key-server", server.address))
    result = nodes[0].wait_event("Finished")["result"]
    assert isinstance(result, dict)
    assert result["model_digest"] == sdt_local.result["model_digest"]
    assert [node.finish() for node in nodes] == [0, 0, 0, 0]
    granted = {(told["node"], told["wanted"]) for told in server.end()}
    assert {node for node, wanted in granted if wanted == "data"} == {"chief"}


def test_the_key_of_another_partys_data_is_not_given(
    signed: Federation, start_thread: StartThread, key_server: KeyServers
) -> None:
    sealed = seal(signed, "acme")
    stolen = signed.folder / "stolen"
    stolen.mkdir()
    for path in sealed.iterdir():
        text = path.read_bytes().replace(b'"acme"', b'"bolt"')
        (stolen / path.name).write_bytes(text)
    server = key_server(signed, "bolt")
    worker = start_thread(
        *(signed.contract, "bolt-worker", "--address", f"ps0={NOBODY}"),
        *("--data", stolen, "--key-server", server.address),
    )
    error = worker.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    assert "KeyRefused: the key server of bolt has no key for this data set" in error["what"]
    assert worker.finish() == 3


def flipped(folder: Path) -> None:
    path = folder / "train.shard.sealed"
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 2] ^= 1
    path.write_bytes(octets)


def cut(folder: Path) -> None:
    path = folder / "train.shard.sealed"
    path.write_bytes(path.read_bytes()[:-1])


def swapped(folder: Path) -> None:
    (folder / "test.shard.sealed").replace(folder / "validation.shard.sealed")


@pytest.mark.parametrize(
    ("change", "file"),
    [(flipped, "train.shard"), (cut, "train.shard"), (swapped, "validation.shard")],
    ids=["a bit", "the end", "another file"],
)
def test_a_worker_trains_on_nothing_that_its_host_has_touched(
    signed: Federation,
    start_thread: StartThread,
    key_server: KeyServers,
    change: Callable[[Path], None],
    file: str,
) -> None:
    sealed = seal(signed, "acme")
    change(sealed)
    server = key_server(signed, "acme")
    worker = start_thread(
        *(signed.contract, "acme-worker", "--address", f"ps0={NOBODY}"),
        *("--data", sealed, "--key-server", server.address),
    )
    error = worker.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    assert error["error"] == "SealBroken"
    assert f"the sealed file {file} cannot be opened" in error["what"]
    assert worker.finish() == 5


def test_sealed_data_without_a_key_server_are_not_opened(
    signed: Federation, start_thread: StartThread
) -> None:
    sealed = seal(signed, "acme")
    worker = start_thread(
        *(signed.contract, "acme-worker", "--address", f"ps0={NOBODY}"),
        *("--data", sealed, "--party-key", signed.key("acme")),
    )
    error = worker.wait_event("Failed")["error"]
    assert isinstance(error, dict)
    assert (error["error"], error["seen"]) == ("KeyRefused", "no key server")
    assert worker.finish() == 3


def test_nobody_runs_under_a_contract_that_not_all_have_signed(signed: Federation) -> None:
    (signed.folder / "contract.toml.bolt.sig").unlink()
    policy = signed.write("policy.toml", 'format = 1\nparty = "acme"\ncontract = "contract.toml"\n')
    key = ("--party-key", signed.key("acme"))
    listen = ("--listen", "127.0.0.1:0")
    for command in (
        ("node", signed.contract, "acme-worker", *key),
        ("keyserver", policy, *key, *listen, "--log", signed.folder / "log.jsonl"),
    ):
        done = coterie(*command)
        assert done.returncode == 4
        assert "1 of 3 parties have not signed the contract" in done.stderr
        assert "none of bolt" in done.stderr


def test_a_contract_that_was_changed_after_signing_is_refused(signed: Federation) -> None:
    text = signed.contract.read_text()
    signed.contract.write_text(text.replace("seed = 3", "seed = 4"))
    done = coterie("node", signed.contract, "acme-worker", "--party-key", signed.key("acme"))
    assert done.returncode == 4
    assert "the signature of operator is for another contract" in done.stderr


def test_a_key_server_takes_its_own_partys_key_only(signed: Federation) -> None:
    policy = signed.write("policy.toml", 'format = 1\nparty = "acme"\ncontract = "contract.toml"\n')
    done = coterie(
        *("keyserver", policy, "--party-key", signed.key("bolt")),
        *("--listen", "127.0.0.1:0", "--log", signed.folder / "log.jsonl"),
    )
    assert done.returncode == 4
    assert "this is not the key that the contract names for acme" in done.stderr
