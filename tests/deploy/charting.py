"""Finds its way among the objects that the chart renders."""

from __future__ import annotations

from collections.abc import Iterator

from tests.deploy.rendering import Object


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """The objects of one kind, by name, without the release's name before it."""
    return {
        str(found["metadata"]["name"]).removeprefix("run-"): found
        for found in objects
        if found["kind"] == kind
    }


def jobs(objects: list[Object]) -> dict[str, Object]:
    """Every node's Job, by the node's name, whether it stands alone or in a JobSet."""
    found = of_kind(objects, "Job")
    for job_set in of_kind(objects, "JobSet").values():
        found |= {one["name"]: one["template"] for one in job_set["spec"]["replicatedJobs"]}
    return found


def pods(objects: list[Object]) -> dict[str, Object]:
    """Every node's pod, by the node's name."""
    return {name: job["spec"]["template"] for name, job in jobs(objects).items()}


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
