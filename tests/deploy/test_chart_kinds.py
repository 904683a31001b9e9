"""Contracts of which the nodes run in confidential virtual machines, of one kind or of several."""

from __future__ import annotations

from typing import get_args

import helm_python
import pytest
import yaml

from coterie.attestation.tee.tpm import DEVICE
from coterie.attestation.tee.tsm import REPORT_FOLDER
from coterie.contract import parse_contract
from coterie.kinds import SIMULATED, TeeKind
from tests.deploy.charting import containers, node_container, of_kind, pods, policy
from tests.deploy.rendering import (
    CHART,
    CLOUDS,
    DIGESTS,
    TDX_VALUES,
    Cloud,
    Object,
    cloud_values,
    golden_file,
    paper_contract_text,
    paper_values,
    render,
    render_text,
)
from tests.deploy.telling import parse, told_by_arguments

pytestmark = pytest.mark.long

WORKERS = ("acme-worker", "bolt-worker", "corn-worker", "dune-worker")


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    found: Cloud = request.param
    return found


def test_the_golden_file_is_what_the_chart_renders(cloud: Cloud) -> None:
    rendered = render_text(cloud_values(cloud), name="paper-hfl")
    assert rendered == golden_file("hfl", cloud).read_text(encoding="utf-8"), (
        "if the difference is meant: python -m tests.deploy.rendering"
    )


def test_helms_own_lint_finds_nothing(cloud: Cloud) -> None:
    report = helm_python.lint(CHART, cloud_values(cloud), strict=True)
    found = [message for message in report["messages"] if message["severity"] > 1]
    assert (found, report["errors"]) == ([], [])


def test_every_object_fits_the_schema_of_kubernetes(cloud: Cloud) -> None:
    from kubernetes_validate import validate  # takes a second to load

    for found in render(cloud_values(cloud)):
        if found["kind"] not in {"JobSet", "PodMonitor"}:
            validate(found, "1.31", strict=True)


def test_the_values_have_a_place_for_each_kind_of_tee() -> None:
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    assert set(schema["properties"]["placements"]["properties"]) == set(get_args(TeeKind))


@pytest.mark.parametrize("kind", sorted(SIMULATED))
def test_simulated_kinds_are_placed_like_each_other(kind: TeeKind) -> None:
    values = paper_values("hfl", "simulated")
    values["contract"]["text"] = paper_contract_text("hfl", "simulated").replace(
        'tee = "simulated"', f'tee = "{kind}"'
    )
    values["placements"] = {kind: {}}
    found, expected = (pods(render(one)) for one in (values, paper_values("hfl", "simulated")))
    for name, pod in expected.items():
        assert node_container(found[name]) == node_container(pod)
        assert found[name]["spec"]["securityContext"] == pod["spec"]["securityContext"]


# Where a node runs


def instance_types(values: Object) -> dict[str, str]:
    """The kind of machine that each pod asks for on GKE."""
    label = "cloud.google.com/gke-confidential-nodes-instance-type"
    return {name: pod["spec"]["nodeSelector"][label] for name, pod in pods(render(values)).items()}


def test_every_node_is_placed_by_its_kind() -> None:
    expected = {"ps0": "TDX"} | dict.fromkeys(WORKERS, "SEV_SNP")
    assert instance_types(cloud_values("gke")) == expected


def test_a_node_may_name_one_of_its_roles_kinds() -> None:
    values = cloud_values("gke")
    text = values["contract"]["text"]
    for worker in WORKERS:
        kind = "tdx" if worker == "bolt-worker" else "snp"
        text = text.replace(f'name = "{worker}"', f'name = "{worker}"\ntee = "{kind}"')
    text += f'\n[[trust.roles.worker.alternatives]]\ntee = "tdx"\n{TDX_VALUES}\n'
    assert parse_contract(text.encode(), "several kinds").trust.kinds == {"tdx", "snp"}
    values["contract"]["text"] = text
    expected = {"ps0": "TDX"} | dict.fromkeys(WORKERS, "SEV_SNP") | {"bolt-worker": "TDX"}
    assert instance_types(values) == expected


