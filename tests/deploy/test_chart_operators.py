"""What a cluster's operator may add: queue, scheduler, priority, labels, annotations, pull secrets, metrics."""

from __future__ import annotations

from collections.abc import Callable

import helm_python
import pytest

from tests.deploy.charting import node_container, of_kind, pods, policy
from tests.deploy.rendering import Mode, Object, TeeName, cloud_values, paper_values, render
from tests.deploy.telling import parse

pytestmark = pytest.mark.long

QUEUE = "kueue.x-k8s.io/queue-name"
JOBSET: Object = {"enabled": True}


def metadata_of(objects: list[Object], kind: str) -> list[Object]:
    if kind == "Pod":
        return [pod["metadata"] for pod in pods(objects).values()]
    return [found["metadata"] for found in of_kind(objects, kind).values()]


def test_without_options_nothing_is_added(objects: list[Object]) -> None:
    for kind in ("Pod", "Job", "Service"):
        for metadata in metadata_of(objects, kind):
            assert "annotations" not in metadata
            assert all(
                label.startswith(("app.kubernetes.io/", "coterie/")) for label in metadata["labels"]
            )
    for pod in pods(objects).values():
        assert (
            not {
                *("schedulerName", "priorityClassName", "runtimeClassName", "imagePullSecrets"),
            }
            & pod["spec"].keys()
        )
    assert "PodMonitor" not in {found["kind"] for found in objects}


# Queue, scheduler, priority


@pytest.mark.parametrize(("jobset", "kind"), [({}, "Job"), (JOBSET, "JobSet")])
def test_what_kueue_admits_names_the_queue(jobset: Object, kind: str) -> None:
    objects = render(paper_values("hfl", "simulated") | {"queue": "training", "jobset": jobset})
    admitted = metadata_of(objects, kind)
    assert admitted
    assert all(metadata["labels"][QUEUE] == "training" for metadata in admitted)
    # Kueue would admit what is inside once more.
    assert not any(QUEUE in metadata["labels"] for metadata in metadata_of(objects, "Pod"))
    for job_set in of_kind(objects, "JobSet").values():
        for one in job_set["spec"]["replicatedJobs"]:
            assert QUEUE not in one["template"]["metadata"]["labels"]


def test_scheduler_priority_and_pull_secrets_are_every_pods(objects: list[Object]) -> None:
    values = paper_values("hfl", "simulated") | {
        "schedulerName": "volcano",
        "priorityClassName": "training-low",
        "imagePullSecrets": ["registry", "mirror"],
    }
    for pod in pods(render(values)).values():
        assert pod["spec"]["schedulerName"] == "volcano"
        assert pod["spec"]["priorityClassName"] == "training-low"
        assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}, {"name": "mirror"}]


# Labels and annotations


@pytest.mark.parametrize("of", ["pods", "jobs", "services"])
@pytest.mark.parametrize("what", ["labels", "annotations"])
def test_labels_and_annotations_are_added_where_they_are_asked_for(of: str, what: str) -> None:
    added = {"team": "ads", "cost.example/centre": "true"}
    plain = render(paper_values("sdt", "sgx"))
    objects = render(paper_values("sdt", "sgx") | {"metadata": {of: {what: added}}})
    for kind, where in (("Pod", "pods"), ("Job", "jobs"), ("Service", "services")):
        for before, after in zip(metadata_of(plain, kind), metadata_of(objects, kind), strict=True):
            expected = before.get(what, {}) | (added if where == of else {})
            assert after.get(what, {}) == expected


def test_those_of_jobs_are_the_jobsets() -> None:
    values = paper_values("sdt", "sgx") | {
        "jobset": JOBSET,
        "metadata": {"jobs": {"labels": {"team": "ads"}, "annotations": {"note": "a b"}}},
    }
    (metadata,) = metadata_of(render(values), "JobSet")
    assert metadata["labels"]["team"] == "ads"
    assert metadata["annotations"] == {"note": "a b"}


# Metrics


def test_prometheus_is_told_the_port_and_let_in_by_the_policies() -> None:
    values = paper_values("hfl", "simulated")
    values["metrics"] = {"enabled": True, "labels": {"release": "prometheus"}, "interval": "10s"}
    objects = render(values)
    (monitor,) = of_kind(objects, "PodMonitor").values()
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"] == {
        "selector": {
            "matchLabels": {
                "app.kubernetes.io/name": "coterie",
                "app.kubernetes.io/instance": "run",
            }
        },
        "podTargetLabels": ["coterie/node", "coterie/party"],
        "podMetricsEndpoints": [{"port": "metrics", "interval": "10s"}],
    }
    for name, pod in pods(objects).items():
        container = node_container(pod)
        assert {"name": "metrics", "containerPort": 9464} in container["ports"]
        assert {"--metrics-host=0.0.0.0", "--metrics-port=9464"} <= set(container["args"])
        assert (
            monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        )
        *others, scrapers = policy(objects, name)["ingress"]
        assert scrapers == {
            "from": [
                {
                    "namespaceSelector": {
                        "matchLabels": {"kubernetes.io/metadata.name": "monitoring"}
                    },
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
                }
            ],
            "ports": [{"protocol": "TCP", "port": 9464}],
        }
        assert len(others) == (1 if name == "ps0" else 0)  # the callers' rule is as before


