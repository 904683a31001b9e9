"""Whole small runs in memory with the real model: deterministic, restartable, and learning."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from coterie.contract import Contract, contract_digest, parse_contract
from coterie.criteo.dataset import DataSet, open_dataset
from coterie.criteo.preparation import prepare
from coterie.criteo.synthetic import synthesize
from coterie.errors import DataSetMismatch, PeerUnreachable, ShardDamaged
from coterie.nodes.run import run_alone, run_in_process
from coterie.ps import events
from coterie.ps.checkpoint import CheckpointStore
from coterie.ps.memory import MemoryParameterServer
from coterie.ps.ports import Caller
from coterie.ps.service import ParameterService
from coterie.training.evaluation import evaluate
from coterie.training.session import ServerSession
from coterie.training.step import WorkerStep
from coterie.training.worker import train

ROWS = 420  # 360 to train on
SMALL = """
[data]
rows = 40
[model]
embedding_dim = 4
bottom = [8, 4]
top = [8, 1]
[training]
batch = 16
seed = 3
checkpoint_steps = 4
[training.dense]
kind = "adagrad"
learning_rate = 0.05
[training.rows]
kind = "rowwise_adagrad"
learning_rate = 0.05
[limits]
join_seconds = 60
evaluation_minimum = 1
"""


def contract(mode: str) -> Contract:
    """Two workers: each of a company of its own (hfl), or rented by the one with the chief (sdt)."""
    chief = [("chief", "chief", "acme")] if mode == "sdt" else []
    nodes = [("ps0", "ps", "acme"), ("w0", "worker", "acme"), ("w1", "worker", "bolt"), *chief]
    lines = ["format = 1", 'name = "small"', f'mode = "{mode}"']
    lines += [f'[[parties]]\nname = "{party}"' for party in ("acme", "bolt")]
    lines += [
        f'[[nodes]]\nname = "{name}"\nrole = "{role}"\nparty = "{party}"'
        for name, role, party in nodes
    ]
    lines += [SMALL, '[trust]\ntee = "simulated"']
    for role in sorted({role for _, role, _ in nodes}):
        lines += [
            f'[trust.roles.{role}]\nmeasurement = "own"\naccepted_tcb_statuses = ["UpToDate"]'
        ]
    return parse_contract("\n".join(lines).encode(), "small")


HFL, SDT = contract("hfl"), contract("sdt")


@dataclass(frozen=True)
class Prepared:
    """Where the two contracts' data sets lie."""

    hfl: Path
    sdt: Path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("data")
    synthesize(folder / "raw.tsv", rows=ROWS, seed=1)
    prepare(folder / "raw.tsv", folder / "hfl", HFL)
    prepare(folder / "raw.tsv", folder / "sdt", SDT)
    return Prepared(folder / "hfl", folder / "sdt")


def quiet(_event: events.Event) -> None:
    pass


def test_a_federated_run_learns_and_says_so(data: Prepared) -> None:
    contract = HFL.model_copy(update={"training": HFL.training.model_copy(update={"epochs": 4})})
    heard: list[events.Event] = []
    result = run_in_process(contract, data.hfl, heard.append)
    assert (result.mode, result.transport, result.tee) == ("hfl", "memory", "none")
    assert (result.nodes, result.steps, result.examples) == (3, 48, 4 * 360)
    assert result.contract_digest == contract_digest(contract).hex()
    assert result.test_auc is not None
    assert 0 < result.test_auc < 1
    steps = [event for event in heard if isinstance(event, events.StepDone)]
    first, last = (
        sum(step.loss * step.examples for step in part) for part in (steps[:12], steps[36:])
    )
    assert last < first
    assert result.train_loss == pytest.approx(last / 360)


def test_an_sdt_run_deals_all_rows_and_gives_one_model_however_often_it_runs(
    data: Prepared,
) -> None:
    heard: list[events.Event] = []
    first = run_in_process(SDT, data.sdt, heard.append)
    second = run_in_process(SDT, data.sdt, quiet)
    delivered = [event for event in heard if isinstance(event, events.ShardDelivered)]
    assert delivered == [events.ShardDelivered("w0", 180), events.ShardDelivered("w1", 180)]
    assert (first.nodes, first.steps, first.examples) == (4, 12, 360)
    assert first.model_digest == second.model_digest
    assert first.test_auc == second.test_auc
    assert first.train_loss == second.train_loss


