"""With error feedback, nobody goes on without what a worker's pushes have left away."""

from __future__ import annotations

from pathlib import Path

import pytest

from coterie.contract import contract_digest
from coterie.errors import StepRefused
from coterie.runs import events
from tests.ps.calls import MakeContract, MakeRun, join_request
from tests.ps.conftest import Run, counts_of, store, train_worker
from tests.ps.test_end_of_training import QueueingDisk

EXAMPLES = (24, 24)  # six steps
NEW = 2  # incarnation of the process that replaces a worker's first one


def went_back(run: Run) -> list[int]:
    return [event.step for event in run.heard if isinstance(event, events.Restarted)]


def finish(run: Run, replaced: int) -> bytes:
    """Trains to the end; one worker's process is a new one, and the others are at its side again."""

    def work(worker: int) -> None:
        incarnation = NEW if worker == replaced else 1
        session = run.session(worker, lambda: run.port(f"w{worker}", incarnation))
        train_worker(worker, session)
        session.report(counts_of(worker))
        session.leave()

    run.together(work)
    return run.outcome().model_digest


def joins_anew(run: Run, worker: str) -> None:
    run.port(worker, NEW).join(join_request(EXAMPLES[0]))


@pytest.mark.parametrize(
    "training", [{"exchange": "int8"}, {"exchange": "top-k", "exchange_share": 0.1}]
)
def test_a_new_process_of_a_worker_takes_the_run_back_to_where_nobody_kept_anything(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path, training: dict[str, object]
) -> None:
    contract = make_contract(checkpoint_steps=2, **training)
    undisturbed = make_run(contract, EXAMPLES).finish().model_digest
    run = make_run(contract, EXAMPLES, store(tmp_path, contract))
    run.train_all(until=3)
    run.driver.checkpoints.flush()
    joins_anew(run, "w1")
    assert finish(run, replaced=1) == undisturbed
    assert went_back(run) == [2]


@pytest.mark.parametrize(
    ("training", "until"),
    [
        ({"exchange": "bfloat16"}, 3),
        ({"exchange": "float32"}, 3),
        ({"exchange": "int8"}, 2),
        ({"exchange": "int8"}, 4),
        ({"exchange": "int8"}, 6),
    ],
    ids=str,
)
def test_it_does_not_where_there_is_nothing_to_lose(
    make_contract: MakeContract, make_run: MakeRun, training: dict[str, object], until: int
) -> None:
    contract = make_contract(checkpoint_steps=2, **training)
    undisturbed = make_run(contract, EXAMPLES).finish().model_digest
    run = make_run(contract, EXAMPLES)
    run.train_all(until=until)
    joins_anew(run, "w1")
    assert went_back(run) == []
    assert finish(run, replaced=1) == undisturbed


def test_it_does_if_the_open_step_has_a_push_of_the_process_before(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    """The step could be applied before the new process has made the push itself."""
    contract = make_contract(checkpoint_steps=2, exchange="int8")
    run = make_run(contract, EXAMPLES)
    run.join_all()
    with run.driver.changed:
        run.life.running()[1]._staged[1] = run.life.running()[1]  # type: ignore[assignment]
    joins_anew(run, "w1")
    run.heard.wait(events.Restarted)


def test_an_older_process_takes_nothing_back(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    contract = make_contract(checkpoint_steps=2, exchange="int8")
    run = make_run(contract, EXAMPLES)
    run.train_all(until=3)
    joins_anew(run, "w1")
    run.heard.wait(events.Restarted)
    joins_anew(run, "w1")
    with pytest.raises(StepRefused, match="replaced by a newer"):
        run.port("w1").join(join_request(EXAMPLES[1]))
    assert went_back(run) == [0]


def test_with_a_quorum_a_party_that_restarts_its_worker_holds_up_nobody(
    make_contract: MakeContract, make_run: MakeRun
) -> None:
    limits = {"quorum": 2, "grace_seconds": 10.0, "evaluation_minimum": 1}
    contract = make_contract(workers=3, checkpoint_steps=4, exchange="int8", limits=limits)
    run = make_run(contract, (24, 24, 24))
    run.train_all(until=3)
    joins_anew(run, "w1")
    assert went_back(run) == []
    assert run.state.step == 3


@pytest.mark.parametrize(("exchange", "written"), [("float32", [5, 6]), ("int8", [6])])
def test_a_checkpoint_that_waits_for_the_disk_is_made_where_nobody_keeps_anything(
    make_contract: MakeContract,
    make_run: MakeRun,
    tmp_path: Path,
    exchange: str,
    written: list[int],
) -> None:
    contract = make_contract(checkpoint_steps=2, exchange=exchange)
    run = make_run(
        contract,
        (32, 32),
        lambda durable, failure: QueueingDisk(
            tmp_path, contract_digest(contract), on_durable=durable, on_failure=failure
        ),
    )
    sessions = [run.session(worker) for worker in range(2)]
    disk = run.driver.checkpoints
    assert isinstance(disk, QueueingDisk)
    begun = []
    for until in range(1, 7):

        def train(worker: int, until: int = until) -> None:
            train_worker(worker, sessions[worker], until)

        run.together(train)
        begun += [(until, snapshot.step) for snapshot, _ in disk.held]
        if until >= 4:  # so long is the one of step 2 on its way
            disk.let_all()
    assert begun == [(2, 2), (3, 2), (4, 2), *((step, step) for step in written)]
