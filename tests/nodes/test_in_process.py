"""The in-memory fabric: nodes of one process find each other, and fail together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from coterie.contract import Contract, Node, parse_contract
from coterie.errors import CoterieError, NodeFailed, PeerUnreachable
from coterie.nodes.in_process import InProcessFabric, InProcessHub
from coterie.ps.checkpoints.records import NoCheckpoints
from coterie.ps.driver import Driver
from coterie.ps.ports import ParameterServerPort
from coterie.ps.service import ParameterService
from coterie.ps.wire import ps_pb2 as pb
from coterie.training.data_transfer import DataInbox
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "examples" / "sdt.toml").read_text()
WIDTHS = "[model]\nembedding_dim = 2\nbottom = [2]\ntop = [1]\n[limits]\njoin_seconds = {}\n[data]"


def contract(join_seconds: float = 60) -> Contract:
    text = TEXT.replace("[data]", WIDTHS.format(join_seconds)).replace("rows = 2000", "rows = 3")
    return parse_contract(text.encode(), "small")


def node(hub: InProcessHub, name: str) -> Node:
    return next(node for node in hub.contract.nodes if node.name == name)


def fabric(hub: InProcessHub, name: str) -> InProcessFabric:
    return InProcessFabric(hub, node(hub, name))


def server(hub: InProcessHub) -> ParameterService:
    return ParameterService(
        Driver(
            hub.contract,
            "ps0",
            incarnation=1,
            monotonic=lambda: 0.0,
            on_event=lambda _: None,
            checkpoints=lambda *_: NoCheckpoints(),
            poll_seconds=0.01,
        )
    )


def test_a_server_is_found_and_knows_who_calls() -> None:
    hub = InProcessHub(contract())
    with fabric(hub, "ps0").serve_parameter_server(server(hub)):
        worker = fabric(hub, "worker1").parameter_server(0)
        assert worker.join(pb.JoinRequest(train_examples=4, data_set_digest=bytes(32))).pending
        status = fabric(hub, "chief").parameter_server(0).status(pb.StatusRequest())
    assert list(status.missing) == ["worker0", "worker1", "chief"], "its driver does not run"


def test_dialling_waits_until_the_other_node_serves() -> None:
    hub = InProcessHub(contract())
    with ThreadPoolExecutor(1) as pool:
        dialled = pool.submit(fabric(hub, "worker0").parameter_server, 0)
        with fabric(hub, "ps0").serve_parameter_server(server(hub)):
            assert dialled.result().status(pb.StatusRequest()).step == 0


def test_the_chief_finds_a_workers_inbox() -> None:
    hub = InProcessHub(contract())
    with fabric(hub, "worker1").serve_data_receiver(
        DataInbox(hub.contract.data, max_bytes=1 << 20)
    ):
        receiver = fabric(hub, "chief").data_receiver("worker1", 1.0)
        with pytest.raises(CoterieError, match="the delivered part was refused"):
            receiver.deliver([])


def test_a_node_that_does_not_come_is_named() -> None:
    hub = InProcessHub(contract(join_seconds=0.01))
    with pytest.raises(PeerUnreachable, match=r"node ps0 did not come within 0\.01 s"):
        fabric(hub, "worker0").parameter_server(0)
    with pytest.raises(PeerUnreachable, match="node worker1 did not come"):
        fabric(hub, "chief").data_receiver("worker1", 1.0)


def test_services_of_another_kind_are_refused() -> None:
    hub = InProcessHub(contract())
    with (
        fabric(hub, "ps0").serve_parameter_server(server(hub)),
        pytest.raises(PeerUnreachable, match="ps0 does not serve DataReceiverPort"),
    ):
        fabric(hub, "chief").data_receiver("ps0", 1.0)
    hub = InProcessHub(contract())
    with (
        fabric(hub, "ps0").serve_data_receiver(DataInbox(hub.contract.data, max_bytes=1 << 20)),
        pytest.raises(PeerUnreachable, match="node ps0 does not serve ParameterServerPort"),
    ):
        fabric(hub, "worker0").parameter_server(0)


def test_a_failure_reaches_who_dials_and_who_has_dialled() -> None:
    hub = InProcessHub(contract())
    with (
        fabric(hub, "ps0").serve_parameter_server(server(hub)),
        ThreadPoolExecutor(1) as pool,
    ):
        port = fabric(hub, "worker0").parameter_server(0)
        dialling = pool.submit(fabric(hub, "chief").data_receiver, "worker1", 30.0)
        hub.fail(NodeFailed("worker1 burnt down"))
        with pytest.raises(NodeFailed, match="worker1 burnt down"):
            dialling.result()
        with pytest.raises(NodeFailed, match="worker1 burnt down"):
            port.join(pb.JoinRequest(train_examples=4, data_set_digest=bytes(32)))


def test_a_server_that_comes_after_the_failure_fails_too() -> None:
    hub = InProcessHub(contract())
    hub.fail(NodeFailed("the chief has no data"))
    service = server(hub)
    with (
        fabric(hub, "ps0").serve_parameter_server(service),
        pytest.raises(NodeFailed, match="the chief has no data"),
    ):
        service.drive()


def test_the_first_failure_is_the_one_that_is_told() -> None:
    hub = InProcessHub(contract())
    hub.fail(NodeFailed("the cause"))
    hub.fail(NodeFailed("a consequence"))
    with pytest.raises(NodeFailed, match="the cause"):
        hub.find("ps0", ParameterServerPort, 1.0)


# an SDT worker that waits for its shard does not hear of the failure: `coterie local`
# shows a chief's error only after limits.join_seconds (300 s by default).
def test_a_failure_reaches_a_worker_that_waits_for_its_shard() -> None:
    hub = InProcessHub(contract())
    inbox = DataInbox(hub.contract.data, max_bytes=1 << 20)
    with fabric(hub, "worker0").serve_data_receiver(inbox):
        hub.fail(NodeFailed("the chief has no data"))
        with pytest.raises(NodeFailed, match="the chief has no data"):
            inbox.wait(0.1)
