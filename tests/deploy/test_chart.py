"""The Helm chart, rendered by Helm's own engine: what it makes of each of the paper's experiments."""

from __future__ import annotations

import helm_python
import pytest

from coterie.enclave.building import HOST_FOLDERS
from tests.deploy.charting import node_container, of_kind, pods
from tests.deploy.listening import dials_of, key_servers_of, listens
from tests.deploy.rendering import (
    CHART,
    Mode,
    Object,
    TeeName,
    golden_file,
    paper_contract,
    paper_values,
    render_text,
)

pytestmark = pytest.mark.long


# The oldest Kubernetes that Chart.yaml admits, and the newest whose schemas the validator has.
OLDEST, NEWEST = "1.31", "1.37"


# What is rendered


def test_the_golden_file_is_what_the_chart_renders(experiment: tuple[Mode, TeeName]) -> None:
    rendered = render_text(paper_values(*experiment), name=f"paper-{experiment[0]}")
    assert rendered == golden_file(*experiment).read_text(encoding="utf-8"), (
        "if the difference is meant: python -m tests.deploy.rendering"
    )


@pytest.mark.parametrize("version", [pytest.param(OLDEST, marks=pytest.mark.slow), NEWEST])
def test_every_object_fits_the_schema_of_kubernetes(objects: list[Object], version: str) -> None:
    from kubernetes_validate import validate  # takes a second to load

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
