"""A start over real gRPC on loopback: streamed, refused, answered early, and broken off by its giver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coterie.contract import Contract
from coterie.errors import CallRefused, ModelDamaged, SealBroken
from coterie.ps.wire import ps_pb2 as pb
from coterie.training.start_giver import StartFiles
from tests.ps.test_rpc import Wire, wire_of
from tests.ps.warm_start.conftest import Starting, no_key, starting

pytestmark = pytest.mark.long


@pytest.fixture
def cluster(before: Path, going_on: Contract, tmp_path: Path) -> Iterator[Starting]:
    with starting(going_on, tmp_path / "out", before) as made:
        made.wait_restored()
        yield made


@pytest.fixture
def wire(cluster: Starting) -> Iterator[Wire]:
    with wire_of(cluster.contract) as made:
        service = cluster._services["ps0"]
        made._stack.enter_context(made.fabric("ps0").serve_parameter_server(service))
        yield made


def initialized(cluster: Starting) -> bool:
    run = cluster._services["ps0"].driver.core.run
    assert run is not None
    return run.initialized


def test_the_files_stream_to_the_server(wire: Wire, cluster: Starting, before: Path) -> None:
    files = StartFiles(cluster.contract, before, no_key)
    reply = wire.fabric("w0").parameter_server(0).start(files.parts(0))
    assert reply == pb.StartReply(ps_incarnation=1)
    assert initialized(cluster)


def test_an_offer_that_is_not_needed_is_answered_in_its_middle(
    wire: Wire, cluster: Starting, before: Path
) -> None:
    port = wire.fabric("w0").parameter_server(0)
    port.start(StartFiles(cluster.contract, before, no_key).parts(0))

    def endless() -> Iterator[pb.StartPart]:
        yield pb.StartPart(offer=pb.StartOffer())
        while True:
            yield pb.StartPart(model=bytes(1 << 16))

    assert port.start(endless()) == pb.StartReply(ps_incarnation=1)


def test_refusals_cross_the_wire_with_all_they_say(
    wire: Wire, cluster: Starting, before: Path
) -> None:
    files = StartFiles(cluster.contract, before, no_key)
    with pytest.raises(CallRefused, match="does not give the model") as refused:
        wire.fabric("w1").parameter_server(0).start(files.parts(0))
    assert refused.value.expected == "a call by w0"
    with pytest.raises(ModelDamaged, match="the model that w0 gives is damaged: its size"):
        wire.fabric("w0").parameter_server(0).start(list(files.parts(0))[:1])
    assert not initialized(cluster)


def test_what_goes_wrong_at_the_giver_is_its_own_error(
    wire: Wire, cluster: Starting, before: Path
) -> None:
    """Its disk may fail between the check and the call."""

    def broken() -> Iterator[pb.StartPart]:
        yield next(StartFiles(cluster.contract, before, no_key).parts(0))
        raise SealBroken("the disk gave something else")

    with pytest.raises(SealBroken, match="the disk gave something else"):
        wire.fabric("w0").parameter_server(0).start(broken())
    assert not initialized(cluster)