def test_tolerations_and_runtime_go_with_the_kind() -> None:
    values = cloud_values("gke")
    toleration = {"key": "confidential", "operator": "Exists", "effect": "NoSchedule"}
    values["placements"]["snp"] |= {
        "measures": "pod",
        "runtimeClassName": "kata-qemu-snp",
        "tolerations": [toleration],
    }
    found = pods(render(values))
    assert found["acme-worker"]["spec"]["runtimeClassName"] == "kata-qemu-snp"
    assert found["acme-worker"]["spec"]["tolerations"] == [toleration]
    assert not {"runtimeClassName", "tolerations"} & found["ps0"]["spec"].keys()


# What a node gets of the machine


def test_a_guests_node_gets_the_kernels_report_folder_and_nothing_else_of_the_machine() -> None:
    for pod in pods(render(cloud_values("gke"))).values():
        from_host = [v for v in pod["spec"]["volumes"] if "hostPath" in v]
        assert from_host == [
            {"name": "reports", "hostPath": {"path": f"/{REPORT_FOLDER}", "type": "Directory"}}
        ]
        container = node_container(pod)
        _, options = parse(container["args"])
        (mount,) = (m for m in container["volumeMounts"] if m["name"] == "reports")
        # AppArmor's profile for containers and sysfs itself allow no mount at its own place.
        assert mount == {
            "name": "reports",
            "mountPath": f"{options['machine_root']}/{REPORT_FOLDER}",
        }
        assert str(options["machine_root"]) == "/machine"


