"""One validation after another on shard 0: owners' counts come in, what may be told is told.

Nothing of a validation is durable but its result, with the next checkpoint: whoever comes back counts
again, and the same. Only the one that ends the training is kept before anybody hears of the end.
"""

from __future__ import annotations

import json

from coterie.errors import EnvironmentUnfit
from coterie.ps.core.evaluation import EvaluationTotals, SplitCounts
from coterie.ps.core.validations import overfits
from coterie.ps.run import Run
from coterie.ps.shard import VALIDATIONS, Shard
from coterie.runs import events
from coterie.runs.records import Validated

_SPLITS = ("validation",)


class Validator:
    """What is named ``locked_...`` wants the shard's lock held.

    Args:
        shard: Shard 0.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._owners = tuple(node.name for node in shard.contract.data_owners())
        self._step = 0
        self._totals = EvaluationTotals(self._owners, shard.disclosure, _SPLITS)
        self._losses: list[tuple[float | None, float | None]] = []
        self._said_overfitting = False

    def locked_missing(self, run: Run) -> tuple[str, ...]:
        """The owners whose counts the due validation waits for."""
        self._locked_begin(run)
        absent = run.absent_workers()
        return tuple(owner for owner in self._totals.missing if owner not in absent)

    def locked_report(
        self, run: Run, owner: str, step: int, counts: tuple[SplitCounts, ...]
    ) -> None:
        """Takes note of an owner's counts; those of a validation that is done change nothing.

        Raises:
            MessageRefused: By a node that owns no data, or of other splits.
            StepRefused: Of a model that is not the present one.
        """
        self._locked_begin(run)
        if run.validations.newest >= step:
            return
        run.check_validates(step)
        self._totals.add(owner, counts)
        run.progress_at = self._shard.monotonic()
        self._shard.changed.notify_all()

    def locked_conclude(self, run: Run) -> bool:
        """Ends the due validation once all owners have counted that are waited for; whether it did."""
        self._locked_begin(run)
        missing = self.locked_missing(run)
        if missing and not self._locked_excuses(run, missing):
            return False
        complete = not self._totals.missing or self._shard.disclosure.exact
        found = self._totals.released().get("validation") if complete else None
        validated = Validated.of(run.step, found)
        stops = run.validations.stop_with(validated) and not run.steps_done
        if (stops or run.steps_done) and not self._locked_kept(run, validated):
            return False
        self._locked_tell(run, validated)
        run.judge(validated)
        if stops:
            self._shard.on_event(events.StoppedEarly(run.step, run.validations.best_step))
        self._shard.changed.notify_all()
        return True

    def locked_hear_end(self, run: Run, log_loss: float | None) -> None:
        """Holds the final evaluation against the validations before, where it is none of them.

        Args:
            run: It has ended.
            log_loss: On the validation rows; None where it may not be told.
        """
        if run.step not in {one.step for one in run.validations.done}:
            self._losses.append((run.loss_since_validation(), log_loss))
            self._locked_warn(run.step)

    def _locked_begin(self, run: Run) -> None:
        if self._step != run.step:
            self._step = run.step
            self._totals = EvaluationTotals(self._owners, self._shard.disclosure, _SPLITS)

    def _locked_excuses(self, run: Run, missing: tuple[str, ...]) -> bool:
        """Past the grace period a quorum is enough; of such a validation nothing is told."""
        quorum = self._shard.contract.limits.quorum
        here = len(self._owners) - len(missing)
        return quorum is not None and run.grace_over() and here >= quorum

    def _locked_kept(self, run: Run, validated: Validated) -> bool:
        """Keeps the validations with the last checkpoint, once that is durable here."""
        checkpoints = self._shard.checkpoints
        if not checkpoints.persistent:
            return True
        found = checkpoints.available()
        if not found or found[-1].step != run.step:
            return False
        every = [one.model_dump(mode="json") for one in (*run.validations.done, validated)]
        try:
            self._shard.standstill.put_note(VALIDATIONS, json.dumps(every).encode())
        except EnvironmentUnfit:
            return False  # the run pauses, and this is tried again
        return True

    def _locked_tell(self, run: Run, validated: Validated) -> None:
        train_loss = run.loss_since_validation()
        self._losses.append((train_loss, validated.log_loss))
        self._shard.on_event(
            events.ValidationDone(
                **validated.model_dump(),
                best=run.validations.is_best(validated),
                train_loss=train_loss,
            )
        )
        self._locked_warn(validated.step)

    def _locked_warn(self, step: int) -> None:
        if not self._said_overfitting and overfits(self._losses):
            self._said_overfitting = True
            self._shard.on_event(events.Overfitting(step))
