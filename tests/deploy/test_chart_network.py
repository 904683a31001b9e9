"""The chart's network policies, and releases that run one party's nodes only."""

from __future__ import annotations

import tomllib

import pytest

from tests.deploy.charting import node_container, of_kind, pods, policy
from tests.deploy.listening import dials_of, key_servers_of, listens
from tests.deploy.rendering import Mode, Object, TeeName, paper_contract, paper_values, render

pytestmark = pytest.mark.long


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
