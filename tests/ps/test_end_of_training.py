"""Nobody hears of the last step before it is durable: who has heard leaves, and repeats nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coterie.contract import Contract, contract_digest
from coterie.errors import CoterieError
from coterie.ps.checkpoints.records import DurableCheckpoint, RunRecord
from coterie.ps.checkpoints.store import CheckpointStore
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.state import Snapshot
from coterie.ps.driver import CheckpointsMaker
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs import events
from tests.ps.calls import MakeContract, MakeGradients, MakeRun, exchange
from tests.ps.conftest import Run, store

STEPS = 2


class SlowDisk(CheckpointStore):
    """Writes nothing before it is let."""

    _held: tuple[Snapshot, RunRecord] | None = None

    def save(self, snapshot: Snapshot, record: RunRecord) -> None:
        """See Checkpoints."""
        self._held = snapshot, record

    def let(self) -> None:
        """Writes what was held back."""
        assert self._held is not None
        super().save(*self._held)
        self.flush()


def slow(directory: Path, contract: Contract) -> CheckpointsMaker:
    def make(
        durable: Callable[[DurableCheckpoint], None], failure: Callable[[CoterieError], None]
    ) -> SlowDisk:
        return SlowDisk(
            directory, contract_digest(contract), on_durable=durable, on_failure=failure
        )

    return make


def disk(run: Run) -> SlowDisk:
    found = run.driver.checkpoints
    assert isinstance(found, SlowDisk)
    return found


def push_all(run: Run, step: int, gradients: MakeGradients) -> list[bool]:
    """Both workers push a step; whether each must ask again."""
    pushes: list[Gradients] = [gradients(worker, step, 4) for worker in range(2)]
    for worker, push in enumerate(pushes):
        run.port(f"w{worker}").exchange(exchange(push, step))
    return [
        run.port(f"w{worker}").exchange(exchange(push, step)).pending
        for worker, push in enumerate(pushes)
    ]


def test_the_last_steps_reply_waits_until_the_step_is_durable(
    make_contract: MakeContract,
    make_run: MakeRun,
    make_gradients: MakeGradients,
    tmp_path: Path,
) -> None:
    contract = make_contract()
    run = make_run(contract, checkpoints=slow(tmp_path, contract))
    run.join_all()

    assert push_all(run, 0, make_gradients) == [False, False], "other steps do not wait"
    assert push_all(run, 1, make_gradients) == [True, True]
    status = run.port("w0").status(pb.StatusRequest())
    assert (status.step, status.steps) == (STEPS, STEPS)
    assert not run.session(0).training_ended(), "applied is not yet ended"

    disk(run).let()

    assert not run.port("w0").exchange(exchange(None, STEPS)).pending
    assert run.session(0).training_ended()


def test_a_server_that_keeps_nothing_answers_at_once(
    make_contract: MakeContract, make_run: MakeRun, make_gradients: MakeGradients
) -> None:
    run = make_run(make_contract())
    run.join_all()
    assert push_all(run, 0, make_gradients) == [False, False]
    assert push_all(run, 1, make_gradients) == [False, False]


def test_a_server_killed_before_the_end_is_durable_trains_the_end_again(
    make_contract: MakeContract,
    make_run: MakeRun,
    make_gradients: MakeGradients,
    tmp_path: Path,
) -> None:
    contract = make_contract()
    undisturbed = make_run(contract).finish()
    first = make_run(contract, checkpoints=slow(tmp_path, contract))
    first.join_all()
    push_all(first, 0, make_gradients)
    push_all(first, 1, make_gradients)
    first.stop()

    second = make_run(contract, checkpoints=store(tmp_path, contract), incarnation=2)

    assert second.state.step == 0, "nothing was durable, and nobody had been told otherwise"
    assert second.finish().model_digest == undisturbed.model_digest


def test_a_worker_that_comes_after_the_end_finds_that_out_and_may_leave(
    make_contract: MakeContract, make_run: MakeRun, tmp_path: Path
) -> None:
    contract = make_contract()
    run = make_run(contract, checkpoints=store(tmp_path, contract))
    run.train_all()
    late = run.session(1, lambda: run.port("w1", incarnation=2))
    assert late.training_ended()
    late.leave()
    assert run.core.membership.remaining == ("w0",)


class QueueingDisk(CheckpointStore):
    """A disk on which nothing arrives before the test lets it."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.held: list[tuple[Snapshot, RunRecord]] = []

    @property
    def writing(self) -> bool:
        """See Checkpoints."""
        return bool(self.held) or super().writing

    def save(self, snapshot: Snapshot, record: RunRecord) -> None:
        """See Checkpoints."""
        self.held.append((snapshot, record))

    def let_all(self) -> None:
        """Writes what was held back, in order."""
        while self.held:
            super().save(*self.held.pop(0))
            self.flush()


def test_what_is_not_announced_when_the_next_checkpoint_begins_is_never_announced(
    make_contract: MakeContract,
    make_run: MakeRun,
    make_gradients: MakeGradients,
    tmp_path: Path,
) -> None:
    """Each checkpoint holds those that were announced before it: none may be added behind its back."""
    contract = make_contract(checkpoint_steps=1)
    run = make_run(
        contract,
        checkpoints=lambda durable, failure: QueueingDisk(
            tmp_path, contract_digest(contract), on_durable=durable, on_failure=failure
        ),
    )
    run.join_all()
    for step in range(STEPS):
        push_all(run, step, make_gradients)
    checkpoints = run.driver.checkpoints
    assert isinstance(checkpoints, QueueingDisk)
    assert len(checkpoints.held) == 2, "the last one is begun though the first one is on its way"

    checkpoints.let_all()

    told = [event.step for event in run.heard if isinstance(event, events.CheckpointWritten)]
    assert told == [STEPS]
    assert checkpoints.record(STEPS).passed == ()
