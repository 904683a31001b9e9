"""The trained model goes to nodes that the contract names, when the outcome is made, and to no other."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract, ResultsSection
from coterie.errors import CallRefused, CheckpointDamaged, StepRefused
from coterie.ps.caller import Caller
from coterie.ps.driver import Driver
from coterie.ps.in_process import InProcess
from coterie.ps.ports import ParameterServerPort
from coterie.ps.service import ParameterService
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs import events
from coterie.runs.outcome import RunOutcome
from coterie.trained.trained_model import PlainModelFile, TrainedModel
from coterie.training.client import ServerClient
from coterie.training.model_download import receive_model
from tests.ps.calls import MakeContract, MakeRun
from tests.ps.conftest import POLL_SECONDS, Clock, Run, counts_of, store
from tests.ps.test_several_shards import Cluster, contract_of, train

REQUEST = pb.DownloadRequest()


def trained(run: Run) -> None:
    """Everybody trains and reports; nobody leaves."""

    def work(worker: int) -> None:
        session = run.session(worker)
        run.train(worker, session)
        session.report(counts_of(worker))

    run.together(work)


def taken(session: ServerClient, contract: Contract, path: Path) -> TrainedModel:
    digest = receive_model(session, contract, PlainModelFile(path).writing)
    model = TrainedModel.read(path)
    assert model.digest == digest
    return model


def test_a_recipient_gets_the_model_that_the_outcome_names(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract(epochs=2)
    run = make_run(contract)
    trained(run)
    model = taken(run.session(0), contract, tmp_path / "model.coterie")
    assert model.steps == run.state.step == 4
    assert model.dense.tobytes() == run.state.dense.tobytes()
    rows = run.state.table.trained_rows()
    assert model.row_ids.tobytes() == rows.tobytes()
    assert model.row_values.tobytes() == run.state.table.values_of(rows).tobytes()
    for worker in range(2):
        run.session(worker).leave()
    assert run.outcome().model_digest == model.digest


def test_nobody_gets_a_model_before_the_outcome_is_made(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    assert [part.pending for part in run.port("w0").download(REQUEST)] == [True]
    run.train_all()
    assert [part.pending for part in run.port("w0").download(REQUEST)] == [True], "not reported"


def test_the_server_is_not_held_up_by_a_node_that_does_not_read_on(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    waiting = run.port("w0").download(REQUEST)
    assert next(waiting).pending
    trained(run)  # by other threads, while the first stream is open still
    taking = run.port("w0").download(REQUEST)
    assert next(taking).WhichOneof("part") == "header"
    with ThreadPoolExecutor(1) as other:
        assert other.submit(lambda: list(taking)).result(timeout=30)
        assert other.submit(lambda: list(waiting)).result(timeout=30) == []


def named(contract: Contract, *parties: str) -> Contract:
    return contract.model_copy(update={"results": ResultsSection(model_parties=parties)})


@pytest.mark.parametrize(
    ("mode", "node", "expected"),
    [
        ("hfl", "w1", "a call by w0"),
        ("sdt", "w1", "a call by w0"),
        ("sdt", "chief", "a call by w0"),
    ],
)
def test_a_node_that_is_not_named_is_refused_the_model(
    make_contract: MakeContract, make_run: MakeRun, mode: str, node: str, expected: str
) -> None:
    run = make_run(named(make_contract(mode), "p0"))
    with pytest.raises(CallRefused, match="does not get the trained model") as refused:
        next(run.port(node).download(REQUEST))
    assert (refused.value.expected, refused.value.seen) == (expected, node)


def test_a_replaced_process_is_refused_the_model(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    run.port("w0", incarnation=2).join(pb.JoinRequest(train_examples=8, data_set_digest=bytes(32)))
    with pytest.raises(StepRefused, match="was replaced by a newer incarnation"):
        next(run.port("w0", incarnation=1).download(REQUEST))


def test_a_server_that_restarts_after_the_outcome_still_gives_the_model(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract()
    first = make_run(contract, checkpoints=store(tmp_path / "ps0", contract))
    trained(first)
    digest = first.digest
    first.stop()

    second = Restarted(contract, tmp_path / "ps0")
    model = taken(second.session(0), contract, tmp_path / "model.coterie")
    assert model.digest == digest
    assert second.leave_all().model_digest == digest


def test_a_server_that_restarts_when_all_recipients_have_left_restores_nothing(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = named(make_contract(), "p0")
    first = make_run(contract, checkpoints=store(tmp_path / "ps0", contract))
    trained(first)
    first.session(0).leave()
    first.stop()
    second = Restarted(contract, tmp_path / "ps0")
    second.session(1).leave()
    assert second.driver.result(timeout=30) is not None
    assert second.core.final is None


def test_a_model_whose_checkpoint_is_lost_is_not_replaced_by_another(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract()
    first = make_run(contract, checkpoints=store(tmp_path / "ps0", contract))
    trained(first)
    first.stop()
    for path in (tmp_path / "ps0").glob("step-*"):
        path.unlink()
    with pytest.raises(CheckpointDamaged, match="is damaged or of another run") as refused:
        Restarted(contract, tmp_path / "ps0")
    assert refused.value.expected == "no note without a checkpoint"


def test_downloads_that_begin_anew_do_not_keep_the_server(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    """Only who gets further than it ever was is waited for; the outcome is told before that."""
    contract = make_contract(limits={"step_seconds": 10.0})
    run = make_run(contract)
    trained(run)
    run.session(1).leave()
    port = run.port("w0")
    for _ in range(2):
        assert not run.over
        assert len(list(port.download(REQUEST))) == 2
        run.pass_time(9.0)
    assert run.outcome().model_digest == run.digest
    assert [e.node for e in run.heard if isinstance(e, events.LeftOut)] == ["w0"]


def test_the_outcome_is_told_before_anybody_has_left(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    trained(run)
    told = run.told.get(timeout=30)
    assert not run.over, "nobody has left"
    assert told.model_digest == run.digest
    for worker in range(2):
        run.session(worker).leave()
    assert run.outcome().end == told.end


def test_a_process_that_has_left_is_refused_the_model(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    run = make_run(make_contract())
    trained(run)
    run.session(0).leave()
    with pytest.raises(CallRefused, match="w0 has left, and asks for the trained model") as refused:
        next(run.port("w0").download(REQUEST))
    assert refused.value.seen == "a call by incarnation 1, which has left"
    newer = run.port("w0", incarnation=2).download(REQUEST)
    assert next(newer).WhichOneof("part") == "header", "it may have lost what the older one had"


class Restarted:
    """A server that comes back after the outcome: there is no run any more, only its end."""

    def __init__(self, contract: Contract, folder: Path) -> None:
        self._contract = contract
        driver = Driver(
            contract,
            "ps0",
            incarnation=2,
            monotonic=Clock(),
            on_event=lambda _: None,
            checkpoints=store(folder, contract),
            poll_seconds=POLL_SECONDS,
        )
        self.core = driver.core
        self._service = ParameterService(driver)
        pool = ThreadPoolExecutor(1)
        self.driver: Future[RunOutcome | None] = pool.submit(self._service.drive)
        pool.shutdown(wait=False)

    def session(self, worker: int) -> ServerClient:
        caller = Caller(f"w{worker}", "worker", incarnation=2)
        return ServerClient(
            lambda _: ParameterServerPort(InProcess(self._service, caller)),
            self._contract,
            train_examples=8,
            data_set_digest=bytes(32),
        )

    def leave_all(self) -> RunOutcome:
        for worker in range(2):
            self.session(worker).leave()
        outcome = self.driver.result(timeout=30)
        assert outcome is not None
        return outcome


# --- several shards ----------------------------------------------------------------------------


def trained_cluster(cluster: Cluster) -> None:
    """Everybody trains and reports; nobody leaves."""

    def work(worker: int) -> None:
        session = cluster.session(worker)
        session.through_restarts(
            lambda position: train(cluster.contract, session, position, worker)
        )
        session.through_restarts(
            lambda position: () if position.finished else session.report(counts_of(worker))
        )

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(work, worker) for worker in range(3)]:
            future.result(timeout=60)
    cluster.wait_concluded()


def leave_all(cluster: Cluster) -> RunOutcome:
    for worker in range(3):
        cluster.session(worker).leave()
    return cluster.outcome()


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_one_model_comes_from_any_number_of_shards(shards: int, tmp_path: Path) -> None:
    contract = contract_of(shards)
    cluster = Cluster(contract, None)
    try:
        trained_cluster(cluster)
        model = taken(cluster.session(1), contract, tmp_path / "model.coterie")
        assert leave_all(cluster).model_digest == model.digest
        assert np.all(model.row_ids[1:] > model.row_ids[:-1])
    finally:
        cluster.close()


@pytest.mark.parametrize("killed", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_shards_that_restart_after_the_outcome_give_the_model_all_the_same(
    killed: tuple[int, ...], tmp_path: Path
) -> None:
    contract = contract_of(3)
    cluster = Cluster(contract, tmp_path)
    try:
        trained_cluster(cluster)
        for shard in killed:
            cluster.kill(cluster.names[shard])
        for shard in killed:
            cluster.start(cluster.names[shard])
        model = taken(cluster.session(1), contract, tmp_path / "model.coterie")
        assert leave_all(cluster).model_digest == model.digest
    finally:
        cluster.close()
