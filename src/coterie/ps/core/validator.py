"""One validation after another on shard 0: owners' counts come in, what may be told is told.

Nothing of a validation is durable but its result, with the next checkpoint: whoever comes back counts
again, and the same. Only the one that ends the training is kept before anybody hears of the end.
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
    """Takes owners' counts, and tells what follows from them.

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
        """The owners whose counts the due validation waits for."""
        self._begin(run)
        absent = run.absent_workers()
        return tuple(owner for owner in self._totals.missing if owner not in absent)

    def report(self, run: Run, owner: str, step: int, counts: tuple[SplitCounts, ...]) -> None:
        """Takes note of an owner's counts; those of a validation that is done change nothing.

        Raises:
            MessageRefused: By a node that owns no data, or of other splits.
            StepRefused: Of a model that is not the present one.
        """
        self._begin(run)
        if run.validations.newest >= step:
            return
        run.check_validates(step)
        self._totals.add(owner, counts)
        run.progress_at = self._core.now
        self._core.notify()

    def conclude(self, run: Run) -> Steps[bool]:
        """Ends the due validation once all owners have counted that are waited for; whether it did."""
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
        # Of a life that was lost, the model after so many steps may have been another one: with a
        # quorum others may have taken part.
        if self._of != (run, run.step):
            self._of = (run, run.step)
            self._totals = EvaluationTotals(self._owners, self._core.disclosure, _SPLITS)

    def _excuses(self, run: Run, missing: tuple[str, ...]) -> bool:
        """Past the grace period a quorum is enough; of such a validation nothing is told."""
        quorum = self._core.contract.limits.quorum
        here = len(self._owners) - len(missing)
        return quorum is not None and run.grace_over() and here >= quorum

    def _kept(self, run: Run, validated: Validated) -> Steps[bool]:
        """Keeps the validations with the last checkpoint, once that is durable here."""
        if not self._core.disk.persistent:
            return True
        found = self._core.disk.available
        if not found or found[-1].step != run.step:
            return False
        every = [one.model_dump(mode="json") for one in (*run.validations.done, validated)]
        # Where the disk does not take it, the run pauses, and this is tried again.
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
