"""Whole small runs in memory with the real model: deterministic, restartable, and learning."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from coterie.contract import Contract, contract_digest, parse_contract
from coterie.data.dataset import DataSet, open_dataset
from coterie.data.prepare.preparation import prepare
from coterie.data.prepare.synthetic import synthesize
from coterie.errors import CoterieError, DataSetDamaged, DataSetMismatch, PeerUnreachable
from coterie.nodes.launch import run_in_process
from coterie.ps.caller import Caller
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.checkpoints.store import CheckpointStore
from coterie.ps.core.aggregation import Gradients
from coterie.ps.driver import Driver
from coterie.ps.in_process import InProcess
from coterie.ps.methods import Unary
from coterie.ps.ports import ParameterServerPort
from coterie.ps.service import ParameterService
from coterie.ps.wire.codecs import Reply, Request
from coterie.runs import events
from coterie.runs.outcome import RunOutcome
from coterie.training.client import ServerClient
from coterie.training.evaluation import evaluate
from coterie.training.step import WorkerStep
from coterie.training.worker import Trainer

pytestmark = pytest.mark.tensorflow


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


LOCAL = SMALL.replace("batch = 16\n", "batch = 4\nlocal_steps = 4\n").replace(
    SMALL[SMALL.index("[training.dense]") : SMALL.index("[limits]")],
    """
[training.local]
dense = { kind = "factored_adagrad", learning_rate = 0.01 }
rows = { kind = "adagrad", learning_rate = 0.05 }
row_merge = "adagrad"
proximal = 0.01
[training.dense]
kind = "nesterov"
learning_rate = 0.5
[training.rows]
kind = "sgd"
learning_rate = 1.0
""",
)


def contract(mode: str, small: str = SMALL) -> Contract:
    """Two workers: each of a company of its own (hfl), or rented by the one with the chief (sdt)."""
    chief = [("chief", "chief", "acme")] if mode == "sdt" else []
    nodes = [("ps0", "ps", "acme"), ("w0", "worker", "acme"), ("w1", "worker", "bolt"), *chief]
    lines = ["format = 1", 'name = "small"', f'mode = "{mode}"']
    lines += [f'[[parties]]\nname = "{party}"' for party in ("acme", "bolt")]
    lines += [
        f'[[nodes]]\nname = "{name}"\nrole = "{role}"\nparty = "{party}"'
        for name, role, party in nodes
    ]
    lines += [small, '[trust]\ntee = "simulated"']
    for role in sorted({role for _, role, _ in nodes}):
        lines += [
            f'[trust.roles.{role}]\nmeasurement = "own"\naccepted_tcb_statuses = ["UpToDate"]'
        ]
    return parse_contract("\n".join(lines).encode(), "small")


HFL, SDT = contract("hfl"), contract("sdt")
INT8 = SMALL.replace("seed = 3\n", 'seed = 3\nexchange = "int8"\n')
TOP = SMALL.replace("seed = 3\n", 'seed = 3\nexchange = "top-k"\nexchange_share = 0.1\n')
LOCAL_TOP = LOCAL.replace("seed = 3\n", 'seed = 3\nexchange = "top-k"\nexchange_share = 0.1\n')
FEDERATED = {
    "gradients": HFL,
    "local optimizers": contract("hfl", LOCAL),
    "int8": contract("hfl", INT8),
    "top-k": contract("hfl", TOP),
    "local optimizers, top-k": contract("hfl", LOCAL_TOP),
}
FIRST_CHECKPOINT = HFL.training.checkpoint_steps


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
        sum((step.loss or 0) * step.over_examples for step in part)
        for part in (steps[:12], steps[36:])
    )
    assert last < first
    assert result.train_loss == pytest.approx(last / 360)


def test_an_sdt_run_deals_all_rows_and_gives_one_model_however_often_it_runs(
    data: Prepared,
) -> None:
    heard: list[events.Event] = []
    first = run_in_process(SDT, data.sdt, heard.append)
    second = run_in_process(SDT, data.sdt, quiet)
    delivered = [event for event in heard if isinstance(event, events.ExamplesDelivered)]
    assert set(delivered) == {
        events.ExamplesDelivered("w0", 180),
        events.ExamplesDelivered("w1", 180),
    }
    assert len(delivered) == 2
    assert (first.nodes, first.steps, first.examples) == (4, 12, 360)
    assert first.model_digest == second.model_digest
    assert first.test_auc == second.test_auc
    assert first.train_loss == second.train_loss


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
    with pytest.raises(DataSetDamaged, match="bolt"):
        run_in_process(HFL, tmp_path, quiet)


# --- a server that is killed and started again -------------------------------------------------


class Patient(InProcess):
    """A transport that goes on with the first checkpoint only when it is announced, however slow the disk is."""

    def __init__(self, host: Host, service: ParameterService, caller: Caller) -> None:
        super().__init__(service, caller)
        self._host = host
        self.server = service

    def unary(self, method: Unary[Request, Reply], request: Request) -> Reply:
        """See Transport."""
        if method.path == ParameterServerPort.exchange.path and not self._host.announced:
            self.server.driver.checkpoints.flush()
        return super().unary(method, request)


class Host:
    """Runs one parameter server after the other; each is killed after so many steps."""

    def __init__(self, directory: Path, contract: Contract, kill_after: tuple[int, ...]) -> None:
        self._directory = directory
        self._contract = contract
        self._kills = kill_after
        self._changed = threading.Condition()
        self._step = 0
        self.resumed: list[int] = []
        self.restarted: list[int] = []
        self.announced: list[int] = []
        self.service: ParameterService | None = None

    def port(self, worker: str, incarnation: int) -> Patient:
        """Dials the server, as soon as one is alive."""
        with self._changed:
            self._changed.wait_for(lambda: self.service is not None, timeout=30)
            assert self.service is not None
            return Patient(self, self.service, Caller(worker, "worker", incarnation))

    def run(self) -> RunOutcome:
        """Serves through all kills; the last server's outcome."""
        with ThreadPoolExecutor(1) as pool:
            for incarnation, kill_at in enumerate((*self._kills, None), start=1):
                service = ParameterService(
                    Driver(
                        self._contract,
                        "ps0",
                        incarnation=incarnation,
                        monotonic=time.monotonic,
                        on_event=self._hear,
                        checkpoints=self._store,
                        poll_seconds=0.05,
                    )
                )
                with self._changed:
                    self._step = 0
                    self.service = service
                    self._changed.notify_all()
                outcome = pool.submit(service.drive)
                if kill_at is None:
                    result = outcome.result()
                    assert result is not None
                    return result
                with self._changed:
                    self._changed.wait_for(
                        lambda kill_at=kill_at: (  # type: ignore[misc]
                            self._step >= kill_at and (kill_at < FIRST_CHECKPOINT or self.announced)
                        ),
                        timeout=60,
                    )
                    self.service = None
                service.fail(PeerUnreachable("the server was killed"))
                with pytest.raises(PeerUnreachable):
                    outcome.result()
        raise AssertionError

    def _store(
        self,
        on_durable: Callable[[DurableCheckpoint], None],
        on_failure: Callable[[CoterieError], None],
    ) -> CheckpointStore:
        return CheckpointStore(
            self._directory,
            contract_digest(self._contract),
            on_durable=on_durable,
            on_failure=on_failure,
        )

    def _hear(self, event: events.Event) -> None:
        with self._changed:
            if isinstance(event, events.Resumed):
                self.resumed.append(event.step)
            if isinstance(event, events.Restarted):
                self.restarted.append(event.step)
            if isinstance(event, events.CheckpointWritten):
                self.announced.append(event.step)
            if isinstance(event, events.StepDone):
                self._step = event.step
            self._changed.notify_all()


