"""The Helm chart, rendered by Helm's own engine: what it makes of each of the paper's experiments."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import helm_python
import pytest
import yaml
from kubernetes_validate import validate

from coterie.enclave.building import HOST_FOLDERS
from tests.deploy.listening import dials_of, key_servers_of, listens
from tests.deploy.rendering import (
    CHART,
    DIGESTS,
    EXPERIMENTS,
    Mode,
    Object,
    TeeName,
    golden_file,
    paper_contract,
    paper_values,
    render,
    render_text,
)

# The oldest Kubernetes that Chart.yaml admits, and the newest whose schemas the validator has.
OLDEST, NEWEST = "1.31", "1.37"


@pytest.fixture(params=EXPERIMENTS, ids="-".join)
def experiment(request: pytest.FixtureRequest) -> tuple[Mode, TeeName]:
    mode, tee = request.param
    return mode, tee


@pytest.fixture
def objects(experiment: tuple[Mode, TeeName]) -> list[Object]:
    return render(paper_values(*experiment))


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """The objects of one kind, by name, without the release's name before it."""
    return {
        str(found["metadata"]["name"]).removeprefix("run-"): found
        for found in objects
        if found["kind"] == kind
    }


def pods(objects: list[Object]) -> dict[str, Object]:
    """Every node's pod, by the node's name."""
    return {name: job["spec"]["template"] for name, job in of_kind(objects, "Job").items()}


def containers(pod: Object) -> Iterator[Object]:
    yield from pod["spec"].get("initContainers", [])
    yield from pod["spec"]["containers"]


def node_container(pod: Object) -> Object:
    (found,) = (one for one in pod["spec"]["containers"] if one["name"] == "node")
    assert isinstance(found, dict)
    return found


def policy(objects: list[Object], name: str) -> Object:
    spec = of_kind(objects, "NetworkPolicy")[name]["spec"]
    assert isinstance(spec, dict)
    return spec


# What is rendered


def test_the_golden_file_is_what_the_chart_renders(experiment: tuple[Mode, TeeName]) -> None:
    rendered = render_text(paper_values(*experiment), name=f"paper-{experiment[0]}")
    assert rendered == golden_file(*experiment).read_text(encoding="utf-8"), (
        "if the difference is meant: python -m tests.deploy.rendering"
    )


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_fits_the_schema_of_kubernetes(objects: list[Object], version: str) -> None:
    assert [validate(found, version, strict=True) for found in objects] == [version] * len(objects)


def test_helms_own_lint_finds_nothing(experiment: tuple[Mode, TeeName]) -> None:
    report = helm_python.lint(CHART, paper_values(*experiment), strict=True)
    found = [message for message in report["messages"] if message["severity"] > 1]
    assert (found, report["errors"]) == ([], [])


def test_only_these_kinds_of_objects(objects: list[Object]) -> None:
    assert {found["kind"] for found in objects} == {
        *("ConfigMap", "Job", "NetworkPolicy", "PersistentVolumeClaim", "Service"),
    }


# Nodes


def test_every_node_of_the_contract_is_there_once(
    experiment: tuple[Mode, TeeName], objects: list[Object]
) -> None:
    contract = paper_contract(*experiment)
    jobs = [found for found in objects if found["kind"] == "Job"]
    assert sorted(job["metadata"]["labels"]["coterie/node"] for job in jobs) == sorted(
        node.name for node in contract.nodes
    )
    for node in contract.nodes:
        pod = pods(objects)[node.name]
        assert pod["metadata"]["labels"]["coterie/party"] == node.party
        assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == node.role
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == (node.name, "run")


def test_the_service_is_headless_and_finds_exactly_the_nodes(objects: list[Object]) -> None:
    (service,) = of_kind(objects, "Service").values()
    assert service["metadata"]["name"] == "run"  # the pods' subdomain
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    for pod in pods(objects).values():
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


