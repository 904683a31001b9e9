"""Validations on shard 0, one after another: collects owners' counts and reports the results.

Only the result of a validation becomes durable, with the next checkpoint. A restarted node counts
again and gets the same. The validation that ends training is kept before any node is told of the
end.
"""

from __future__ import annotations

import json

from coterie.ps.core.evaluation import EvaluationTotals, SplitCounts
from coterie.ps.core.procedures import Steps
from coterie.ps.core.run import Run
from coterie.ps.core.shard import VALIDATIONS, ShardCore
from coterie.ps.core.validations import overfits
from coterie.runs import events
from coterie.runs.records import Validated

_SPLITS = ("validation",)


class Validator:
    """Takes owners' counts, and reports the results.

    Args:
        core: Shard 0.
    """

    def __init__(self, core: ShardCore) -> None:
        self._core = core
        self._owners = tuple(node.name for node in core.contract.data_owners())
        self._of: tuple[Run | None, int] = (None, 0)
        self._totals = EvaluationTotals(self._owners, core.disclosure, _SPLITS)
        self._losses: list[tuple[float | None, float | None]] = []
        self._said_overfitting = False

    def missing(self, run: Run) -> tuple[str, ...]:
        """The owners whose counts are missing in the due validation."""
        self._begin(run)
        absent = run.absent_workers()
        return tuple(owner for owner in self._totals.missing if owner not in absent)

    def report(self, run: Run, owner: str, step: int, counts: tuple[SplitCounts, ...]) -> None:
        """Takes an owner's counts; counts of a finished validation change nothing.

        Raises:
            MessageRefused: The node owns no data, or reports other splits.
            StepRefused: The counts are not of the present model.
        """
        self._begin(run)
        if run.validations.newest >= step:
            return
        run.check_validates(step)
        self._totals.add(owner, counts)
        run.progress_at = self._core.now
        self._core.notify()

    def conclude(self, run: Run) -> Steps[bool]:
        """Ends the due validation once all awaited owners have reported; returns whether it did."""
        self._begin(run)
        missing = self.missing(run)
        if missing and not self._excuses(run, missing):
            return False
        complete = not self._totals.missing or self._core.disclosure.exact
        found = self._totals.released().get("validation") if complete else None
        validated = Validated.of(run.step, found)
        stops = run.validations.stop_with(validated) and not run.steps_done
        if (stops or run.steps_done) and not (yield from self._kept(run, validated)):
            return False
        self._tell(run, validated)
        run.judge(validated)
        if stops:
            self._core.tell(events.StoppedEarly(run.step, run.validations.best_step))
        self._core.notify()
        return True

    def hear_end(self, run: Run, log_loss: float | None) -> None:
        """Holds the final evaluation against the validations before, where it is none of them.

        Args:
            run: It has ended.
            log_loss: On the validation rows; None where it may not be told.
        """
        if run.step not in {one.step for one in run.validations.done}:
            self._losses.append((run.loss_since_validation(), log_loss))
            self._warn(run.step)

    def _begin(self, run: Run) -> None:
        # Of an incarnation that was lost, the model after so many steps may have been another one: with a
        # quorum others may have taken part.
        if self._of != (run, run.step):
            self._of = (run, run.step)
            self._totals = EvaluationTotals(self._owners, self._core.disclosure, _SPLITS)

    def _excuses(self, run: Run, missing: tuple[str, ...]) -> bool:
        """Whether a quorum suffices after the grace period; such results are withheld."""
        quorum = self._core.contract.limits.quorum
        here = len(self._owners) - len(missing)
        return quorum is not None and run.grace_over() and here >= quorum

    def _kept(self, run: Run, validated: Validated) -> Steps[bool]:
        """Writes the validations with the last checkpoint, once that is durable here."""
        if not self._core.disk.persistent:
            return True
        found = self._core.disk.available
        if not found or found[-1].step != run.step:
            return False
        every = [one.model_dump(mode="json") for one in (*run.validations.done, validated)]
        # If it cannot be written, the run pauses, and this is retried.
        return (yield from self._core.put_note(VALIDATIONS, json.dumps(every).encode()))

    def _tell(self, run: Run, validated: Validated) -> None:
        train_loss = run.loss_since_validation()
        self._losses.append((train_loss, validated.log_loss))
        self._core.tell(
            events.ValidationDone(
                **validated.model_dump(),
                best=run.validations.is_best(validated),
                train_loss=train_loss,
            )
        )
        self._warn(validated.step)

    def _warn(self, step: int) -> None:
        if not self._said_overfitting and overfits(self._losses):
            self._said_overfitting = True
            self._core.tell(events.Overfitting(step))
