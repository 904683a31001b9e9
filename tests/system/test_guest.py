"""A parameter server as a measured guest: built twice, started by emulation, used by real workers.

Nothing of this is a TEE. It shows that the image starts its node and nothing else, and that a TPM
measures what was predicted.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from coterie.attestation.measurement import own_package_measurement
from coterie.guest.building import DISK, MEASUREMENTS, BuiltGuest, build_guest
from coterie.guest.platform import find_platform
from tests.system.conftest import Federation, StartNode, coterie
from tests.system.guests import (
    PACKAGES,
    PORT,
    as_disk,
    from_guest,
    inputs_of,
    own_address,
    reported_pcrs,
    skip_without_build_tools,
    skip_without_emulation,
    started,
)
from tests.system.sealed import PARTIES, KeyServers, demanding

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(900)]

# A server's attestation port, and the one after it for calls.
PORTS = (PORT, PORT + 1)
# Besides these: where remote logins and the like would be.
OTHER_PORTS = (22, 23, 80, 2222)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuiltGuest]:
    skip_without_build_tools()
    out = tmp_path_factory.mktemp("guests")
    yield build_guest("ps", out, "simulated", find_platform(PACKAGES))
    shutil.rmtree(out)


@pytest.fixture
def key_server() -> Iterator[KeyServers]:
    servers = KeyServers()
    yield servers
    servers.close()


def of_guest(federation: Federation, built: BuiltGuest) -> Federation:
    """The same under a contract whose server is the guest's program, and whose workers are ours."""
    head, ps, worker = federation.text.split('measurement = "own"')
    own = own_package_measurement(tensorflow=False)
    federation.text = f'{head}mrenclave = ["{built.measured.program.hex()}"]{ps}mrenclave = ["{own.hex()}"]{worker}'
    return demanding(federation, "seal_checkpoints = true")


def answers(port: int) -> bool:
    """Whether anything in the guest takes a connection; QEMU itself takes every one for it."""
    with socket.create_connection((own_address(), port), timeout=20) as connection:
        connection.settimeout(3)
        try:
            return connection.recv(1) != b""
        except TimeoutError:  # connected, and waiting for us to speak: so does a server of TLS
            return True
        except ConnectionResetError:
            return False


def test_two_parties_build_the_same_image(
    built: BuiltGuest, federation: Federation, tmp_path: Path
) -> None:
    out = tmp_path / "elsewhere"
    done = coterie(
        *("build", "guest", "--contract", federation.contract, "--platform", PACKAGES),
        *("--out", out, "--image", "ps", "--json"),
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)["ps"]
    assert said["root"] == built.root.hex()
    assert said["bytes"] == built.octets
    files = sorted(path.name for path in built.folder.iterdir())
    assert files == ["disk.raw", "files.sha256", "guest.efi", MEASUREMENTS]
    for name in files:
        assert (out / "ps" / name).read_bytes() == (built.folder / name).read_bytes(), name


def test_a_federated_run_whose_server_is_a_guest_gives_the_same_model(
    built: BuiltGuest,
    federation: Federation,
    hfl_digest: str,
    key_server: KeyServers,
    start_node: StartNode,
) -> None:
    skip_without_emulation()
    contract = of_guest(federation, built)
    servers = {party: from_guest(key_server(contract, party).address) for party in PARTIES}
    node_toml = {"name": "ps0", "listen": f"0.0.0.0:{PORT}", "key_servers": servers}
    inputs = inputs_of(contract, node_toml)
    disk = built.folder / DISK
    machine = contract.folder / "machine"
    with started(disk, machine, *as_disk(inputs), forward=(*PORTS, *OTHER_PORTS)) as server:
        server.wait_event("Listening")
        measured = reported_pcrs(server)
        predicted = {pcr: value.hex() for pcr, value in built.measured.pcrs.items()}
        assert {pcr: measured[pcr] for pcr in predicted} == predicted
        assert [port for port in (*PORTS, *OTHER_PORTS) if answers(port)] == [*PORTS]

        address = f"{own_address()}:{PORT}"
        workers = [contract.worker(start_node, address, party=party) for party in ("acme", "bolt")]
        result = server.wait_event("Finished")["result"]
        assert isinstance(result, dict)
        assert result["model_digest"] == hfl_digest
        assert [worker.finish() for worker in workers] == [0, 0]
        assert server.finish() == 0
        assert "guest: ends with code 0\n" in server.said


def test_a_changed_root_starts_no_node(built: BuiltGuest, tmp_path: Path) -> None:
    skip_without_emulation()
    disk = tmp_path / "disk.raw"
    octets = bytearray((built.folder / DISK).read_bytes())
    superblock = octets.index(b"hsqs", 40 << 20)
    # The first of the root's data, right after its superblock: the interpreter.
    octets[superblock + 4096] ^= 1
    disk.write_bytes(octets)
    with started(disk, tmp_path / "machine") as node:
        node.finish()
    said = "".join(node.said)
    assert "panic" in said
    assert "corrupted" in said
    assert "guest: root" not in said


def test_a_guest_without_inputs_says_so_and_ends(built: BuiltGuest, tmp_path: Path) -> None:
    skip_without_emulation()
    with started(built.folder / DISK, tmp_path / "machine") as node:
        assert node.finish() == 0
    said = "".join(node.said)
    assert "error: the host has attached no inputs" in said
    assert "guest: ends with code 7" in said
