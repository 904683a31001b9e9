"""The in-memory transport: every call reaches the service as its caller's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pytest

from coterie.contract import Contract
from coterie.errors import CoterieError, NodeFailed
from coterie.ps.caller import Caller
from coterie.ps.in_process import InProcess
from coterie.ps.ports import DataReceiverPort
from coterie.ps.wire import ps_pb2 as pb

if TYPE_CHECKING:
    from tests.ps.conftest import Run


def test_calls_carry_the_callers_name(
    make_contract: Callable[..., Contract], make_run: Callable[..., Run]
) -> None:
    run = make_run(make_contract())
    run.port("w1").join(pb.JoinRequest(train_examples=8, data_set_digest=bytes(32)))
    status = run.port("w0").status(pb.StatusRequest())
    assert (list(status.joined), list(status.missing)) == (["w1"], ["w0"])


def test_errors_arrive_as_they_were_raised(
    make_contract: Callable[..., Contract], make_run: Callable[..., Run]
) -> None:
    run, error = make_run(make_contract()), NodeFailed("w1 burnt down")
    run.service.fail(error)
    with pytest.raises(NodeFailed) as refused:
        run.port("w0").join(pb.JoinRequest(train_examples=8, data_set_digest=bytes(32)))
    assert refused.value is error


class Receiver:
    """Notes who delivered what."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    @DataReceiverPort.watch.serves
    def watch(self, _caller: Caller, _request: pb.WatchRequest) -> pb.WatchReply:
        return pb.WatchReply(pending=bool(self.heard))

    @DataReceiverPort.deliver.serves
    def deliver(self, caller: Caller, parts: Iterable[pb.DeliverRequest]) -> pb.DeliverReply:
        self.heard = [(caller.node, len(part.records)) for part in parts]
        return pb.DeliverReply(examples=len(self.heard))

    def fail(self, error: CoterieError) -> None:
        raise error


def test_a_shard_is_streamed_part_by_part() -> None:
    receiver = Receiver()
    port = DataReceiverPort(InProcess(receiver, Caller("chief", "chief", 1)))
    reply = port.deliver(pb.DeliverRequest(records=bytes(n)) for n in (3, 1, 2))
    assert reply.examples == 3
    assert receiver.heard == [("chief", 3), ("chief", 1), ("chief", 2)]