def test_a_node_is_told_what_the_contract_says(
    experiment: tuple[Mode, TeeName], objects: list[Object]
) -> None:
    from tests.deploy.telling import told_by_arguments, told_by_inputs

    contract = paper_contract(*experiment)
    for node in contract.nodes:
        container = node_container(pods(objects)[node.name])
        if experiment[1] == "simulated":
            told = told_by_arguments(container["args"])
            assert told.party_key == "/party/key.pem"
            assert told.data == ("/data" if node in contract.data_owners() else None)
            assert told.out == "/state"
        else:
            assert "args" not in container
            assert "command" not in container
            told = told_by_inputs(
                of_kind(objects, "ConfigMap")["inputs"]["data"][f"{node.name}.toml"]
            )
            assert told.key_servers == {
                party: f"keys.{party}.example:7500" for party in key_servers_of(contract, node)
            }
            assert told.pccs_url == "https://pccs.example:8081"
        assert told.name == node.name
        assert told.listen == (
            f"0.0.0.0:{listens(contract, node)}" if listens(contract, node) else None
        )
        assert told.addresses == {
            other.name: f"{other.name}.run.training.svc.cluster.local:{listens(contract, other)}"
            for other in dials_of(contract, node)
        }


def test_a_node_reads_the_contract_as_it_was_given(
    experiment: tuple[Mode, TeeName], objects: list[Object]
) -> None:
    (name,) = (name for name in of_kind(objects, "ConfigMap") if name.startswith("contract-"))
    found = of_kind(objects, "ConfigMap")[name]
    values = paper_values(*experiment)["contract"]
    assert found["immutable"] is True
    assert found["data"].pop("contract.toml") == values["text"]
    assert found["data"] == {
        f"contract.toml.{party}.sig": text for party, text in values.get("signatures", {}).items()
    }
    for pod in pods(objects).values():
        (inputs,) = (v for v in pod["spec"]["volumes"] if v["name"] == "inputs")
        assert {"configMap": {"name": f"run-{name}"}} in inputs["projected"]["sources"]


def test_an_enclave_finds_its_files_where_its_manifest_looks(objects: list[Object]) -> None:
    for name, pod in pods(objects).items():
        paths = {mount["mountPath"]: mount for mount in node_container(pod)["volumeMounts"]}
        if "/enclave/out" not in paths:  # simulated
            assert paths["/contract"]["readOnly"] is True
            continue
        assert paths["/enclave/inputs/node.toml"]["subPath"] == "node.toml"
        assert paths["/enclave/inputs/contract.toml"]["subPath"] == "contract.toml"
        assert all(one["readOnly"] for path, one in paths.items() if "/inputs/" in path)
        assert paths["/enclave/out"]["name"] == paths["/enclave/memory"]["name"] == "state"
        assert paths["/enclave/out"]["subPath"] != paths["/enclave/memory"]["subPath"]
        folders = {path.split("/")[2] for path in paths if path.startswith("/enclave/")}
        assert folders <= set(HOST_FOLDERS)
        (inputs,) = (v for v in pod["spec"]["volumes"] if v["name"] == "inputs")
        assert {"key": f"{name}.toml", "path": "node.toml"} in [
            item
            for source in inputs["projected"]["sources"]
            for item in source["configMap"].get("items", [])
        ]


# Pods: the profile "restricted" of Kubernetes' Pod Security Standards, and more


def test_pods_are_restricted(objects: list[Object]) -> None:
    assert pods(objects)
    for pod in pods(objects).values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
        kinds = {key for volume in spec["volumes"] for key in volume} - {"name"}
        assert kinds <= {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "env" not in container or container["name"] == "aesm"
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_images_are_named_by_digest(objects: list[Object]) -> None:
    for pod in pods(objects).values():
        for container in containers(pod):
            _, _, digest = container["image"].partition("@sha256:")
            assert digest in DIGESTS.values()


def test_what_a_container_asks_for_is_all_it_gets(objects: list[Object]) -> None:
    for pod in pods(objects).values():
        for container in containers(pod):
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]
            assert {"cpu", "memory"} <= resources["limits"].keys()


def test_only_the_quoting_service_may_provision(
    experiment: tuple[Mode, TeeName], objects: list[Object]
) -> None:
    enclave = paper_contract(*experiment).enclave
    for name, pod in pods(objects).items():
        asked = {
            container["name"]: {
                key.removeprefix("sgx.intel.com/"): value
                for key, value in container["resources"]["limits"].items()
                if key.startswith("sgx.intel.com/")
            }
            for container in containers(pod)
        }
        if experiment[1] == "simulated":
            assert asked == {"node": {}}
        else:
            assert asked == {
                "aesm": {"enclave": "1", "provision": "1", "epc": "64Mi"},
                "node": {
                    "enclave": "1",
                    "epc": f"{enclave.ps_size_gib if name == 'ps0' else enclave.size_gib}Gi",
                },
            }


