"""A shard takes a start from its giver alone, only as the contract names it, and once for each life."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract, StartSection, contract_digest
from coterie.errors import (
    CallRefused,
    CoterieError,
    MessageRefused,
    ModelDamaged,
    NodeMissing,
    StartRefused,
    StepRefused,
)
from coterie.nodes.start_section import continued
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import PART_BYTES
from coterie.runs import events
from coterie.trained.optimizer_state import STATE_NAME
from coterie.trained.trained_model import MODEL_NAME, TrainedModel
from coterie.training.start_giver import StartFiles
from tests.ps.warm_start.conftest import STEPS, Starting, contract, no_key, ran, starting

Parts = list[pb.StartPart]
OFFER = pb.StartPart(offer=pb.StartOffer())


def parts_of(model: bytes, state: bytes | None = None, size: int = 1000) -> Parts:
    made = [OFFER]
    made += [pb.StartPart(model=model[at : at + size]) for at in range(0, len(model), size)]
    state = state or b""
    return made + [
        pb.StartPart(optimizer_state=state[at : at + size]) for at in range(0, len(state), size)
    ]


def model_of(folder: Path) -> bytes:
    return (folder / MODEL_NAME).read_bytes()


def state_of(folder: Path) -> bytes:
    return (folder / STATE_NAME).read_bytes()


@pytest.fixture
def cluster(before: Path, going_on: Contract, tmp_path: Path) -> Iterator[Starting]:
    with starting(going_on, tmp_path / "out", before) as made:
        made.wait_restored()
        yield made


def refusal(cluster: Starting, parts: Parts, node: str = "w0") -> CoterieError:
    cluster.wait_restored()
    with pytest.raises(CoterieError) as refused:
        cluster.port(0, node, "worker").start(parts)
    run = cluster._services["ps0"].driver.core.run
    assert run is not None
    assert not run.initialized
    return refused.value


@pytest.mark.parametrize(("node", "seen"), [("w1", "w1"), ("w2", "w2")])
def test_only_the_giver_that_the_contract_names_is_heard(
    cluster: Starting, before: Path, node: str, seen: str
) -> None:
    error = refusal(cluster, parts_of(model_of(before), state_of(before)), node)
    assert isinstance(error, CallRefused)
    assert error.what == f"node {node} does not give the model that the run starts from"
    assert (error.expected, error.seen) == ("a call by w0", seen)


def test_a_party_that_is_named_gives_it_in_the_first_ones_place(
    before: Path, going_on: Contract, tmp_path: Path
) -> None:
    assert going_on.start is not None
    named = going_on.model_copy(update={"start": going_on.start.model_copy(update={"party": "p2"})})
    with starting(named, tmp_path / "out") as cluster:
        error = refusal(cluster, parts_of(model_of(before), state_of(before)))
        assert error.expected == "a call by w2"
        parts = parts_of(model_of(before), state_of(before))
        assert cluster.port(0, "w2", "worker").start(parts) == pb.StartReply(ps_incarnation=1)


def test_a_contract_without_a_start_takes_none(before: Path, tmp_path: Path) -> None:
    with starting(contract(), tmp_path / "out") as cluster:
        with pytest.raises(CallRefused, match="does not give the model") as refused:
            cluster.port(0, "w0", "worker").start([OFFER])
        assert refused.value.expected == "no call: the contract has no start"


def start_of(contract: Contract) -> StartSection:
    assert contract.start is not None
    return contract.start


Change = Callable[[Path, Path], Parts]


def other_model(before: Path, other: Path) -> Parts:
    return parts_of(model_of(other), state_of(other))


def other_state(before: Path, other: Path) -> Parts:
    return parts_of(model_of(before), state_of(other))


def no_state(before: Path, _other: Path) -> Parts:
    return parts_of(model_of(before))


def cut_model(before: Path, _other: Path) -> Parts:
    return parts_of(model_of(before)[:-1])


def cut_state(before: Path, _other: Path) -> Parts:
    return parts_of(model_of(before), state_of(before)[:-1])


def more(before: Path, _other: Path) -> Parts:
    return parts_of(model_of(before) + b"\0", state_of(before))


def altered(before: Path, _other: Path) -> Parts:
    octets = bytearray(model_of(before))
    octets[-300] ^= 1
    return parts_of(bytes(octets), state_of(before))


REFUSED: list[tuple[str, Change, type[CoterieError], str]] = [
    ("another model", other_model, StartRefused, "is not the one that the contract names"),
    ("another model's state", other_state, StartRefused, "the optimizer state that the run starts"),
    ("no state", no_state, ModelDamaged, "the optimizer state that w0 gives is damaged: its size"),
    (
        "a model that is cut",
        cut_model,
        ModelDamaged,
        "the model that w0 gives is damaged: its size",
    ),
    (
        "a state that is cut",
        cut_state,
        ModelDamaged,
        "the optimizer state that w0 gives is damaged",
    ),
    ("a byte too many", more, ModelDamaged, "the model that w0 gives is damaged: its size"),
    (
        "a byte that is altered",
        altered,
        ModelDamaged,
        "the model that w0 gives is damaged: its rows",
    ),
]


@pytest.mark.parametrize(
    ("change", "kind", "what"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_is_not_the_start_that_the_contract_names_is_refused(
    cluster: Starting,
    before: Path,
    tmp_path: Path,
    change: Change,
    kind: type[CoterieError],
    what: str,
) -> None:
    other = contract()
    seed = other.training.model_copy(update={"seed": 99})
    ran(other.model_copy(update={"training": seed, "name": other.name}), tmp_path / "other")
    if change is other_model:  # of the same contract, so that it is the model that differs
        model = TrainedModel.read(before / MODEL_NAME)
        TrainedModel.of(
            model.contract,
            model.steps,
            model.dense * np.float32(2),
            model.row_ids,
            model.row_values,
        ).write(tmp_path / "other" / MODEL_NAME)
    error = refusal(cluster, change(before, tmp_path / "other"))
    assert isinstance(error, kind)
    assert what in error.what
    assert error.expected
    assert error.seen
    if change is other_state:
        assert error.expected == f"of model {start_of(cluster.contract).model}"
    # What it left is forgotten: the right one gives the model that it must.
    outcome = cluster.finish()
    whole = ran(contract(1, 2), tmp_path / "whole")
    assert outcome.model_digest == whole.model_digest


CHANGED: list[tuple[dict[str, object], str, str, str]] = [
    ({"step": STEPS + 1}, "the model that", f"{STEPS + 1} updates", f"{STEPS} updates"),
    ({"contract": "ab" * 32}, "was trained under another contract", f"contract {'ab' * 32}", ""),
    ({"model": "ab" * 32}, "the model that", f"model {'ab' * 32}", ""),
    ({"optimizer_state": "ab" * 32}, "the optimizer state that", "ab" * 32, ""),
    ({"optimizer_updates": 2}, "the optimizer state that", "2 updates", f"{STEPS} updates"),
]


@pytest.mark.parametrize(("change", "what", "expected", "seen"), CHANGED, ids=str)
def test_a_contract_that_names_something_else_refuses_the_start(
    before: Path,
    going_on: Contract,
    tmp_path: Path,
    change: dict[str, object],
    what: str,
    expected: str,
    seen: str,
) -> None:
    section = start_of(going_on).model_copy(update=change)
    named = going_on.model_copy(update={"start": section})
    with starting(named, tmp_path / "out", before) as cluster:
        error = refusal(cluster, parts_of(model_of(before), state_of(before)))
    assert isinstance(error, StartRefused)
    assert what in error.what
    assert error.expected == expected
    assert seen in error.seen
    # The giver finds the same before anybody waits for it.
    with pytest.raises(StartRefused) as found:
        StartFiles(named, before, no_key).check()
    assert (found.value.what, found.value.expected) == (error.what, error.expected)


def test_a_state_of_other_optimizers_is_refused(
    before: Path, going_on: Contract, tmp_path: Path
) -> None:
    training = going_on.training
    adagrad = training.dense.model_copy(update={"kind": "adagrad"})
    changed = going_on.model_copy(
        update={"training": training.model_copy(update={"dense": adagrad})}
    )
    with starting(changed, tmp_path / "out", before) as cluster:
        error = refusal(cluster, parts_of(model_of(before), state_of(before)))
    assert isinstance(error, StartRefused)
    assert error.what == "the optimizer state that the run starts from is of other optimizers"
    assert (error.expected, error.seen) == (
        "adagrad, rowwise_adagrad",
        "adam, rowwise_adagrad",
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], "an offer first"),
        ([pb.StartPart(model=b"x")], "an offer first"),
        ([OFFER, OFFER], "the pieces of one file after the other"),
        ([OFFER, pb.StartPart()], "the pieces of one file after the other"),
        (
            [OFFER, pb.StartPart(model=bytes(PART_BYTES + 1))],
            f"parts of at most {PART_BYTES} bytes",
        ),
    ],
    ids=["nothing", "no offer", "two offers", "an empty part", "a part too large"],
)
def test_parts_in_another_order_or_too_large_are_refused(
    cluster: Starting, parts: Parts, expected: str
) -> None:
    error = refusal(cluster, parts)
    assert isinstance(error, MessageRefused)
    assert error.expected == expected


def test_nothing_follows_the_files(cluster: Starting, before: Path) -> None:
    files = parts_of(model_of(before), state_of(before))
    error = refusal(cluster, [*files, pb.StartPart(model=b"x")])
    assert (type(error), error.expected) == (MessageRefused, "nothing after the files")


def test_a_shard_that_holds_it_reads_no_more_of_an_offer(cluster: Starting, before: Path) -> None:
    port = cluster.port(0, "w0", "worker")
    port.start(parts_of(model_of(before), state_of(before)))

    def further() -> Iterator[pb.StartPart]:
        yield OFFER
        raise AssertionError("read on")

    assert port.start(further()) == pb.StartReply(ps_incarnation=1)


def test_of_two_offers_the_newer_one_counts(cluster: Starting, before: Path) -> None:
    """A giver that was killed may have left a stream behind that is not broken yet."""
    port, parts = cluster.port(0, "w0", "worker"), parts_of(model_of(before), state_of(before))

    def overtaken() -> Iterator[pb.StartPart]:
        yield from parts[:-1]
        port.start(parts)
        yield parts[-1]

    with pytest.raises(StepRefused, match="was offered again") as refused:
        port.start(overtaken())
    assert refused.value.remedy == "join again: the reply names the open step"
    run = cluster._services["ps0"].driver.core.run
    assert run is not None
    assert run.initialized


def test_an_offer_to_another_life_of_the_server_waits_or_is_refused(
    before: Path, tmp_path: Path
) -> None:
    with starting(continued(contract(2), before), tmp_path / "out", before) as cluster:
        port = cluster.port(1, "w0", "worker")
        later = pb.StartPart(offer=pb.StartOffer(ps_incarnation=7))
        assert port.start([later]).pending
        cluster.kill("ps0")
        cluster.start("ps0")
        answered(
            cluster, 0, parts_of(model_of(before), state_of(before))
        )  # the second life has begun
        with pytest.raises(StepRefused, match="restarted"):
            answered(cluster, 1, [pb.StartPart(offer=pb.StartOffer(ps_incarnation=1))])


def answered(cluster: Starting, shard: int, parts: Parts) -> None:
    """Offers again as long as the shard restores its state."""
    while cluster.port(shard, "w0", "worker").start(parts).pending:
        pass


def test_whoever_waits_sees_that_a_long_start_goes_on(cluster: Starting, before: Path) -> None:
    """The limit for joining counts from the last piece that came."""
    run = cluster._services["ps0"].driver.core.run
    assert run is not None
    seen = []

    def slow() -> Iterator[pb.StartPart]:
        for part in parts_of(model_of(before), state_of(before)):
            cluster.clock.now += 200
            seen.append(run.seconds_left())
            yield part

    cluster.port(0, "w0", "worker").start(slow())
    assert sum(200 for _ in seen) > cluster.contract.limits.join_seconds
    assert seen[-1] > 0


def test_a_run_with_a_start_takes_no_initial_parameters(cluster: Starting) -> None:
    with pytest.raises(MessageRefused, match="initial parameters came for a run that goes on"):
        cluster.port(0, "w0", "chief").initialize(pb.InitializeRequest())


def test_a_start_is_told_once_with_its_digest(before: Path, going_on: Contract) -> None:
    assert start_of(going_on).contract == contract_digest(contract()).hex()
    assert start_of(going_on).model == TrainedModel.read(before / MODEL_NAME).digest.hex()


def test_a_run_waits_for_a_start_that_does_not_come_and_names_its_giver(
    cluster: Starting,
) -> None:
    for worker in range(3):
        request = pb.JoinRequest(train_examples=9, data_set_digest=bytes(32))
        assert cluster.port(0, f"w{worker}", "worker").join(request).pending
    limit = cluster.contract.limits.join_seconds
    cluster.clock.now += limit + 1
    cluster._services["ps0"].driver.look()
    with pytest.raises(NodeMissing, match="waits in vain for the start by w0 to join") as missing:
        cluster.outcome()
    assert missing.value.expected == f"within limits.join_seconds = {limit:g} s"


def test_a_giver_that_waits_offers_anew_to_a_server_that_lost_its_state(
    before: Path, tmp_path: Path
) -> None:
    """Before anybody has trained: the others have not come yet."""
    made = continued(contract(2), before)
    with (
        starting(made, tmp_path / "out", before) as cluster,
        ThreadPoolExecutor(3) as pool,
        ExitStack() as stack,
    ):
        giver, *others = (stack.enter_context(closing(cluster.session(i))) for i in range(3))
        joining = pool.submit(giver.through_restarts, lambda position: position)
        for times in (1, 2, 3):
            with cluster.changed:
                assert cluster.changed.wait_for(
                    lambda times=times: len(taken(cluster)) == times,  # type: ignore[misc]
                    timeout=30,
                )
            if times < 3:
                lost = f"ps{2 - times}"
                cluster.kill(lost)
                cluster.start(lost)
        rest = [pool.submit(session.join) for session in others]
        assert joining.result(timeout=30).step == 0
        for future in rest:
            future.result(timeout=30)


def taken(cluster: Starting) -> list[events.StartTaken]:
    return [event for event in cluster.heard if isinstance(event, events.StartTaken)]
