"""Mutations of the parameter server: decisions, the barrier, membership, bounds."""

from __future__ import annotations

from mutants.mutation import Of

_coordinator = Of("ps/core/coordinator.py", "ps/core/test_coordinator.py")
_barrier = Of("ps/core/barrier.py", "ps/core/test_barrier.py")
_membership = Of("ps/core/membership.py", "ps/core/test_membership.py")
_disclosure = Of("ps/core/disclosure.py", "ps/core/test_disclosure.py")
_evaluation = Of("ps/core/evaluation.py", "ps/core/test_evaluation.py")
_messages = Of("ps/wire/bounds.py", "ps/wire/test_bounds.py")
_coding = Of("ps/wire/push_coding.py", "ps/wire/test_bounds.py")
_reading = Of("ps/wire/strict.py", "ps/wire/test_strict.py")
_departures = Of("ps/core/departures.py", "ps/core/test_departures.py")

MUTATIONS = (
    _coordinator(
        "decides-before-all-shards-told",
        "len(self._reports) < self._shards",
        "not self._reports",
        "a step is applied before all shards hold it",
    ),
    _coordinator(
        "one-shard-is-enough",
        "participants.intersection(*(r.workers for r in self._reports.values()))",
        "participants.intersection(self._reports[0].workers)",
        "a push counts that only shard 0 holds",
    ),
    _coordinator(
        "quorum-off-by-one",
        "self._workers - len(gone) >= quorum",
        "self._workers - len(gone) > quorum",
        "just the quorum does not go on",
    ),
    _coordinator(
        "minority-goes-on",
        "self._workers - len(gone) >= quorum",
        "self._workers - len(gone) >= quorum - 1",
        "fewer than the quorum go on",
    ),
    _coordinator(
        "quorum-counts-those-left-out",
        "(participants - held) | (self.out - held)",
        "participants - held",
        "whoever was left out and has no part in this step counts as present",
    ),
    _coordinator(
        "no-grace",
        "and not (grace_over and self._quorate(held))",
        "and not self._quorate(held)",
        "the slow are left out at once",
    ),
    _coordinator(
        "old-reports-count",
        "        self._reports.clear()\n",
        "",
        "the last step's reports decide the next step",
    ),
    _coordinator(
        "reports-of-the-absent",
        "return self.out - self._heard_of",
        "return self.out",
        "a worker that came back is not waited for",
    ),
    _coordinator(
        "absence-ends-late",
        "Absence(a.worker, a.start, self.step) if a.stop is None",
        "Absence(a.worker, a.start, self.step + 1) if a.stop is None",
        "the receipt's schedule does not replay the run",
    ),
    _coordinator(
        "norm-of-one-shard",
        "parts.sum(axis=0).tolist()",
        "parts[0].tolist()",
        "the bound sees the rows of shard 0 only",
    ),
    _coordinator(
        "absent-twice",
        "set(range(self._workers)) - set(present) - self.out",
        "set(range(self._workers)) - set(present)",
        "whoever was left out before is left out once more",
    ),
    _coordinator(
        "decides-past-the-end",
        "self.step >= self.schedule.steps or len",
        "self.step > self.schedule.steps or len",
        "there is a step after the last one",
    ),
    _barrier(
        "window-without-end",
        "if step == self.step - 1:",
        "if step < self.step:",
        "pushes of any old step are answered as if they were applied",
    ),
    _barrier(
        "the-last-push-counts",
        "if admitted is Offer.TAKEN:",
        "if admitted is not Offer.APPLIED:",
        "a push that is sent once more replaces the staged one",
    ),
    _barrier(
        "applied-twice",
        "        self._staged.clear()\n",
        "",
        "a staged push is applied in the next step again",
    ),
    _barrier(
        "the-absent-are-missed",
        "if w not in self._staged and w not in self.absent",
        "if w not in self._staged",
        "steps wait for workers that were left out",
    ),
    _barrier(
        "anybody-pushes",
        "if step < self.schedule.steps and len(self.schedule.lanes[worker].span(step)):",
        "if step < self.schedule.steps:",
        "a worker without examples has a part",
    ),
    _barrier(
        "order-of-arrival",
        "[self._staged[worker] for worker in contributors]",
        "[self._staged[worker] for worker in self._staged if worker in contributors]",
        "sums depend on who came first",
    ),
    _membership(
        "older-incarnations-come-back",
        "if caller.incarnation < known:",
        "if caller.incarnation < known - 1:",
        "a process that was replaced goes on",
    ),
    _membership(
        "other-data-of-the-same-size",
        "if known != brought:",
        "if known.examples != brought.examples:",
        "a worker comes back with other data",
    ),
    _membership(
        "other-size",
        "if known != brought:",
        "if known.digest != brought.digest:",
        "a worker comes back and tells another number of examples",
    ),
    _membership(
        "old-processes-forgotten",
        "        self._joined.clear()\n",
        "        self._joined.clear()\n        self._incarnations.clear()\n",
        "after a restore the replaced process may join",
    ),
    _membership(
        "most-examples",
        "0 < examples <= MAX_EXAMPLES",
        "0 < examples < MAX_EXAMPLES",
        "the most that is allowed is refused",
    ),
    _membership(
        "anybody-pushes",
        'if caller.role != "worker":\n            raise MessageRefused(\n                f"node',
        'if caller.role == "ps":\n            raise MessageRefused(\n                f"node',
        "the chief pushes gradients, or fails as an internal error",
    ),
    _disclosure(
        "minimum-off-by-one",
        "(of_party.sum(axis=0) >= self.examples)",
        "(of_party.sum(axis=0) >= self.examples - 1)",
        "totals over too few examples leave the TEE",
    ),
    _disclosure(
        "just-enough-is-withheld",
        "(of_party.sum(axis=0) >= self.examples)",
        "(of_party.sum(axis=0) > self.examples)",
        "totals over just enough examples are withheld",
    ),
    _disclosure(
        "one-party-will-do",
        " & ((of_party > 0).sum(axis=0) >= self.parties)",
        "",
        "a total over one party's examples alone leaves the TEE",
    ),
    _evaluation(
        "totals-over-anything",
        "if self._rule.allows([part.examples for part in parts]):",
        "if parts:",
        "totals over too few examples leave the TEE, whatever the rule says",
    ),
    _evaluation(
        "the-last-report-counts",
        "self._reports.setdefault(owner, counts)",
        "self._reports[owner] = counts",
        "an owner changes its report after the others have told theirs",
    ),
    _evaluation(
        "anybody-reports",
        "if owner not in self._owners:",
        "if not owner:",
        "a report by a node without data is taken",
    ),
    _messages(
        "any-number-of-examples",
        "if push.examples != examples:",
        "if push.examples > examples:",
        "a worker trains fewer examples than the schedule gives it",
    ),
    _messages(
        "negative-loss",
        "if not 0 <= push.loss_sum <= limit:",
        "if not push.loss_sum <= limit:",
        "a worker lowers the told loss at will",
    ),
    _messages(
        "more-hits-than-examples",
        "if push.correct > examples:",
        "if push.correct > examples + 1:",
        "a worker raises the told accuracy at will",
    ),
    _messages(
        "row-out-of-range",
        "ids[-1] >= self._total_rows",
        "ids[-1] > self._total_rows",
        "an id just past the table is used as an index",
    ),
    _messages(
        "duplicate-rows",
        "np.all(ids[1:] > ids[:-1])",
        "np.all(ids[1:] >= ids[:-1])",
        "of a row that is there twice one gradient is lost",
    ),
    _messages(
        "too-many-rows",
        "len(octets) % 4 or len(octets) > 4 * limit",
        "len(octets) % 4",
        "a worker makes the server look up any number of rows",
    ),
    _coding(
        "values-that-are-no-numbers",
        "    if not np.isfinite(values).all():\n        bad",
        "    if np.isinf(values).any():\n        bad",
        "one NaN ends the model",
    ),
    _reading(
        "unknown-fields-skipped",
        "if len(UnknownFieldSet(message)):",
        "if len(UnknownFieldSet(message)) < 0:",
        "a message says more than its reader knows",
    ),
    _reading(
        "messages-in-messages-not-looked-at",
        "        elif message.HasField(name):\n",
        "        elif not name:\n",
        "a message in a message says more than its reader knows",
    ),
    _departures(
        "begun-anew-counts-as-progress",
        "if parts > self._furthest.get(node, 0):",
        "if parts > 0:",
        "a recipient that begins anew for ever holds the server up",
    ),
    _departures(
        "no-end",
        "last = min(self._progress_at + self._idle_seconds, self._began + self._most_seconds)",
        "last = self._progress_at + self._idle_seconds",
        "a slow recipient holds the server up for ever",
    ),
)