def test_the_quoting_service_ends_with_the_node_and_asks_the_pccs() -> None:
    objects = render(paper_values("hfl", "sgx"))
    for pod in pods(objects).values():
        (aesm,) = pod["spec"]["initContainers"]
        assert (
            aesm["restartPolicy"] == "Always"
        )  # what makes it a sidecar: it does not keep a Job open
        sockets = [
            {mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "aesm"}
            for container in containers(pod)
        ]
        assert sockets == [{"/var/run/aesmd"}] * 2
    conf = of_kind(objects, "ConfigMap")["quoting"]["data"]["sgx_default_qcnl.conf"]
    assert yaml.safe_load(conf) == {
        "pccs_url": "https://pccs.example:8081/sgx/certification/v4/",
        "use_secure_cert": True,
    }


def test_the_parameter_server_runs_an_image_of_its_own_on_sgx() -> None:
    for name, pod in pods(render(paper_values("sdt", "sgx"))).items():
        digest = DIGESTS["psImage" if name == "ps0" else "image"]
        assert node_container(pod)["image"].endswith(f"@sha256:{digest}")


def test_a_partys_key_is_mounted_in_its_own_nodes_only() -> None:
    for name, pod in pods(render(paper_values("hfl", "simulated"))).items():
        secrets = [v["secret"]["secretName"] for v in pod["spec"]["volumes"] if "secret" in v]
        party = "operator" if name == "ps0" else name.removesuffix("-worker")
        assert secrets == [f"{party}-party-key"]
    for pod in pods(render(paper_values("hfl", "sgx"))).values():
        assert not [v for v in pod["spec"]["volumes"] if "secret" in v]


# Jobs: a run ends, and its nodes go on where they were


def test_a_node_is_started_again_but_never_twice_at_once(objects: list[Object]) -> None:
    claims = of_kind(objects, "PersistentVolumeClaim")
    for name, job in of_kind(objects, "Job").items():
        spec = job["spec"]
        assert (spec["completions"], spec["parallelism"]) == (1, 1)
        assert spec["podReplacementPolicy"] == "Failed"
        assert spec["template"]["spec"]["restartPolicy"] == "Never"
        assert spec["backoffLimit"] == 20
        assert claims[name]["spec"]["accessModes"] == ["ReadWriteOncePod"]
        assert claims[name]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert "activeDeadlineSeconds" not in spec


