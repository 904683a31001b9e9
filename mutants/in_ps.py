"""Mutations of the parameter server: sums, optimizers, decisions, membership, bounds."""

from __future__ import annotations

from mutants.mutation import Of

_aggregation = Of("ps/aggregation.py", "ps/test_aggregation.py")
_optimizers = Of("ps/optimizers.py", "ps/test_optimizers.py")
_council = Of("ps/council.py", "ps/test_council.py")
_barrier = Of("ps/barrier.py", "ps/test_barrier.py")
_membership = Of("ps/membership.py", "ps/test_membership.py")
_table = Of("ps/table.py", "ps/test_table.py")
_state = Of("ps/state.py", "ps/test_state.py")
_evaluation = Of("ps/evaluation.py", "ps/test_evaluation.py")
_messages = Of("ps/messages.py", "ps/test_messages.py")
_departures = Of("ps/departures.py", "ps/test_departures.py")

MUTATIONS = (
    _aggregation(
        "rows-by-the-first-weight",
        "push.rows_ud if equal else push.rows_ud * factors[i]",
        "push.rows_ud if equal else push.rows_ud * factors[0]",
        "where weights differ, every worker's rows count with the first one's",
    ),
    _aggregation(
        "dense-by-the-first-weight",
        "push.dense_p if equal else push.dense_p * factors[i]",
        "push.dense_p if equal else push.dense_p * factors[0]",
        "where weights differ, every worker's dense gradient counts with the first one's",
    ),
    _aggregation(
        "first-push-without-weight",
        "pushes[0].dense_p * factors[0]",
        "pushes[0].dense_p.copy()",
        "where weights differ, the first worker's dense gradient is not scaled",
    ),
    _aggregation(
        "rows-not-scaled",
        "            dense *= factors[0]\n            rows *= factors[0]\n",
        "            dense *= factors[0]\n",
        "where weights are equal, rows are summed and not averaged",
    ),
    _aggregation(
        "cap-off-by-one",
        "if count <= party_weight * total",
        "if count < party_weight * total",
        "a party whose share is just the cap gets another factor than the others",
    ),
    _aggregation(
        "no-cap",
        "weight = 1 / total if count <= party_weight * total else party_weight / count",
        "weight = 1 / total",
        "a party with many examples outweighs the others",
    ),
    _aggregation(
        "cap-goes-to-the-others",
        "else party_weight / count",
        "else party_weight / total",
        "a capped party gets less than the cap",
    ),
    _aggregation(
        "norm-of-the-sum",
        "norm = math.sqrt(squares[i]) / count",
        "norm = math.sqrt(squares[i])",
        "the bound is on the sum of a worker's gradients, so on its number of examples",
    ),
    _aggregation(
        "bound-in-place-of-weight",
        "weight *= update_norm / norm",
        "weight = update_norm / norm",
        "a bounded push loses its share by examples",
    ),
    _aggregation(
        "bound-stretches",
        "if norm > update_norm:",
        "if norm != update_norm:",
        "short updates are stretched to the bound",
    ),
    _aggregation(
        "rows-may-be-infinite",
        "np.isfinite(gradients.dense_p).all() and np.isfinite(gradients.rows_ud).all()",
        "np.isfinite(gradients.dense_p).all()",
        "overflown rows get into the model",
    ),
    _aggregation(
        "dense-may-be-infinite",
        "np.isfinite(gradients.dense_p).all() and np.isfinite(gradients.rows_ud).all()",
        "np.isfinite(gradients.rows_ud).all()",
        "overflown dense gradients get into the model",
    ),
    _aggregation(
        "norm-in-float32",
        "np.square(gradients.dense_p, dtype=np.float64)",
        "np.square(gradients.dense_p)",
        "large gradients' squares overflow, and the bound takes them away whole",
    ),
    _aggregation(
        "slice-norms-in-float32",
        "dtype=np.float64, optimize=False",
        "dtype=np.float32, optimize=False",
        "large row gradients' squares overflow",
    ),
    _aggregation(
        "slice-norms-in-one-slice",
        "slices_of(gradients.row_ids_u), squares",
        "0 * slices_of(gradients.row_ids_u), squares",
        "norms depend on the number of shards",
    ),
    _aggregation(
        "rows-twice",
        "np.not_equal(merged[1:], merged[:-1], out=first[1:])",
        "first[1:] = True",
        "a row that two workers touched is twice in the sum",
    ),
    _aggregation(
        "losses-of-one",
        "sum(push.loss_sum for push in pushes)",
        "pushes[0].loss_sum",
        "the told loss is the first worker's",
    ),
    _aggregation(
        "hits-of-one",
        "sum(push.correct for push in pushes)",
        "pushes[0].correct",
        "the told accuracy is the first worker's over all examples",
    ),
    _aggregation(
        "sums-into-a-push",
        "pushes[0].dense_p.copy() if equal",
        "pushes[0].dense_p if equal",
        "the first worker's push is overwritten",
    ),
    _optimizers(
        "sgd-without-schedule",
        "rate = np.float32(self._rate * factor)\n        for part in _blocks(parameters.size):\n"
        "            g = gradient[part]\n",
        "rate = np.float32(self._rate)\n        for part in _blocks(parameters.size):\n"
        "            g = gradient[part]\n",
        "dense SGD goes on with the first learning rate",
    ),
    _optimizers(
        "row-sgd-without-schedule",
        "change = gradient * np.float32(self._rate * factor)\n        values[rows]",
        "change = gradient * np.float32(self._rate)\n        values[rows]",
        "the rows' SGD goes on with the first learning rate",
    ),
    _optimizers(
        "row-adagrad-without-schedule",
        "change = gradient * np.float32(self._rate * factor)\n        change /= sums",
        "change = gradient * np.float32(self._rate)\n        change /= sums",
        "the rows' Adagrad goes on with the first learning rate",
    ),
    _optimizers(
        "adam-without-schedule",
        "np.float32(settings.learning_rate * factor * correction)",
        "np.float32(settings.learning_rate * correction)",
        "Adam goes on with the first learning rate",
    ),
    _optimizers("momentum-uphill", "v -= g", "v += g", "momentum climbs"),
    _optimizers(
        "momentum-forgets",
        "            v *= self._momentum\n",
        "            v *= 0\n",
        "momentum is plain SGD",
    ),
    _optimizers(
        "adagrad-forgets",
        "            s += scratch\n",
        "            s[:] = scratch\n",
        "Adagrad's sum of squares is the last square",
    ),
    _optimizers(
        "adagrad-from-zero",
        "np.full(size, settings.initial_accumulator, np.float32)",
        "np.zeros(size, np.float32)",
        "dense Adagrad's first steps are too long",
    ),
    _optimizers(
        "row-adagrad-from-zero",
        "        if self._initial:\n            sums += self._initial\n",
        "",
        "the rows' first steps are too long",
    ),
    _optimizers(
        "adagrad-without-epsilon",
        "            scratch += self._epsilon\n",
        "",
        "a zero gradient over a zero sum is no number",
    ),
    _optimizers(
        "row-adagrad-without-epsilon",
        "        sums += self._epsilon\n",
        "",
        "a zero gradient over a zero sum is no number",
    ),
    _optimizers(
        "adam-counts-from-two",
        "update = step + 1",
        "update = step + 2",
        "Adam's correction is that of the next step",
    ),
    _optimizers(
        "adam-half-corrected",
        "math.sqrt(1 - settings.beta_2**update) / (1 - settings.beta_1**update)",
        "1 / (1 - settings.beta_1**update)",
        "Adam's first steps are too long",
    ),
    _optimizers(
        "row-wise-sum",
        "squares.mean(axis=1",
        "squares.sum(axis=1",
        "row-wise Adagrad depends on the width of rows",
    ),
    _optimizers(
        "row-adagrad-forgets",
        "        self.state[rows] = sums\n",
        "",
        "the rows' sums of squares stay zero",
    ),
    _optimizers(
        "row-adam-forgets",
        "        self.state[rows] = moments\n",
        "",
        "the rows' moments stay zero",
    ),
    _optimizers(
        "row-adam-swaps-betas",
        "m *= np.float32(settings.beta_1)",
        "m *= np.float32(settings.beta_2)",
        "the first moment decays like the second",
    ),
    _optimizers(
        "block-ends",
        "yield slice(start, start + _BLOCK)",
        "yield slice(start, start + _BLOCK - 1)",
        "the last parameter of every block is never trained",
    ),
    _council(
        "decides-before-all-shards-told",
        "len(self._reports) < self._shards",
        "not self._reports",
        "a step is applied before all shards hold it",
    ),
    _council(
        "one-shard-is-enough",
        "participants.intersection(*(r.workers for r in self._reports.values()))",
        "participants.intersection(self._reports[0].workers)",
        "a push counts that only shard 0 holds",
    ),
    _council(
        "quorum-off-by-one",
        "self._workers - len(gone) >= quorum",
        "self._workers - len(gone) > quorum",
        "just the quorum does not go on",
    ),
    _council(
        "minority-goes-on",
        "self._workers - len(gone) >= quorum",
        "self._workers - len(gone) >= quorum - 1",
        "fewer than the quorum go on",
    ),
    _council(
        "quorum-counts-those-left-out",
        "(participants - held) | (self.out - held)",
        "participants - held",
        "whoever was left out and has no part in this step counts as present",
    ),
    _council(
        "no-grace",
        "and not (grace_over and self._quorate(held))",
        "and not self._quorate(held)",
        "the slow are left out at once",
    ),
    _council(
        "old-reports-count",
        "        self._reports.clear()\n",
        "",
        "the last step's reports decide the next step",
    ),
    _council(
        "reports-of-the-absent",
        "return self.out - self._heard_of",
        "return self.out",
        "a worker that came back is not waited for",
    ),
    _council(
        "absence-ends-late",
        "Absence(a.worker, a.start, self.step) if a.stop is None",
        "Absence(a.worker, a.start, self.step + 1) if a.stop is None",
        "the receipt's schedule does not replay the run",
    ),
    _council(
        "norm-of-one-shard",
        "parts.sum(axis=0).tolist()",
        "parts[0].tolist()",
        "the bound sees the rows of shard 0 only",
    ),
    _council(
        "absent-twice",
        "set(range(self._workers)) - set(present) - self.out",
        "set(range(self._workers)) - set(present)",
        "whoever was left out before is left out once more",
    ),
    _council(
        "decides-past-the-end",
        "self.step >= self._schedule.steps or len",
        "self.step > self._schedule.steps or len",
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
        "if step < self._schedule.steps and worker in self._schedule.participants(step):",
        "if step < self._schedule.steps:",
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
    _table(
        "reading-trains",
        "            values[new] = self._initial.of(rows[new])\n",
        "            values[new] = self._initial.of(rows[new])\n"
        "            self._trained[places[new]] = True\n",
        "a row that was only read counts as trained",
    ),
    _table(
        "touched-for-ever",
        "        self._touched[places] = False\n",
        "",
        "every checkpoint holds all rows that were ever touched",
    ),
    _table(
        "restored-without-state",
        "            self._update.state[places] = state\n",
        "            pass\n",
        "after a restore the optimizer begins anew",
    ),
    _table(
        "foreign-rows",
        "if self._shares and rows.size and places.min() < 0:",
        "if False:",
        "rows of another shard are read from the end of this one's table",
    ),
    _state(
        "digest-without-step",
        "(contract.training.seed, step, dense_p.size, *sizes)",
        "(contract.training.seed, dense_p.size, *sizes)",
        "two models of different steps have one digest",
    ),
    _state(
        "digest-without-rows",
        "    for part in slice_digests:\n        digest.update(part)\n",
        "",
        "the digest does not cover the rows",
    ),
    _state(
        "snapshot-is-no-copy",
        "dense_p=self.dense.copy()",
        "dense_p=self.dense",
        "a checkpoint changes while it is written",
    ),
    _state(
        "snapshot-shares-state",
        "dense_state=self.optimizer.state.copy()",
        "dense_state=self.optimizer.state",
        "a checkpoint changes while it is written",
    ),
    _evaluation(
        "minimum-off-by-one",
        "if total.examples >= self._minimum:",
        "if total.examples >= self._minimum - 1:",
        "totals over too few examples leave the TEE",
    ),
    _evaluation(
        "just-enough-is-withheld",
        "if total.examples >= self._minimum:",
        "if total.examples > self._minimum:",
        "totals over just enough examples are withheld",
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
    _messages(
        "values-that-are-no-numbers",
        "    if not np.isfinite(values).all():\n        bad",
        "    if np.isinf(values).any():\n        bad",
        "one NaN ends the model",
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
