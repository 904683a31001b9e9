"""Runs in one process that leave a model with its optimizers' state, and runs that go on from one.

Gradients depend on worker and update, counted over all runs, and on every bit that is pulled: so a run
that is cut into two gives the same model only if nothing was lost between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coterie.contract import Contract, ResultsSection
from coterie.nodes.start_section import continued
from coterie.runs.outcome import RunOutcome
from coterie.trained.optimizer_state import STATE_NAME
from coterie.trained.trained_model import MODEL_NAME, PlainModelFile, TrainedModel
from coterie.training.client import ServerClient
from coterie.training.model_download import receive_model, receive_optimizer_state
from coterie.training.start_giver import StartFiles
from tests.ps.conftest import counts_of
from tests.ps.test_several_shards import EXAMPLES, Cluster, contract_of, train

STEPS = 6  # of an epoch


def contract(shards: int = 1, epochs: int = 1, **options: object) -> Contract:
    """Three workers, three tables of 300 rows; whoever gets the model gets the optimizers' state, too."""
    made = contract_of(shards, **{"batch": 3, **options})
    training = made.training.model_copy(update={"epochs": epochs})
    results = ResultsSection(optimizer_state=True)
    return made.model_copy(update={"training": training, "results": results})


def no_key(set_id: bytes) -> bytes:
    raise AssertionError(set_id)


class Starting(Cluster):
    """A cluster whose first worker gives what the run goes on from, and takes what comes out.

    Args:
        contract: Of the run.
        out: Gets the model and the optimizers' state.
        start: Folder of what it goes on from.
        checkpoints: Where the servers keep theirs.
    """

    def __init__(
        self,
        contract: Contract,
        out: Path,
        start: Path | None = None,
        checkpoints: Path | None = None,
    ) -> None:
        self.out = out
        self.files = StartFiles(contract, start, no_key) if start is not None else None
        super().__init__(contract, checkpoints)

    def session(self, worker: int, examples: int | None = None) -> ServerClient:
        gives = self.files is not None and worker == 0
        return ServerClient(
            lambda shard: self.port(shard, f"w{worker}", "worker"),
            self.contract,
            train_examples=EXAMPLES[worker] if examples is None else examples,
            data_set_digest=bytes(32),
            start=self.files.parts if self.files is not None and gives else None,
        )

    def _work(self, worker: int) -> None:
        session = self.session(worker)
        session.through_restarts(lambda position: train(self.contract, session, position, worker))
        session.through_restarts(
            lambda position: () if position.finished else session.report(counts_of(worker))
        )
        if worker == 0:
            self.take(session)
        session.leave()
        session.close()

    def wait_restored(self) -> None:
        """Waits until every shard has a life, from which it may be read."""
        for service in self._services.values():
            driver = service.driver
            with driver.changed:
                assert driver.changed.wait_for(
                    lambda core=driver.core: core.run is not None,  # type: ignore[misc]
                    timeout=30,
                )

    def take(self, session: ServerClient) -> None:
        """Downloads what comes out."""
        keeper = PlainModelFile(self.out / MODEL_NAME)
        model = receive_model(session, self.contract, keeper.writing)
        if self.contract.gives_optimizer_state:
            keeper = PlainModelFile(self.out / STATE_NAME)
            receive_optimizer_state(session, self.contract, keeper.writing, model)


@contextmanager
def starting(
    contract: Contract, out: Path, start: Path | None = None, checkpoints: Path | None = None
) -> Iterator[Starting]:
    cluster = Starting(contract, out, start, checkpoints)
    try:
        yield cluster
    finally:
        cluster.close()


def ran(contract: Contract, out: Path, start: Path | None = None) -> RunOutcome:
    """A whole run; ``out`` gets what comes out."""
    with starting(contract, out, start) as cluster:
        outcome = cluster.finish()
    assert TrainedModel.read(out / MODEL_NAME).digest == outcome.model_digest
    return outcome


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """What a run of one epoch left: adam and row-wise Adagrad, one shard."""
    ran(contract(), tmp_path / "before")
    return tmp_path / "before"


@pytest.fixture
def going_on(before: Path) -> Contract:
    """A contract that goes on from there for one more epoch."""
    return continued(contract(), before)
