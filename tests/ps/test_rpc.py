"""The calls over real gRPC on loopback, with the plaintext fabric: same replies, same errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from coterie.contract import Contract, ResultsSection
from coterie.errors import (
    AddressInUse,
    CallRefused,
    CoterieError,
    EnvironmentUnfit,
    MessageRefused,
    NodeFailed,
    PeerUnreachable,
    ProtocolError,
    StepRefused,
)
from coterie.metrics.histogram import ScoreHistogram
from coterie.nodes.fabric import Service
from coterie.plaintext.fabric import PlaintextFabric
from coterie.ps.caller import Caller
from coterie.ps.core.evaluation import SPLITS, SplitCounts
from coterie.ps.ports import DataReceiverPort, ParameterServerPort
from coterie.ps.rpc import GrpcTransport
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import max_message_bytes
from coterie.ps.wire.frames import ExchangeRequest
from coterie.runs.events import Event, Listening
from coterie.trained.trained_model import PlainModelFile, TrainedModel
from coterie.training.model_download import receive_model

if TYPE_CHECKING:
    from tests.ps.conftest import Run

    MakeRun = Callable[..., Run]

pytestmark = pytest.mark.long

MakeContract = Callable[..., Contract]


class Wire:
    """Fabrics of one contract's nodes on loopback, each closed at the end."""

    def __init__(self, contract: Contract, stack: ExitStack) -> None:
        self.contract = contract
        self.addresses: dict[str, str] = {}
        self._stack = stack

    def fabric(self, node: str, listen: str = "127.0.0.1:0") -> PlaintextFabric:
        (entry,) = [n for n in self.contract.nodes if n.name == node]
        fabric = PlaintextFabric(
            self.contract,
            entry,
            listen=listen,
            addresses=self.addresses,
            incarnation=1,
            on_event=self._hear,
        )
        self._stack.callback(fabric.close)
        return fabric

    def serve(self, run: Run) -> None:
        self._stack.enter_context(self.fabric("ps0").serve_parameter_server(run.service))

    def receive(self, node: str, service: Service) -> None:
        self._stack.enter_context(self.fabric(node).serve_data_receiver(service))

    def _hear(self, event: Event) -> None:
        if isinstance(event, Listening):
            self.addresses[event.node] = event.address


@contextmanager
def wire_of(contract: Contract) -> Iterator[Wire]:
    with ExitStack() as stack:
        yield Wire(contract, stack)


def join_request(examples: int = 8) -> pb.JoinRequest:
    return pb.JoinRequest(train_examples=examples, data_set_digest=bytes(32))


