"""The chart's nodes as one JobSet, which is checked with the models that Kubeflow generates from JobSet's own schema."""

from __future__ import annotations

import helm_python
import pytest

from tests.deploy.charting import containers, jobs, node_container, of_kind, pods
from tests.deploy.rendering import (
    EXPERIMENTS,
    Mode,
    Object,
    TeeName,
    cloud_values,
    paper_contract,
    paper_values,
    render,
)

pytestmark = pytest.mark.long


def as_jobset(values: Object, *, restarts: int = 0) -> Object:
    return values | {"jobset": {"enabled": True, "restarts": restarts}}


def the_jobset(objects: list[Object]) -> Object:
    (found,) = (one for one in objects if one["kind"] == "JobSet")
    return found


@pytest.fixture(params=EXPERIMENTS, ids="-".join)
def experiment(request: pytest.FixtureRequest) -> tuple[Mode, TeeName]:
    mode, tee = request.param
    return mode, tee


@pytest.fixture
def both(experiment: tuple[Mode, TeeName]) -> tuple[list[Object], list[Object]]:
    """What the chart renders as Jobs, and as a JobSet."""
    return render(paper_values(*experiment)), render(as_jobset(paper_values(*experiment)))


def test_it_fits_jobsets_schema(both: tuple[list[Object], list[Object]]) -> None:
    from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

    found = the_jobset(both[1])
    assert found["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    for pod in pods(both[1]).values():
        for port in node_container(pod).get("ports", []):
            port["protocol"] = "TCP"  # the one default that the models fill in
    read = JobsetV1alpha2JobSet.from_dict(found)
    assert read is not None
    assert read.to_dict() == found  # a key that the schema does not have would be gone


def test_its_jobs_fit_the_schema_of_kubernetes(both: tuple[list[Object], list[Object]]) -> None:
    from kubernetes_validate import validate

    for job in (jobs(both[1]) | jobs(render(cloud_values("gke")))).values():
        validate({"apiVersion": "batch/v1", "kind": "Job"} | job, "1.31", strict=True)


def test_it_replaces_the_jobs_and_the_service(both: tuple[list[Object], list[Object]]) -> None:
    plain, joint = ({one["kind"] for one in objects} for objects in both)
    assert plain ^ joint == {"Job", "Service", "JobSet"}
    for kind in plain & joint - {"ConfigMap"}:
        assert of_kind(both[0], kind) == of_kind(both[1], kind)


def test_its_pods_differ_in_their_names_only(
    experiment: tuple[Mode, TeeName], both: tuple[list[Object], list[Object]]
) -> None:
    plain, joint = (pods(objects) for objects in both)
    assert list(joint) == [node.name for node in paper_contract(*experiment).nodes]
    for name, pod in plain.items():
        del pod["spec"]["hostname"], pod["spec"]["subdomain"]  # JobSet's controller sets them
        for container in containers(pod):
            if "args" in container:
                container["args"] = [_renamed(argument) for argument in container["args"]]
        assert joint[name] == pod


def test_its_jobs_differ_in_their_indexes_only(both: tuple[list[Object], list[Object]]) -> None:
    plain, joint = (jobs(objects) for objects in both)
    for name, job in plain.items():
        spec = joint[name]["spec"]
        assert spec.pop("completionMode") == "Indexed"
        assert spec.keys() == job["spec"].keys()
        for key in spec.keys() - {"template"}:
            assert spec[key] == job["spec"][key]
        assert joint[name]["metadata"]["labels"] == job["metadata"]["labels"]


def test_enclaves_are_told_the_same_names(both: tuple[list[Object], list[Object]]) -> None:
    plain, joint = (of_kind(objects, "ConfigMap").get("inputs", {"data": {}}) for objects in both)
    assert {name: _renamed(text) for name, text in plain["data"].items()} == joint["data"]


def _renamed(text: str) -> str:
    """JobSet calls a pod JOBSET-NODE-0-0.SUBDOMAIN."""
    for node in ("ps0", "worker0", "worker1"):
        text = text.replace(f"{node}.run.training", f"run-{node}-0-0.run.training")
    return text


def test_pods_find_each_other_before_they_are_ready() -> None:
    assert the_jobset(render(as_jobset(paper_values("hfl", "sgx"))))["spec"]["network"] == {
        "enableDNSHostnames": True,
        "subdomain": "run",
        "publishNotReadyAddresses": True,
    }


def test_it_succeeds_when_all_nodes_have() -> None:
    found = the_jobset(render(as_jobset(paper_values("hfl", "sgx"))))
    assert found["spec"]["successPolicy"] == {"operator": "All"}


def test_what_no_restart_mends_fails_it_at_once_and_the_rest_restarts_all() -> None:
    found = the_jobset(render(as_jobset(paper_values("hfl", "sgx"), restarts=3)))
    assert found["spec"]["failurePolicy"] == {
        "maxRestarts": 3,
        "restartStrategy": "BlockingRecreate",
        "rules": [
            {
                "name": "lasting",
                "action": "FailJobSet",
                "onJobFailureReasons": ["PodFailurePolicy"],
            }
        ],
    }


def test_a_party_may_have_a_jobset_of_its_own_nodes() -> None:
    values = as_jobset(paper_values("hfl", "sgx")) | {
        "parties": ["acme"],
        "addresses": {"ps0": "ps.operator.example:7440"},
    }
    assert list(pods(render(values))) == ["acme-worker"]


def test_no_node_listens_at_another_port() -> None:
    for name, pod in pods(render(cloud_values("gke"))).items():
        ports = {one["name"]: one["containerPort"] for one in node_container(pod)["ports"]}
        own = {"attestation": 7440, "grpc": 7441} if name == "ps0" else {}
        assert ports == own | {"metrics": 9464}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "a-release-name-that-is-rather-long-for-a-jobset",
            "than the 53 characters that a JobSet's Job may",
        ),
        ("1st-run", "JobSet needs a release name that begins with a letter, not 1st-run"),
    ],
)
def test_names_that_jobset_would_refuse_are_refused(name: str, said: str) -> None:
    assert render(paper_values("hfl", "sgx"), name=name)
    with pytest.raises(helm_python.HelmError) as refused:
        render(as_jobset(paper_values("hfl", "sgx")), name=name)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("jobset", "said"),
    [
        ({"enabled": "yes"}, "jobset/enabled"),
        ({"enabled": True, "restarts": -1}, "jobset/restarts"),
        ({"enabled": True, "replicas": 2}, "additional properties 'replicas' not allowed"),
    ],
)
def test_malformed_options_are_refused(jobset: Object, said: str) -> None:
    with pytest.raises(helm_python.HelmError) as refused:
        render(paper_values("hfl", "sgx") | {"jobset": jobset})
    assert said in str(refused.value)