def test_what_no_restart_mends_is_not_started_again(objects: list[Object]) -> None:
    from coterie.errors import ContractError, DataError, ProtocolError, RunError, TrustError
    from coterie.nodes.stopping import EXIT_CODE

    for job in of_kind(objects, "Job").values():
        ignored, failing = job["spec"]["podFailurePolicy"]["rules"]
        assert ignored["action"] == "Ignore"
        assert ignored["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
        assert failing["action"] == "FailJob"
        codes = failing["onExitCodes"]["values"]
        usage = 2
        assert codes == sorted(
            [usage, TrustError.exit_code, ContractError.exit_code, DataError.exit_code]
        )
        assert not {ProtocolError.exit_code, RunError.exit_code, EXIT_CODE} & set(codes)


# Network


def test_by_default_nothing_goes_in_or_out(objects: list[Object]) -> None:
    nothing = policy(objects, "nothing")
    assert nothing["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & nothing.keys()
    for pod in pods(objects).values():
        selected = nothing["podSelector"]["matchLabels"].items()
        assert selected <= pod["metadata"]["labels"].items()


def test_nobody_may_dial_who_does_not_listen(
    experiment: tuple[Mode, TeeName], objects: list[Object]
) -> None:
    contract = paper_contract(*experiment)
    for node in contract.nodes:
        found = policy(objects, node.name)
        assert found["policyTypes"] == ["Ingress", "Egress"]
        assert found["podSelector"]["matchLabels"]["coterie/node"] == node.name
        port = listens(contract, node)
        ports = node_container(pods(objects)[node.name]).get("ports", [])
        if port is None:
            assert found["ingress"] == []
            assert ports == []
            continue
        (rule,) = found["ingress"]
        callers = [peer["podSelector"]["matchLabels"]["coterie/node"] for peer in rule["from"]]
        assert callers == [o.name for o in contract.nodes if node in dials_of(contract, o)]
        assert [one["port"] for one in rule["ports"]] == [port, port + 1]
        assert [one["containerPort"] for one in ports] == [port, port + 1]


def test_a_node_may_dial_whom_it_has_to_and_nobody_else(
    experiment: tuple[Mode, TeeName], objects: list[Object]
) -> None:
    contract = paper_contract(*experiment)
    keys = {
        party: entry["cidr"]
        for party, entry in paper_values(*experiment).get("keyServers", {}).items()
    }
    for node in contract.nodes:
        expected: list[tuple[str, list[int]]] = [("dns", [53, 53])]
        for other in dials_of(contract, node):
            port = listens(contract, other)
            assert port is not None
            expected.append((other.name, [port, port + 1]))
        if experiment[1] == "sgx":
            expected += [(keys[party], [7500]) for party in key_servers_of(contract, node)]
            expected += [("203.0.113.9/32", [8081])]
        seen = []
        for rule in policy(objects, node.name)["egress"]:
            (peer,) = rule["to"]
            labels = peer.get("podSelector", {}).get("matchLabels", {})
            name = (
                peer["ipBlock"]["cidr"] if "ipBlock" in peer else labels.get("coterie/node", "dns")
            )
            seen.append((name, [one["port"] for one in rule["ports"]]))
            if name == "dns":
                assert peer["namespaceSelector"]["matchLabels"] == {
                    "kubernetes.io/metadata.name": "kube-system"
                }
        assert seen == expected


# One party's part


def test_a_party_runs_its_own_nodes_alone() -> None:
    values = paper_values("hfl", "sgx") | {
        "parties": ["acme"],
        "addresses": {"ps0": "ps.operator.example:7440"},
    }
    values["network"] = {"outside": [{"cidr": "192.0.2.4/32", "port": 7440}]}
    objects = render(values)
    assert list(pods(objects)) == ["acme-worker"]
    inputs = of_kind(objects, "ConfigMap")["inputs"]["data"]
    assert list(inputs) == ["acme-worker.toml"]
    assert tomllib.loads(inputs["acme-worker.toml"])["addresses"] == {
        "ps0": "ps.operator.example:7440"
    }
    allowed = {
        peer["ipBlock"]["cidr"]
        for rule in policy(objects, "acme-worker")["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    }
    assert allowed == {"192.0.2.4/32", "198.51.100.11/32", "203.0.113.9/32"}
    assert policy(objects, "acme-worker")["ingress"] == []


def test_the_operator_lets_in_whom_it_names() -> None:
    values = paper_values("hfl", "sgx") | {"parties": ["operator"]}
    values["network"] = {"clients": ["198.51.100.0/24"]}
    objects = render(values)
    assert list(pods(objects)) == ["ps0"]
    (rule,) = policy(objects, "ps0")["ingress"]
    assert rule["from"] == [{"ipBlock": {"cidr": "198.51.100.0/24"}}]


def test_followers_of_a_parameter_server_dial_its_first_shard() -> None:
    values = paper_values("hfl", "simulated")
    values["contract"]["text"] += (
        '\n[[nodes]]\nname = "ps1"\nrole = "ps"\nparty = "operator"\naddress = "127.0.0.1:7442"\n'
    )
    objects = render(values)
    worker = node_container(pods(objects)["acme-worker"])["args"]
    assert [one for one in worker if one.startswith("--address")] == [
        "--address=ps0=ps0.run.training.svc.cluster.local:7440",
        "--address=ps1=ps1.run.training.svc.cluster.local:7442",
    ]
    assert (
        "--address=ps0=ps0.run.training.svc.cluster.local:7440"
        in (node_container(pods(objects)["ps1"])["args"])
    )
    (rule,) = policy(objects, "ps0")["ingress"]
    callers = {peer["podSelector"]["matchLabels"]["coterie/node"] for peer in rule["from"]}
    assert "ps1" in callers