def test_enclaves_serve_none_beside_nodes_that_do() -> None:
    from tests.deploy.test_chart_kinds import mixed_values

    objects = render(mixed_values() | {"metrics": {"enabled": True}})
    served = {
        name
        for name, pod in pods(objects).items()
        if any(one["name"] == "metrics" for one in node_container(pod).get("ports", []))
    }
    assert served == {"acme-worker", "bolt-worker", "corn-worker", "dune-worker"}
    assert len(policy(objects, "ps0")["ingress"]) == 1


# Traces


def with_traces(values: Object) -> Object:
    text = values["contract"]["text"]
    values["contract"]["text"] = f"{text}\n[results]\ntraces = true\n"
    url = "https://collector.example:4318"
    return values | {"traces": {"url": url, "cidr": "203.0.113.7/32"}}


def test_traces_go_to_the_collector_and_nowhere_else() -> None:
    objects = render(with_traces(paper_values("hfl", "simulated")))
    for name, pod in pods(objects).items():
        _, options = parse(node_container(pod)["args"])
        assert options["traces_to"] == "https://collector.example:4318"
        assert {
            "to": [{"ipBlock": {"cidr": "203.0.113.7/32"}}],
            "ports": [{"protocol": "TCP", "port": 4318}],
        } in policy(objects, name)["egress"]


def test_enclaves_send_none_beside_nodes_that_do() -> None:
    from tests.deploy.test_chart_kinds import mixed_values

    objects = render(with_traces(mixed_values()))
    reached = {
        name for name in pods(objects) if "203.0.113.7/32" in str(policy(objects, name)["egress"])
    }
    assert reached == {"acme-worker", "bolt-worker", "corn-worker", "dune-worker"}


@pytest.mark.parametrize(
    ("mode", "tee", "traces", "said"),
    [
        ("hfl", "sgx", {}, "traces.url has no meaning here: enclaves send no traces"),
        ("hfl", "simulated", {"cidr": ""}, "traces.cidr is empty"),
        ("hfl", "simulated", {"url": "http://collector.example:4318"}, "traces/url"),
        ("hfl", "simulated", {"port": 0}, "traces/port"),
    ],
)
def test_traces_that_cannot_be_sent_are_refused(
    mode: Mode, tee: TeeName, traces: Object, said: str
) -> None:
    values = with_traces(paper_values(mode, tee))
    values["traces"] |= traces
    with pytest.raises(helm_python.HelmError) as refused:
        render(values)
    assert said in str(refused.value)


def test_traces_that_the_contract_does_not_allow_are_refused() -> None:
    values = paper_values("hfl", "simulated") | {
        "traces": {"url": "https://collector.example:4318", "cidr": "203.0.113.7/32"}
    }
    with pytest.raises(helm_python.HelmError, match=r"does not say results\.traces = true"):
        render(values)


# What is refused


def put(path: str, value: object) -> Callable[[Object], None]:
    def change(values: Object) -> None:
        *folders, last = path.split(".")
        for folder in folders:
            values = values.setdefault(folder, {})
        values[last] = value

    return change


LONG = "a" * 64
REFUSALS: list[tuple[str, object, str]] = [
    ("queue", "Training", "at '/queue'"),
    ("queue", LONG, "at '/queue'"),
    ("schedulerName", "my scheduler", "at '/schedulerName'"),
    ("priorityClassName", "_low", "at '/priorityClassName'"),
    ("imagePullSecrets", ["Registry"], "at '/imagePullSecrets/0'"),
    ("metadata.pods.labels", {"team": "a b"}, "at '/metadata/pods/labels/team'"),
    ("metadata.pods.labels", {"team": LONG}, "at '/metadata/pods/labels/team'"),
    ("metadata.pods.labels", {"te am": "a"}, "invalid propertyName 'te am'"),
    ("metadata.pods.annotations", {"count": 3}, "at '/metadata/pods/annotations/count'"),
    ("metadata.nodes", {}, "additional properties 'nodes' not allowed"),
    *(
        (f"metadata.{of}.{what}", {key: "x"}, f"metadata.{of}.{what} may not set {key}")
        for of in ("pods", "jobs", "services")
        for what in ("labels", "annotations")
        for key in (
            "app.kubernetes.io/name",
            "coterie/node",
            "jobset.sigs.k8s.io/jobset-name",
            "batch.kubernetes.io/job-name",
            QUEUE,
        )
    ),
    ("metrics", {"enabled": True, "port": 0}, "at '/metrics/port'"),
    ("metrics", {"enabled": True, "interval": "often"}, "at '/metrics/interval'"),
    (
        *("metrics", {"enabled": True, "port": 7441}),
        "metrics.port 7441 is one of node ps0's own ports",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "said"), REFUSALS, ids=[f"{case[0]}={case[1]}" for case in REFUSALS]
)
def test_it_says_what_is_wrong(path: str, value: object, said: str) -> None:
    values = paper_values("hfl", "simulated")
    put(path, value)(values)
    with pytest.raises(helm_python.HelmError) as refused:
        render(values)
    assert said in str(refused.value)


@pytest.mark.parametrize(("mode", "tee"), [("hfl", "sgx"), ("sdt", "sgx")])
def test_metrics_of_enclaves_alone_are_refused(mode: Mode, tee: TeeName) -> None:
    with pytest.raises(helm_python.HelmError, match="enclaves serve no metrics"):
        render(paper_values(mode, tee) | {"metrics": {"enabled": True}})


def test_metadata_of_the_service_is_refused_where_jobset_makes_it() -> None:
    values = cloud_values("gke") | {"metadata": {"services": {"labels": {"team": "ads"}}}}
    with pytest.raises(helm_python.HelmError, match=r"metadata\.services has no place"):
        render(values)