def test_a_guests_node_is_user_0_since_only_that_one_gets_reports_and_has_no_capability() -> None:
    for pod in pods(render(cloud_values("gke"))).values():
        assert pod["spec"]["securityContext"] == {
            "runAsUser": 0,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_an_azure_node_gets_the_tpm_from_a_device_plugin_and_stays_restricted() -> None:
    values = cloud_values("aks")
    for place in values["placements"].values():
        place["groups"] = [110]
    for pod in pods(render(values)).values():
        limits = node_container(pod)["resources"]["limits"]
        assert limits == node_container(pod)["resources"]["requests"]
        assert limits["squat.ai/tpm"] == "1"
        assert not [v for v in pod["spec"]["volumes"] if "hostPath" in v]
        assert not [m for m in node_container(pod)["volumeMounts"] if DEVICE in m["mountPath"]]
        context = pod["spec"]["securityContext"]
        assert (context["runAsNonRoot"], context["runAsUser"]) == (True, 10001)
        assert context["supplementalGroups"] == [110]
        _, options = parse(node_container(pod)["args"])
        assert str(options["machine_root"]) == "/"


def test_no_container_of_a_guest_has_more_rights_than_others(cloud: Cloud) -> None:
    for pod in pods(render(cloud_values(cloud))).values():
        spec = pod["spec"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & spec.keys()
        assert spec["automountServiceAccountToken"] is False
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["image"].endswith(DIGESTS["image"])


# What a node is told, and whom it may reach


def test_nodes_are_told_of_the_services_of_all_kinds_of_the_contract(cloud: Cloud) -> None:
    for name, pod in pods(render(cloud_values(cloud))).items():
        arguments = node_container(pod)["args"]
        _, options = parse(arguments)
        told = told_by_arguments(arguments)
        assert (told.pccs_url, options["kds_url"]) == (
            "https://pccs.example:8081",
            "https://kds.example",
        )
        own = "http://169.254.169.254/acc/tdquote" if cloud == "aks" and name == "ps0" else None
        assert options["td_quote_url"] == own
        assert told.party_key is None
        assert told.key_servers[""].startswith("keys.")


def test_nodes_may_reach_these_services(cloud: Cloud) -> None:
    objects = render(cloud_values(cloud))
    for name in ("ps0", *WORKERS):
        reached = {
            peer["ipBlock"]["cidr"]: [port["port"] for port in rule["ports"]]
            for rule in policy(objects, name)["egress"]
            for peer in rule["to"]
            if "ipBlock" in peer and not peer["ipBlock"]["cidr"].startswith("198.51.100.")
        }
        expected = {"203.0.113.9/32": [8081], "203.0.113.8/32": [443]}
        if cloud == "aks" and name == "ps0":
            expected["169.254.169.254/32"] = [80]
        assert reached == expected


def test_an_enclave_is_told_of_amds_service_where_others_are_snp_guests() -> None:
    values = mixed_values()
    objects = render(values)
    inputs = of_kind(objects, "ConfigMap")["inputs"]["data"]
    assert list(inputs) == ["ps0.toml"]
    assert 'kds_url = "https://kds.example"' in inputs["ps0.toml"]
    assert "args" not in node_container(pods(objects)["ps0"])
    assert "args" in node_container(pods(objects)["acme-worker"])
    assert node_container(pods(objects)["ps0"])["image"].endswith(DIGESTS["psImage"])
    assert node_container(pods(objects)["acme-worker"])["image"].endswith(DIGESTS["image"])


def mixed_values() -> Object:
    """The server in an enclave, the workers in SNP guests."""
    values = cloud_values("gke")
    sgx = paper_values("hfl", "sgx")
    head, worker = values["contract"]["text"].split("[trust.roles.worker]")
    head = head.split("[trust.roles.ps]")[0]
    ps = sgx["contract"]["text"].split("[trust.roles.ps]")[1].split("[trust.roles.worker]")[0]
    values["contract"]["text"] = (
        f'{head}[trust.roles.ps]\ntee = "sgx"{ps}[trust.roles.worker]{worker}'
    )
    values["placements"] = {"sgx": sgx["placements"]["sgx"], "snp": values["placements"]["snp"]}
    values["psImage"], values["aesm"] = sgx["psImage"], sgx["aesm"]
    values["roles"] = sgx["roles"]
    return values


# What is refused


@pytest.mark.parametrize(
    ("cloud", "path", "value", "said"),
    [
        ("gke", "placements.snp.measures", None, "missing property 'measures'"),
        ("gke", "placements.snp.measures", "nothing", "placements/snp/measures"),
        (
            *("gke", "placements.snp.measures", "pod"),
            "placements.snp measures pods, but its runtimeClassName is empty",
        ),
        (
            "gke",
            "placements.snp.device",
            "squat.ai/tpm",
            "additional properties 'device' not allowed",
        ),
        ("gke", "placements.snp.groups", [1], "additional properties 'groups' not allowed"),
        ("aks", "placements.azure-snp.device", None, "missing property 'device'"),
        ("aks", "placements.azure-snp.device", "/dev/tpmrm0", "placements/azure-snp/device"),
        ("aks", "placements.azure-snp.measures", "pod", "placements/azure-snp/measures"),
        ("aks", "placements.azure-snp.groups", [0], "placements/azure-snp/groups"),
        ("gke", "placements.snp.runtimeClassName", "Kata", "placements/snp/runtimeClassName"),
        ("gke", "placements.snp.nodeSelector", {"a b": "c"}, "invalid propertyName 'a b'"),
        ("gke", "kds.url", "", "kds.url is empty"),
        ("gke", "kds.url", "http://kds.example", "kds/url"),
        ("gke", "kds.cidr", "", "kds.cidr is empty"),
        ("gke", "pccs.url", "", "pccs.url is empty"),
        ("aks", "tdQuotes.url", "", "tdQuotes.url is empty: azure-tdx nodes get their quotes from"),
        ("aks", "tdQuotes.url", "http://192.0.2.1/acc/tdquote", "tdQuotes/url"),
        ("aks", "tdQuotes.url", "https://169.254.169.254/acc/tdquote", "tdQuotes/url"),
        ("gke", "contract.signatures.acme", None, "party acme has not signed"),
        ("gke", "partyKeys", {"acme": "acme-key"}, "partyKeys are for simulated contracts only"),
        (
            "gke",
            "keyServers.acme",
            None,
            "nobody vouches for node acme-worker: give keyServers.acme",
        ),
    ],
)
def test_it_says_what_is_wrong(cloud: Cloud, path: str, value: object, said: str) -> None:
    values = cloud_values(cloud)
    if path == "keyServers.acme":
        values["parties"], values["addresses"] = ["acme"], {"ps0": "ps.operator.example:7440"}
    assert render(values)
    *folders, last = path.split(".")
    where = values
    for folder in folders:
        where = where.setdefault(folder, {})
    if value is None:
        del where[last]
    else:
        where[last] = value
    with pytest.raises(helm_python.HelmError) as refused:
        render(values)
    assert said in str(refused.value)