def test_a_company_alone_is_evaluated_on_everybodys_rows(data: Prepared) -> None:
    alone = run_alone(HFL, HFL.by_role("worker")[0], data.hfl, quiet)
    assert (alone.nodes, alone.examples) == (2, 180)
    assert alone.test_logloss is not None


@pytest.mark.parametrize("damage", ["w1's shard", "other contract"])
def test_a_node_without_usable_data_ends_the_run_with_its_error(
    data: Prepared, damage: str, tmp_path: Path
) -> None:
    if damage == "other contract":
        section = HFL.data.model_copy(update={"hash_seed": 1})
        other = HFL.model_copy(update={"data": section})
        with pytest.raises(DataSetMismatch):
            run_in_process(other, data.hfl, quiet)
        return
    (tmp_path / "acme").symlink_to(data.hfl / "acme")
    (tmp_path / "bolt").mkdir()
    for file in (data.hfl / "bolt").iterdir():
        cut = file.suffix == ".shard"
        (tmp_path / "bolt" / file.name).write_bytes(file.read_bytes()[: -1 if cut else None])
    with pytest.raises(ShardDamaged, match="bolt"):
        run_in_process(HFL, tmp_path, quiet)


# --- a server that is killed and started again -------------------------------------------------


class Host:
    """Runs one parameter server after the other; each is killed after so many steps."""

    def __init__(self, directory: Path, kill_after: tuple[int, ...]) -> None:
        self._directory = directory
        self._kills = iter(kill_after)
        self._started = threading.Condition()
        self._incarnation = 0
        self.resumed: list[int] = []
        self.service = self._start()

    def port(self, worker: str, dead: ParameterService | None) -> MemoryParameterServer:
        """Dials the server; not the one that is known to be dead."""
        with self._started:
            self._started.wait_for(lambda: self.service is not dead, timeout=30)
            return MemoryParameterServer(self.service, Caller(worker, "worker", 1))

    def _start(self) -> ParameterService:
        self._incarnation += 1
        kill_at = next(self._kills, None)
        killed: list[ParameterService] = []

        def hear(event: events.Event) -> None:
            if isinstance(event, events.Resumed):
                self.resumed.append(event.step)
            if isinstance(event, events.StepDone) and event.step == kill_at and not killed:
                killed.append(self.service)
                self.service.fail(PeerUnreachable("the server was killed"))
                with self._started:
                    self.service = self._start()
                    self._started.notify_all()

        return ParameterService(
            HFL,
            incarnation=self._incarnation,
            monotonic=lambda: 0.0,
            on_event=hear,
            checkpoints=CheckpointStore(self._directory, contract_digest(HFL)),
            poll_seconds=0.05,
        )


def dialler(host: Host, worker: str) -> Callable[[], MemoryParameterServer]:
    last: list[ParameterService] = []

    def connect() -> MemoryParameterServer:
        port = host.port(worker, last[-1] if last else None)
        last.append(host.service)
        return port

    return connect


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., Host]:
    return partial(Host, tmp_path)


@pytest.mark.parametrize("kills", [(6,), (3, 5, 11), (12,)], ids=str)
def test_workers_go_on_to_the_very_same_model_when_the_server_is_killed(
    data: Prepared, host: Callable[..., Host], kills: tuple[int, ...]
) -> None:
    undisturbed = run_in_process(HFL, data.hfl, quiet)
    server = host(kill_after=kills)

    def work(worker: str, data_set: DataSet) -> None:
        worker_step = WorkerStep(HFL.model, HFL.data, HFL.training.batch, HFL.training.threads)
        session = ServerSession(
            dialler(server, worker),
            dim=HFL.model.embedding_dim,
            batch=HFL.training.batch,
            train_examples=data_set.train.rows,
            data_set_digest=bytes.fromhex(data_set.manifest.train.sha256),
        )
        train(session, data_set.train, worker_step)
        evaluate(session, data_set, worker_step)

    with ThreadPoolExecutor(2) as pool:
        workers = [
            pool.submit(
                work, node.name, open_dataset(data.hfl / node.party, HFL.data, party=node.party)
            )
            for node in HFL.by_role("worker")
        ]
        for done in workers:
            done.result()
    outcome = server.service.wait_finished()
    assert outcome.model_digest.hex() == undisturbed.model_digest
    assert outcome.train_loss == undisturbed.train_loss
    assert server.resumed == [kill // 4 * 4 for kill in kills if kill >= 4]