def dialler(host: Host, worker: str, incarnation: int = 1) -> Callable[[int], ParameterServerPort]:
    return lambda _shard: ParameterServerPort(host.port(worker, incarnation))


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., Host]:
    return partial(Host, tmp_path)


@pytest.mark.parametrize("pushed", FEDERATED)
@pytest.mark.parametrize("kills", [(6,), (3, 5, 11), (12,)], ids=str)
def test_workers_go_on_to_the_very_same_model_when_the_server_is_killed(
    data: Prepared, host: Callable[..., Host], kills: tuple[int, ...], pushed: str
) -> None:
    agreed = FEDERATED[pushed]
    undisturbed = run_in_process(agreed, data.hfl, quiet)
    server = host(contract=agreed, kill_after=kills)

    outcome = trained(server, agreed, data)
    assert outcome.model_digest.hex() == undisturbed.model_digest
    assert outcome.train_loss == undisturbed.train_loss
    # A server may get further than the step after which it is killed.
    assert len(kills) >= len(server.resumed) >= sum(kill >= FIRST_CHECKPOINT for kill in kills)
    assert set(server.resumed) <= set(server.announced)


@pytest.mark.parametrize("pushed", FEDERATED)
@pytest.mark.parametrize("kill", [1, 3, 4, 6, 11])
def test_a_worker_that_is_killed_and_started_again_changes_no_bit_of_the_model(
    data: Prepared, host: Callable[..., Host], kill: int, pushed: str
) -> None:
    agreed = FEDERATED[pushed]
    undisturbed = run_in_process(agreed, data.hfl, quiet)
    server = host(contract=agreed, kill_after=())
    outcome = trained(server, agreed, data, killed=("w1", kill))
    assert outcome.model_digest.hex() == undisturbed.model_digest
    # What its first process kept back is lost: all go back to where nobody kept anything back.
    lost = agreed.training.error_feedback and kill % FIRST_CHECKPOINT
    assert len(server.restarted) == bool(lost)


class KilledError(Exception):
    """A worker's process ends without a word."""


def trained(
    server: Host, agreed: Contract, data: Prepared, killed: tuple[str, int] | None = None
) -> RunOutcome:
    """A run of two workers, one of which is perhaps killed after so many steps and started again."""
    training = agreed.training

    def work(worker: str, data_set: DataSet, incarnation: int, kill_after: int | None) -> None:
        def on_step(step: int, _steps: int, _pushed: Gradients) -> None:
            if step == kill_after:
                raise KilledError

        worker_step = WorkerStep(agreed.model, agreed.data, training.batch, training.threads)
        session = ServerClient(
            dialler(server, worker, incarnation),
            agreed,
            train_examples=data_set.train.rows,
            data_set_digest=bytes.fromhex(data_set.manifest.train.sha256),
        )
        place = [node.name for node in agreed.by_role("worker")].index(worker)
        Trainer(session, data_set.train, worker_step, agreed, worker=place, on_step=on_step).train()
        evaluate(session, data_set, worker_step)
        session.leave()

    def live(worker: str, data_set: DataSet) -> None:
        if killed is not None and killed[0] == worker:
            with pytest.raises(KilledError):
                work(worker, data_set, 1, killed[1])
            work(worker, data_set, 2, None)
        else:
            work(worker, data_set, 1, None)

    with ThreadPoolExecutor(3) as pool:
        served = pool.submit(server.run)
        workers = [
            pool.submit(
                live, node.name, open_dataset(data.hfl / node.party, HFL.data, party=node.party)
            )
            for node in HFL.by_role("worker")
        ]
        for done in workers:
            done.result()
        return served.result()
