"""Guests of the other images, and of other kinds of TEE, started by emulation.

A worker trains; a TensorFlow program's node is vouched for; a guest for Azure's kinds makes evidence by
its TPM. Nothing of this is a TEE.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import pytest

from coterie.attestation.measurement import own_package_measurement
from coterie.attestation.snp.endorsements import EndorsementFolder, completed
from coterie.attestation.snp.report import parse_report
from coterie.attestation.tee.simulated.azure import SimulatedVm
from coterie.attestation.vtpm.hcl_report import HclReport
from coterie.enclave.contents import ImageName
from coterie.guest.building import DISK, BuiltGuest, build_guest
from coterie.guest.disks import DATA_LABEL
from coterie.guest.platform import find_platform
from coterie.kinds import TeeKind
from coterie.tensorflow.digests import read_program, tensorflow_folder, wheel_digest
from faults.loopback import free_address
from tests.attestation.snp.test_snp_tee import Amd
from tests.attestation.vtpm.devices import nv_index
from tests.attestation.vtpm.software import Software, software_tpm
from tests.conftest import REPOSITORY
from tests.system.conftest import SDT_NODES, Federation, Scene, StartNode
from tests.system.guests import (
    PACKAGES,
    as_disk,
    file_system,
    from_guest,
    inputs_of,
    reported_pcrs,
    skip_without_build_tools,
    skip_without_emulation,
    started,
)
from tests.system.sealed import PARTIES, KeyServers, demanding, seal, seal_key, sign

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(900)]

Build = Callable[[ImageName, TeeKind], BuiltGuest]


@pytest.fixture
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    skip_without_build_tools()
    skip_without_emulation()
    out = tmp_path_factory.mktemp("guests")
    yield lambda image, tee: build_guest(image, out, tee, find_platform(PACKAGES))
    shutil.rmtree(out)


@pytest.fixture
def key_server() -> Iterator[KeyServers]:
    servers = KeyServers()
    yield servers
    servers.close()


def test_a_worker_trains_in_a_guest(
    build: Build,
    federation: Federation,
    key_server: KeyServers,
    start_node: StartNode,
) -> None:
    built = build("worker", "simulated")
    own = own_package_measurement(tensorflow=False).hex()
    head, ps, worker = federation.text.split('measurement = "own"')
    accepted = f'mrenclave = ["{built.measured.program.hex()}", "{own}"]'
    text = f'{head}mrenclave = ["{own}"]{ps}{accepted}{worker}'
    # An emulated processor takes its time, above all while others use this machine.
    text = text.replace("join_seconds = 300", "join_seconds = 800")
    federation.text = text.replace("step_seconds = 60", "step_seconds = 600")
    contract = demanding(federation)
    data = file_system(contract.folder / "data.ext4", DATA_LABEL, seal(contract, "acme"))
    seal_key(contract, "acme")
    server, address = contract.server(start_node)
    node_toml = {
        "name": "acme-worker",
        "addresses": {"ps0": from_guest(address)},
        "key_servers": {"acme": from_guest(key_server(contract, "acme").address)},
    }
    disks = (*as_disk(inputs_of(contract, node_toml)), *as_disk(data))
    other = contract.worker(start_node, address, party="bolt")
    with started(built.folder / DISK, contract.folder / "machine", *disks, megabytes=3072) as guest:
        assert guest.finish() == 0
    said = "".join(guest.said)
    assert "guest: ends with code 0" in said, said[-3000:]
    result = server.wait_event("Finished")["result"]
    assert isinstance(result, dict)
    # The same model at both; of a run without the guest it is not: the emulated processor lacks
    # instructions with which this one rounds once instead of twice.
    kept = [json.loads(line) for line in guest.said if '"event": "ModelKept"' in line]
    assert [event["digest"] for event in kept] == [result["model_digest"]]
    assert [node.finish() for node in (server, other)] == [0, 0]


def test_a_tensorflow_programs_node_starts_in_a_guest(
    build: Build, key_server: KeyServers, tmp_path: Path
) -> None:
    built = build("tensorflow", "simulated")
    program = REPOSITORY / "examples" / "tensorflow" / "dlrm_in_graph.py"
    text = SDT_NODES
    while "127.0.0.1:0" in text:
        text = text.replace("127.0.0.1:0", free_address(), 1)
    text += f'\n[tensorflow]\nprogram = "{read_program(program).digest}"\n'
    text += f'wheel = "{wheel_digest(tensorflow_folder())}"\n\n[trust]\ntee = "simulated"\n'
    for role in ("ps", "worker", "chief"):
        text += f'\n[trust.roles.{role}]\nmrenclave = ["{built.measured.program.hex()}"]\n'
        text += 'accepted_tcb_statuses = ["UpToDate"]\n'
    scene = tmp_path / "scene.toml"
    scene.write_text(text)
    folder = tmp_path / "cluster"
    folder.mkdir()
    contract = Federation(folder, Scene(scene, tmp_path))
    servers = {"owner": from_guest(key_server(contract, "owner").address)}
    node_toml = {"name": "worker0", "listen": "0.0.0.0:7440", "key_servers": servers}
    inputs = inputs_of(contract, node_toml, {"program.py": program.read_bytes()})
    with started(
        built.folder / DISK, folder / "machine", *as_disk(inputs), megabytes=3072
    ) as guest:
        listening = guest.wait_event("Listening")
    assert listening["node"] == "worker0"


class OfSoftware(SimulatedVm):
    """A simulated machine whose paravisor names the key of a software TPM."""

    software: Software

    @cached_property
    def modulus(self) -> int:
        return self.software.key().public_numbers().n


AZURE = """
[trust.roles.{role}]
tee = "azure-snp"
[trust.roles.{role}.vtpm]
secure_boot = [false, true]
console = [false, true]
pcrs.11 = ["{pcr}"]
[trust.roles.{role}.snp]
launch_measurement = ["{zeros}"]
guest_policy = ["000000000003001f"]
vmpl = [0]
signing_key = ["vcek"]
minimum_tcb.milan = {{ bootloader = 0, tee = 0, snp = 0, microcode = 0 }}
"""


def test_a_guest_for_azure_makes_evidence_by_its_tpm(
    build: Build, federation: Federation, key_server: KeyServers
) -> None:
    """Its TPM is as Azure's, above simulated hardware: nobody takes that, and the refusal says so."""
    built = build("ps", "azure-snp")
    head, _, _ = federation.text.partition('[trust]\ntee = "simulated"')
    pcr = built.measured.pcrs[11].hex()
    roles = "".join(AZURE.format(role=role, pcr=pcr, zeros="00" * 48) for role in ("ps", "worker"))
    federation.text = f'{head}[trust]\ntee = "azure-snp"\n{roles}'
    federation.contract = federation.write("contract.toml", federation.text)
    for party in PARTIES:
        sign(federation, party)
    machine = federation.folder / "machine"
    machine.mkdir()
    with software_tpm(machine) as software:
        software.make_key()
        vm = type("Of", (OfSoftware,), {"software": software})()
        report = nv_index(vm)
        software.write_nv(report)
    collateral = federation.folder / "collateral"
    hardware = parse_report(HclReport.parse(report).hardware_report)
    completed(hardware, b"", EndorsementFolder(collateral, Amd()))
    files = {f"collateral/{path.name}": path.read_bytes() for path in collateral.iterdir()}
    servers = {party: key_server(federation, party) for party in PARTIES}
    addresses = {party: from_guest(server.address) for party, server in servers.items()}
    node_toml = {"name": "ps0", "listen": "0.0.0.0:7440", "key_servers": addresses}
    inputs = inputs_of(federation, node_toml, files)
    with started(built.folder / DISK, machine, *as_disk(inputs)) as guest:
        guest.wait_event("Waiting")
    predicted = {number: value.hex() for number, value in built.measured.pcrs.items()}
    measured = reported_pcrs(guest)
    assert {number: measured[number] for number in predicted} == predicted
    told = servers["operator"].end()[0]
    assert (told["event"], told["failed_check"]) == ("Refused", "tee_kind")
    assert told["expected"] == "from an Azure guest above SEV-SNP"
    assert told["seen"] == "from a simulated Azure guest above SNP: it proves nothing"
