"""What TensorFlow is told of the cluster, and which contracts may have one."""

from __future__ import annotations

import errno
import json
import os
import socket

import pytest

from coterie.address import Address
from coterie.contract import (
    Contract,
    canonical_json,
    contract_digest,
    contract_from_json,
    load_contract,
    parse_contract,
)
from coterie.errors import ContractInvalid
from coterie.tensorflow.cluster import check_contract, tf_config, virtual_address
from coterie.tensorflow.sockets import check_reachable
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
TEXT = (EXAMPLES / "tensorflow" / "cluster.toml").read_text()
FEDERATED_TEXT = (EXAMPLES / "tensorflow" / "federated.toml").read_text()
FEDERATED = parse_contract(FEDERATED_TEXT.encode(), "federated.toml")


def without_operations(text: str) -> str:
    start = text.index("operations = [")
    return text[:start] + text[text.index("]", start) + 1 :]


def contract(text: str = TEXT) -> Contract:
    return parse_contract(text.encode(), "cluster.toml")


def test_every_task_finds_its_place_under_virtual_addresses() -> None:
    agreed = contract()
    configs = [json.loads(tf_config(agreed, node)) for node in agreed.nodes]
    assert [config["task"] for config in configs] == [
        {"type": "chief", "index": 0},
        {"type": "ps", "index": 0},
        {"type": "worker", "index": 0},
        {"type": "worker", "index": 1},
    ]
    assert all(config["cluster"] == configs[0]["cluster"] for config in configs)
    assert configs[0]["cluster"] == {
        "chief": ["239.67.0.0:2222"],
        "ps": ["239.67.0.1:2222"],
        "worker": ["239.67.0.2:2222", "239.67.0.3:2222"],
    }
    assert virtual_address(1023) == "239.67.3.255:2222"


@pytest.mark.system
def test_no_kernel_opens_a_connection_to_a_virtual_address() -> None:
    host, port = virtual_address(1).split(":")
    unreachable = os.strerror(errno.ENETUNREACH)
    with socket.socket() as plain, pytest.raises(OSError, match=unreachable):
        plain.connect((host, int(port)))


def test_workers_of_different_parties_are_no_peers_and_need_no_address() -> None:
    agreed = load_contract(EXAMPLES / "tensorflow" / "federated.toml")
    server, *workers = agreed.nodes
    assert agreed.tensorflow_peers(server) == tuple(workers)
    for worker in workers:
        assert agreed.tensorflow_peers(worker) == (server,)
        check_reachable(worker, (server,), {"ps0": Address("10.0.0.1", 7440)}, listens=False)


def test_other_contracts_need_the_section() -> None:
    with pytest.raises(ContractInvalid) as refused:
        check_contract(load_contract(EXAMPLES / "sdt.toml"))
    assert refused.value.expected == "a section [tensorflow]"


def test_only_with_the_section_may_servers_be_absent_and_chiefs_have_an_address() -> None:
    mirrored = (EXAMPLES / "tensorflow" / "mirrored.toml").read_text()
    assert not contract(mirrored).by_role("ps")
    with pytest.raises(ContractInvalid, match="1 to 64 nodes with role ps"):
        contract(mirrored.replace("[tensorflow]\n", ""))
    listening = TEXT.replace(
        'role = "chief"\nparty = "owner"\n',
        'role = "chief"\nparty = "owner"\naddress = "127.0.0.1:7430"\n',
    )
    assert contract(listening).by_role("chief")[0].address == Address("127.0.0.1", 7430)
    with pytest.raises(ContractInvalid, match="only dials out"):
        contract(listening.replace("[tensorflow]\n", ""))


def test_the_digests_are_in_the_contracts_digest_and_an_absent_section_is_not() -> None:
    plain = contract()
    named = contract(TEXT.replace("[tensorflow]\n", f'[tensorflow]\nprogram = "{"ab" * 32}"\n'))
    other = contract(TEXT.replace("[tensorflow]\n", f'[tensorflow]\nwheel = "{"ab" * 32}"\n'))
    assert len({contract_digest(plain), contract_digest(named), contract_digest(other)}) == 3
    assert b"tensorflow" not in canonical_json(load_contract(EXAMPLES / "sdt.toml"))


def test_a_contract_without_operations_keeps_its_digest() -> None:
    before = "fe670f6466ef6f72085612fc8df09d89db56286318d4ad8e9110fe3520480f33"
    assert contract_digest(contract()).hex() == before
    there = contract_from_json(canonical_json(FEDERATED), "peer")
    assert there.tensorflow == FEDERATED.tensorflow
    fewer = FEDERATED_TEXT.replace('"AddV2", ', "")
    assert contract_digest(contract(fewer)) != contract_digest(FEDERATED)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (without_operations(FEDERATED_TEXT), "tensorflow.operations is needed in mode hfl"),
        (
            TEXT.replace("[tensorflow]\n", '[tensorflow]\noperations = ["AddV2"]\n'),
            "is for mode hfl: remove it",
        ),
        (
            FEDERATED_TEXT.replace('"AddV2"', '"AddV2", "AddV2"'),
            "tensorflow.operations must be unique",
        ),
        *(
            (FEDERATED_TEXT.replace('"AddV2"', f'"{unsafe}"'), f"may not have {unsafe}")
            for unsafe in (
                "ReadFile",
                "WriteFile",
                "SaveV2",
                "RestoreV2",
                "PyFunc",
                "EagerPyFunc",
                "PrintV2",
                "MyOp",
            )
        ),
    ],
)
def test_operations_are_needed_where_companies_share_servers_and_harmless(
    text: str, complaint: str
) -> None:
    with pytest.raises(ContractInvalid) as refused:
        contract(text)
    assert complaint in refused.value.seen


@pytest.mark.parametrize("digest", ["ab" * 31, "AB" * 32, "", "zz" * 32])
def test_a_digest_is_64_hex_digits(digest: str) -> None:
    with pytest.raises(ContractInvalid, match=r"tensorflow\.program"):
        contract(TEXT.replace("[tensorflow]\n", f'[tensorflow]\nprogram = "{digest}"\n'))


def test_of_two_nodes_one_must_listen() -> None:
    agreed = contract()
    chief, server = agreed.nodes[0], agreed.nodes[1]
    everywhere = {node.name: Address("10.0.0.1", 7440) for node in agreed.nodes[1:]}
    check_reachable(chief, agreed.tensorflow_peers(chief), everywhere, listens=False)
    check_reachable(server, agreed.tensorflow_peers(server), {}, listens=True)
    with pytest.raises(ContractInvalid, match="chief and ps0 only dial out"):
        check_reachable(
            chief,
            agreed.tensorflow_peers(chief),
            {name: place for name, place in everywhere.items() if name != "ps0"},
            listens=False,
        )