def test_a_run_over_grpc_gives_the_model_of_a_run_in_memory(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract(epochs=2, workers=3)
    local = make_run(contract, examples=(9, 5, 2))
    expected = local.finish()
    run = make_run(contract, examples=(9, 5, 2))
    with wire_of(contract) as wire:
        wire.serve(run)
        fabrics = [wire.fabric(f"w{worker}") for worker in range(3)]

        def work(worker: int) -> None:
            session = run.session(worker, lambda: fabrics[worker].parameter_server(0))
            run.train(worker, session)

        run.together(work)
        lookup = (
            fabrics[0].parameter_server(0).lookup(pb.LookupRequest(ps_incarnation=1, dense=True))
        )
        status = fabrics[2].parameter_server(0).status(pb.StatusRequest())
    assert run.digest == expected.model_digest
    assert lookup.dense_parameters == local.state.dense.tobytes()
    assert status.step == status.steps == 4


def test_the_model_streams_over_grpc_and_a_refusal_of_it_crosses_the_wire(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract().model_copy(update={"results": ResultsSection(model_parties=("p0",))})
    run = make_run(contract)
    with wire_of(contract) as wire:
        wire.serve(run)
        fabrics = [wire.fabric(f"w{worker}") for worker in range(2)]

        def work(worker: int) -> None:
            session = run.session(worker, lambda: fabrics[worker].parameter_server(0))
            run.train(worker, session)
            session.report(tuple(counts()))

        run.together(work)
        session = run.session(0, lambda: fabrics[0].parameter_server(0))
        keeper = PlainModelFile(tmp_path / "model.coterie")
        digest = receive_model(session, contract, keeper.writing)
        with pytest.raises(CallRefused, match="node w1 does not get the trained model"):
            next(fabrics[1].parameter_server(0).download(pb.DownloadRequest()))
    assert TrainedModel.read(keeper.path).digest == digest == run.digest


def test_errors_of_the_tree_cross_the_wire_with_all_they_say(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract()
    run = make_run(contract)
    with wire_of(contract) as wire:
        wire.serve(run)
        server = wire.fabric("w0").parameter_server(0)
        with pytest.raises(MessageRefused) as refused:
            server.join(join_request(examples=0))
        assert refused.value.what == "worker w0 brings no usable training data"
        assert refused.value.expected == "1 to 1099511627776 examples and their SHA-256"
        assert refused.value.seen == "0 examples, a digest of 32 bytes"
        assert refused.value.remedy == "prepare its data again"
        with pytest.raises(StepRefused, match="has not joined this incarnation"):
            server.exchange(ExchangeRequest(3, 0, None, b""))
        run.service.fail(NodeFailed("w1 burnt down"))
        with pytest.raises(NodeFailed, match="w1 burnt down"):
            server.join(join_request())


def test_the_chief_initializes_over_grpc(make_contract: MakeContract, make_run: MakeRun) -> None:
    contract = make_contract("sdt")
    run = make_run(contract)
    dense = np.arange(15, dtype="<f4").tobytes()
    with wire_of(contract) as wire:
        wire.serve(run)
        wire.fabric("chief").parameter_server(0).initialize(
            pb.InitializeRequest(dense_parameters=dense)
        )
    assert run.state.dense.tobytes() == dense


def test_a_server_that_goes_away_is_unreachable(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract()
    with wire_of(contract) as wire, ExitStack() as server:
        fabric = wire.fabric("ps0")
        server.enter_context(fabric.serve_parameter_server(make_run(contract).service))
        port = wire.fabric("w0").parameter_server(0)
        assert port.join(join_request()).pending
        server.close()
        with pytest.raises(PeerUnreachable) as refused:
            port.join(join_request())
        assert refused.value.what == "ps0 cannot be reached"
        assert refused.value.remedy


class Hasty(ParameterServerPort):
    """The server as a caller sees it that does not wait."""

    join = replace(ParameterServerPort.join, seconds=0.001)


def test_a_server_that_does_not_answer_in_time_is_unreachable(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract()
    run = make_run(contract)
    with wire_of(contract) as wire:
        wire.serve(run)
        fabric = wire.fabric("w0")
        channel = fabric._dial("ps0", 30.0)
        hasty = Hasty(GrpcTransport(channel, "ps0", metadata=(("coterie-node", fabric._said),)))
        with pytest.raises(PeerUnreachable, match="ps0 cannot be reached"):
            hasty.join(join_request())


def test_nobody_listens(make_contract: MakeContract) -> None:
    contract = make_contract(limits={"join_seconds": 0.05})
    with wire_of(contract) as wire:
        wire.addresses["ps0"] = "127.0.0.1:1"
        with pytest.raises(PeerUnreachable, match="ps0 cannot be reached"):
            wire.fabric("w0").parameter_server(0)


def test_a_message_over_the_limit_is_refused(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract()
    size = max_message_bytes(contract)
    with wire_of(contract) as wire:
        wire.serve(make_run(contract))
        server = wire.fabric("w0").parameter_server(0)
        with pytest.raises(MessageRefused, match="over the limit"):
            server.lookup(pb.LookupRequest(row_ids=bytes(size)))
        with pytest.raises(MessageRefused, match="row_ids is out of bounds"):
            server.lookup(pb.LookupRequest(row_ids=bytes(size - 100)))
        assert server.join(join_request()).pending


def test_the_largest_report_fits(make_contract: MakeContract, make_run: MakeRun) -> None:
    contract = make_contract(workers=1)
    run = make_run(contract, examples=(4,))
    with wire_of(contract) as wire:
        wire.serve(run)
        session = run.session(0, lambda: wire.fabric("w0").parameter_server(0))
        run.train(0, session)
        session.report(tuple(counts()))
    assert run.told.get().totals.keys() == {"validation", "test"}


def counts() -> Iterable[SplitCounts]:
    for split in SPLITS:
        logits = np.linspace(-20, 20, 50_000)
        histogram = ScoreHistogram.count(logits, (logits > 0).astype(np.float64))
        yield SplitCounts(split, histogram.coarsened())


class Receiver:
    """Keeps what is delivered; refuses parts of no bytes."""

    def __init__(self) -> None:
        self.heard: list[tuple[Caller, bytes]] = []

    @DataReceiverPort.deliver.serves
    def deliver(self, caller: Caller, parts: Iterable[pb.DeliverRequest]) -> pb.DeliverReply:
        for part in parts:
            if not part.records:
                raise MessageRefused("an empty part", expected="records", seen="none")
            self.heard.append((caller, part.records))
        return pb.DeliverReply(examples=len(self.heard))

    @DataReceiverPort.watch.serves
    def watch(self, _caller: Caller, _request: pb.WatchRequest) -> pb.WatchReply:
        return pb.WatchReply(pending=bool(self.heard))

    def fail(self, error: CoterieError) -> None:
        raise error


def test_shards_are_streamed_to_sdt_workers(make_contract: MakeContract) -> None:
    contract, receiver = make_contract("sdt"), Receiver()
    with wire_of(contract) as wire:
        wire.receive("w1", receiver)
        port = wire.fabric("chief").data_receiver("w1", 30.0)
        assert not port.watch(pb.WatchRequest()).pending
        pieces = [bytes([i]) * (1 << 20) for i in range(5)]
        reply = port.deliver(pb.DeliverRequest(records=piece) for piece in pieces)
        assert reply.examples == 5
        assert [piece for _, piece in receiver.heard] == pieces
        assert {caller for caller, _ in receiver.heard} == {Caller("chief", "chief", 1)}
        with pytest.raises(MessageRefused, match="an empty part"):
            port.deliver([pb.DeliverRequest()])


def test_a_worker_that_goes_away_during_delivery_is_unreachable(
    make_contract: MakeContract,
) -> None:
    contract = make_contract("sdt")
    with wire_of(contract) as wire, ExitStack() as worker:
        worker.enter_context(wire.fabric("w1").serve_data_receiver(Receiver()))
        port = wire.fabric("chief").data_receiver("w1", 30.0)
        worker.close()
        with pytest.raises(PeerUnreachable, match="w1 cannot be reached"):
            port.deliver([pb.DeliverRequest(records=b"x")])


@pytest.mark.parametrize("said", ["", "w9 1", "w0", "w0 x", "w0 -1"])
def test_a_caller_without_a_known_name_is_refused(
    make_contract: MakeContract, make_run: MakeRun, said: str
) -> None:
    contract = make_contract()
    with wire_of(contract) as wire:
        wire.serve(make_run(contract))
        channel = wire.fabric("w0")._dial("ps0", 30.0)
        transport = GrpcTransport(channel, "ps0", metadata=(("coterie-node", said),))
        with pytest.raises(CallRefused, match="did not say its name"):
            ParameterServerPort(transport).status(pb.StatusRequest())


def test_a_message_with_an_unknown_field_is_refused(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract, receiver = make_contract("sdt"), Receiver()
    request = pb.StatusRequest()
    request.MergeFromString(b"\xf8\x7f\x01")
    part = pb.DeliverRequest(records=b"x")
    part.MergeFromString(b"\xf8\x7f\x01")
    with wire_of(contract) as wire:
        wire.serve(make_run(contract))
        wire.receive("w1", receiver)
        chief = wire.fabric("chief")
        with pytest.raises(MessageRefused, match="cannot be decoded"):
            chief.parameter_server(0).status(request)
        with pytest.raises(MessageRefused, match="cannot be decoded"):
            chief.data_receiver("w1", 30.0).deliver([part])
    assert receiver.heard == []


def test_a_method_that_is_not_served_is_a_protocol_error(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract()
    with wire_of(contract) as wire:
        wire.serve(make_run(contract))
        channel = wire.fabric("w0")._dial("ps0", 30.0)
        invented = channel.unary_unary("/coterie.ps.v3.ParameterServer/RunGraph", None, None)
        with pytest.raises(grpc.RpcError) as refused:
            invented(b"", timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_server_that_breaks_is_a_protocol_error(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract()
    run = make_run(contract)

    def broken(_event: Event) -> None:
        raise RuntimeError("a defect")

    run.driver.on_event = broken
    with wire_of(contract) as wire:
        wire.serve(run)
        with pytest.raises(ProtocolError, match="the call to ps0 failed") as refused:
            wire.fabric("w0").parameter_server(0).join(join_request())
        assert refused.value.seen.startswith("UNKNOWN")


def test_an_address_in_use_is_named(make_contract: MakeContract, make_run: MakeRun) -> None:
    contract = make_contract()
    with wire_of(contract) as wire:
        wire.serve(make_run(contract))
        second = wire.fabric("ps0", listen=wire.addresses["ps0"])
        with (
            pytest.raises(
                AddressInUse, match=f"{wire.addresses['ps0']} and the port after it cannot be bound"
            ),
            second.serve_parameter_server(make_run(contract).service),
        ):
            pass


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "localhost:0", "10.0.0.1:0", "[::1]:0"])
def test_the_plaintext_transport_never_leaves_this_machine(
    make_contract: MakeContract, listen: str
) -> None:
    with (
        wire_of(make_contract()) as wire,
        pytest.raises(EnvironmentUnfit, match="never leaves this machine") as refused,
    ):
        wire.fabric("ps0", listen=listen)
    assert refused.value.seen == listen


def test_many_waiting_calls_do_not_keep_others_from_being_served(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract(workers=4)
    run = make_run(contract, examples=(4, 4, 4, 4))
    with wire_of(contract) as wire, ThreadPoolExecutor(4) as pool:
        wire.serve(run)
        sessions = [
            run.session(w, functools.partial(wire.fabric(f"w{w}").parameter_server, 0))
            for w in range(4)
        ]
        joins = [pool.submit(session.join) for session in sessions]
        assert {join.result().lane.steps for join in joins} == {1}
