"""The Compose files of the paper's two experiments: whole, hardened, and true to the contracts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.deploy.composing import (
    DIGEST,
    ENVIRONMENT,
    FOLDER,
    compose_file,
    load_compose,
    required_variables,
)
from tests.deploy.listening import dials_of, key_servers_of, listens
from tests.deploy.rendering import EXPERIMENTS, Mode, Object, TeeName, paper_contract
from tests.deploy.telling import Told, parse, told_by_arguments, told_by_inputs

SCRIPTS = Path(sys.executable).parent


@pytest.fixture
def content(experiment: tuple[Mode, TeeName]) -> Object:
    return load_compose(*experiment)


def nodes(content: Object) -> dict[str, Object]:
    return {name: one for name, one in content["services"].items() if not name.endswith("-keys")}


def key_servers(content: Object) -> dict[str, Object]:
    return {
        name.removesuffix("-keys"): one
        for name, one in content["services"].items()
        if name.endswith("-keys")
    }


def binds(service: Object) -> dict[str, Object]:
    """A service's bind mounts by target."""
    return {one["target"]: one for one in service["volumes"] if isinstance(one, dict)}


def kept(service: Object) -> dict[str, str]:
    """A service's named volumes by target."""
    return {
        one.partition(":")[2]: one.partition(":")[0]
        for one in service["volumes"]
        if isinstance(one, str)
    }


def told(content: Object, name: str) -> Told:
    service = content["services"][name]
    if "command" in service:
        return told_by_arguments(service["command"])
    (source,) = (
        one["source"] for one in service["configs"] if one["target"] == "/enclave/inputs/node.toml"
    )
    return told_by_inputs(content["configs"][source]["content"])


# Whole


def test_there_is_a_file_for_each_experiment_and_no_other() -> None:
    assert sorted(FOLDER.glob("*.yaml")) == sorted(compose_file(*pair) for pair in EXPERIMENTS)


