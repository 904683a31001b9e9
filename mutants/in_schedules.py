"""Mutations of the schedule, the order of rows, and validation while a model is trained."""

from __future__ import annotations

from mutants.mutation import Of

_schedule = Of("ps/core/schedule.py", "ps/core/test_schedule.py")
_order = Of("training/order.py", "training/test_order.py")
_validating = Of("ps/core/validations.py", "ps/core/test_validations.py")
_run = Of("ps/core/run.py", "ps/test_validation_runs.py")
_validator = Of("ps/core/validator.py", "ps/test_validation_runs.py")

MUTATIONS = (
    _schedule(
        "one-party-alone",
        "sorted(examples)[-2]",
        "sorted(examples)[-1]",
        "the end of an epoch is the largest party's alone",
    ),
    _schedule(
        "alone-in-sdt-too",
        "if len(contract.data_owners()) > 1:",
        "if len(examples) > 1:",
        "one owner's steps grow for nothing",
    ),
    _schedule(
        "single-turn-last",
        "(2 * self.turns * done + self.steps_per_epoch)",
        "(2 * self.turns * done)",
        "all that have few rows train at the end of the epoch",
    ),
    _schedule(
        "shares-of-any-size",
        "if share <= most and",
        "if",
        "a worker's messages are larger than others take",
    ),
    _schedule(
        "messages-of-any-size",
        " and contract.step_bytes(share) <= MAX_STEP_BYTES",
        "",
        "a share does not fit into a message",
    ),
    _schedule(
        "turns-of-one-example",
        "min(TURN_EXAMPLES, training.step_examples)",
        "1",
        "a push is over one example, and gives it away to all others together",
    ),
    _order(
        "one-order-for-all-epochs",
        "(self.seed, self.worker, epoch)",
        "(self.seed, self.worker, 0)",
        "every epoch has the same order",
    ),
    _order(
        "epochs-count-anew",
        "epoch = self.updates // lane.steps_per_epoch + step // lane.steps_per_epoch",
        "epoch = step // lane.steps_per_epoch",
        "a run that goes on trains the orders of the run before again",
    ),
    _order(
        "places-outside",
        "walking[found[walking] >= size]",
        "walking[found[walking] > size]",
        "a row comes twice, another never",
    ),
    _order(
        "pieces-of-the-file",
        "starts[pieces][piece] + mixed - own[piece]",
        "mixed",
        "rows are mixed in place only",
    ),
    _validating(
        "patience-off-by-one",
        "self._judged(every)[1] >= patience",
        "self._judged(every)[1] > patience",
        "training goes on for one validation too long",
    ),
    _validating(
        "equal-is-better",
        "loss < bar - self._section.least_gain",
        "loss <= bar - self._section.least_gain",
        "a model that gained nothing is kept",
    ),
    _validating(
        "auc-upside-down",
        'loss = value if self._section.metric == "log_loss" else -value',
        "loss = value",
        "the worst model by AUC is kept",
    ),
    _validating(
        "always-kept",
        'return self.best_step if self._section.keep == "best" else 0',
        "return self.best_step",
        "another model comes out than the contract wants",
    ),
    _validating(
        "no-end-validation",
        "return self.at_end",
        "return False",
        "the last model is never the best",
    ),
    _validating(
        "any-account",
        "if followed.stop_with() or validated.step != next(due, 0):",
        "if validated.step != next(due, 0):",
        "a receipt may go on after the training has ended",
    ),
    _validating(
        "missing-from-an-account",
        "    if not followed.stop_with() and next(due, 0):\n        return None\n",
        "",
        "a receipt may leave validations out",
    ),
    _run(
        "settled-before-the-model-is-there",
        "return self.trained and (self._ended_at is not None or kept in {0, self.step})",
        "return self.trained",
        "nodes evaluate, and get, the last model in the place of the best",
    ),
    _run(
        "last-model-comes-out",
        "        self.state, self._kept = best, None\n",
        "        self._kept = None\n",
        "the last model comes out in the place of the best",
    ),
    _validator(
        "nobody-is-waited-for",
        "        if missing and not self._excuses(run, missing):\n            return False\n",
        "",
        "a validation is over whoever was fast",
    ),
    _validator(
        "any-model",
        "        run.check_validates(step)\n",
        "",
        "counts of another model decide",
    ),
)
