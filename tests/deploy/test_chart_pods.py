"""The chart's pods fit the profile "restricted" of the Pod Security Standards; its Jobs suit training."""

from __future__ import annotations

import pytest
import yaml

from tests.deploy.charting import containers, node_container, of_kind, pods
from tests.deploy.rendering import (
    DIGESTS,
    Mode,
    Object,
    TeeName,
    paper_contract,
    paper_values,
    render,
)

pytestmark = pytest.mark.long


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
        digest = DIGESTS["psImage" if name == "ps0" else "workerImage"]
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