@pytest.mark.system
def test_it_fits_the_schema_of_the_compose_specification(
    experiment: tuple[Mode, TeeName],
) -> None:
    done = subprocess.run(
        [
            *(SCRIPTS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"),
            compose_file(*experiment),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.system
def test_docker_itself_accepts_it(experiment: tuple[Mode, TeeName], content: Object) -> None:
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("no docker client here; the schema above is checked all the same")
    plugin = subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    if plugin.returncode != 0:
        pytest.skip("docker has no compose plugin here; the schema above is checked all the same")
    done = subprocess.run(
        [docker, "compose", "-f", compose_file(*experiment), "config"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", **ENVIRONMENT},
    )
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["services"].keys() == content["services"].keys()


def test_whoever_forgets_a_variable_is_told_what_it_is(experiment: tuple[Mode, TeeName]) -> None:
    found = required_variables(compose_file(*experiment).read_text(encoding="utf-8"))
    assert found.keys() <= ENVIRONMENT.keys()
    assert [name for name, message in found.items() if not message] == []


def test_what_services_name_is_there_and_what_is_there_is_named(content: Object) -> None:
    services = content["services"].values()
    networks = {name for one in services for name in one["networks"]}
    volumes = {name for one in services for name in kept(one).values()}
    secrets = {entry["source"] for one in services for entry in one.get("secrets", [])}
    configs = {entry["source"] for one in services for entry in one.get("configs", [])}
    assert networks == content["networks"].keys()
    assert volumes == content["volumes"].keys()
    assert secrets == content.get("secrets", {}).keys()
    assert configs == content.get("configs", {}).keys()


def test_no_two_services_keep_their_state_in_one_place(content: Object) -> None:
    volumes = [name for one in content["services"].values() for name in kept(one).values()]
    assert len(volumes) == len(set(volumes))


# Hardened


def test_no_port_is_published_and_nothing_of_the_host_is_shared(content: Object) -> None:
    forbidden = {
        *("ports", "expose", "network_mode", "pid", "ipc", "userns_mode", "privileged", "cap_add"),
        *("environment", "env_file", "entrypoint", "extra_hosts", "devices_cgroup_rules", "build"),
    }
    for service in content["services"].values():
        assert not forbidden & service.keys()


def test_every_service_is_locked_down(content: Object) -> None:
    for service in content["services"].values():
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        (scratch,) = service["tmpfs"]
        path, _, options = scratch.partition(":")
        assert path == "/tmp"
        assert {"noexec", "nosuid", "nodev"} <= set(options.split(","))
        assert service["pids_limit"] > 0
        assert service["image"].endswith(f"@sha256:{DIGEST}")


def test_what_comes_from_the_host_cannot_be_written_or_made_by_mistake(content: Object) -> None:
    for service in content["services"].values():
        for mount in binds(service).values():
            assert mount["read_only"] is True
            assert mount["bind"] == {"create_host_path": False}


def test_a_node_ends_by_itself_and_a_failure_is_tried_again(content: Object) -> None:
    for service in nodes(content).values():
        assert service["restart"] == "on-failure:20"
    for service in key_servers(content).values():
        assert service["restart"] == "unless-stopped"


def test_only_enclaves_get_a_device_and_only_the_one_they_need(
    experiment: tuple[Mode, TeeName], content: Object
) -> None:
    # The provisioning device is for Intel's quoting service, which runs on the host.
    devices = [] if experiment[1] == "simulated" else ["/dev/sgx_enclave"]
    for service in nodes(content).values():
        assert service.get("devices", []) == devices
        assert ("/var/run/aesmd" in binds(service)) == bool(devices)
        assert service.get("group_add", []) == (["106"] if devices else [])
    for service in key_servers(content).values():
        assert "devices" not in service


# True to the contract


def test_every_node_of_the_contract_is_there_once(
    experiment: tuple[Mode, TeeName], content: Object
) -> None:
    contract = paper_contract(*experiment)
    assert sorted(nodes(content)) == sorted(node.name for node in contract.nodes)


def test_a_node_listens_and_dials_as_the_contract_says(
    experiment: tuple[Mode, TeeName], content: Object
) -> None:
    contract = paper_contract(*experiment)
    for node in contract.nodes:
        seen = told(content, node.name)
        assert seen.name == node.name
        port = listens(contract, node)
        assert seen.listen == (f"0.0.0.0:{port}" if port else None)
        assert seen.addresses == {
            other.name: f"{other.name}:{listens(contract, other)}"
            for other in dials_of(contract, node)
        }


def test_a_node_meets_whom_it_dials_on_a_network_without_a_way_out(
    experiment: tuple[Mode, TeeName], content: Object
) -> None:
    contract = paper_contract(*experiment)
    inner = {name for name, one in content["networks"].items() if (one or {}).get("internal")}
    for node in contract.nodes:
        own = set(content["services"][node.name]["networks"])
        for other in dials_of(contract, node):
            assert own & inner & set(content["services"][other.name]["networks"])
        if experiment[1] == "simulated":
            assert own <= inner


def test_no_two_companies_share_a_network() -> None:
    for tee in ("simulated", "sgx"):
        content, contract = load_compose("hfl", tee), paper_contract("hfl", tee)
        for node in contract.by_role("worker"):
            reached = {
                name
                for name, service in content["services"].items()
                if set(service["networks"]) & set(content["services"][node.name]["networks"])
            }
            own = {node.name, "ps0"} | ({f"{node.party}-keys"} if tee == "sgx" else set())
            assert reached == own


def test_a_node_finds_its_files(experiment: tuple[Mode, TeeName], content: Object) -> None:
    mode, tee = experiment
    contract = paper_contract(mode, tee)
    for node in contract.nodes:
        service = content["services"][node.name]
        owns = node in contract.data_owners()
        if tee == "simulated":
            assert set(binds(service)) == {"/contract"} | ({"/data"} if owns else set())
            assert set(kept(service)) == {"/state"}
            seen = told(content, node.name)
            assert (seen.out, seen.data) == ("/state", "/data" if owns else None)
            assert service["secrets"] == [{"source": f"{node.party}-key", "target": "party.pem"}]
            assert seen.party_key == "/run/secrets/party.pem"
            continue
        assert set(binds(service)) == {"/var/run/aesmd"} | ({"/enclave/data"} if owns else set())
        assert set(kept(service)) == {"/enclave/out", "/enclave/memory"}
        assert sorted(one["target"] for one in service["configs"]) == sorted(
            [
                *("/enclave/inputs/contract.toml", "/enclave/inputs/node.toml"),
                *(f"/enclave/inputs/contract.toml.{p.name}.sig" for p in contract.parties),
            ]
        )
        for one in service["configs"]:
            name = one["target"].removeprefix("/enclave/inputs/")
            if name != "node.toml":
                assert content["configs"][one["source"]]["file"] == f"/srv/run/contract/{name}"
        kind = "ps" if node.role == "ps" else "worker"
        assert service["image"] == ENVIRONMENT[f"COTERIE_{kind.upper()}_IMAGE"]
        assert "secrets" not in service
        assert "command" not in service


def test_data_come_from_the_folder_of_their_owner(
    experiment: tuple[Mode, TeeName], content: Object
) -> None:
    contract = paper_contract(*experiment)
    folder, target = (
        ("data", "/data") if experiment[1] == "simulated" else ("sealed", "/enclave/data")
    )
    for node in contract.data_owners():
        source = binds(content["services"][node.name])[target]["source"]
        assert source == f"/srv/run/{folder}/{node.party}"


def test_every_party_has_a_key_server_on_sgx_and_its_nodes_ask_that_one(
    experiment: tuple[Mode, TeeName], content: Object
) -> None:
    contract = paper_contract(*experiment)
    if experiment[1] == "simulated":
        assert key_servers(content) == {}
        return
    assert sorted(key_servers(content)) == sorted(party.name for party in contract.parties)
    for node in contract.nodes:
        seen = told(content, node.name)
        assert seen.key_servers == {
            party: f"{party}-keys:7500" for party in key_servers_of(contract, node)
        }
        assert seen.pccs_url == ENVIRONMENT["PCCS_URL"]
        own, servers = content["services"][node.name], key_servers(content)
        for party in seen.key_servers:
            assert set(own["networks"]) & set(servers[party]["networks"])


def test_a_key_server_holds_its_own_partys_key_and_policy() -> None:
    for mode in ("hfl", "sdt"):
        content = load_compose(mode, "sgx")
        for party, service in key_servers(content).items():
            verb, found = parse(service["command"])
            assert verb == "keyserver"
            assert str(found["policy_file"]) == "/policy/policy.toml"
            assert str(found["party_key"]) == "/run/secrets/party.pem"
            assert found["listen"] == "0.0.0.0:7500"
            assert str(found["log"]) == "/state/keys.jsonl"
            assert service["secrets"] == [{"source": f"{party}-key", "target": "party.pem"}]
            assert content["secrets"][f"{party}-key"]["file"] == f"/srv/run/keys/{party}.pem"
            assert binds(service)["/policy"]["source"] == f"/srv/run/policies/{party}"
            assert set(kept(service)) == {"/state"}
