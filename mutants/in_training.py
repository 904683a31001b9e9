"""Mutations of training: sums of gradients, optimizers, the table, the model's state."""

from __future__ import annotations

from mutants.mutation import Of

_aggregation = Of("ps/core/aggregation.py", "ps/core/test_aggregation.py")
_optimizers = Of("ps/core/optimizers.py", "ps/core/test_optimizers.py")
_numpy = Of("plane/numpy_kernels.py", "plane/test_numpy_kernels.py")
_packed = Of("plane/numpy_kernels.py", "plane/test_packing.py")
_packing = Of("plane/packing.py", "plane/test_packing.py")
_pulled = Of("ps/core/pulled_dense.py", "ps/core/test_pulled_dense.py")
_held = Of("training/client.py", "training/test_client.py")
_merging = Of("ps/core/merging.py", "ps/core/test_merging.py")
_local_steps = Of("training/local_steps.py", "training/test_local_steps.py")
_lossy = Of("ps/wire/lossy_coding.py", "ps/wire/test_lossy_coding.py")
_flushes = Of("ps/core/flushes.py", "ps/core/test_flushes.py")
_encoder = Of("training/push_encoder.py", "training/test_push_encoder.py")
_leader = Of("ps/core/leader.py", "ps/test_remainders.py")
_table = Of("ps/core/table.py", "ps/core/test_table.py")
_state = Of("ps/core/state.py", "ps/core/test_state.py")
_digest = Of("parameters/digest.py", "parameters/test_digest.py")

MUTATIONS = (
    _lossy(
        "half-away-from-zero",
        "(((bits >> 16) & 1) + np.uint32(0x7FFF))",
        "np.uint32(0x8000)",
        "halves all round up: sums of many gradients drift",
    ),
    _lossy(
        "of-equal-ones-the-last",
        "np.flatnonzero(magnitudes == bound)[: most - np.count_nonzero(above)]",
        "np.flatnonzero(magnitudes == bound)[::-1][: most - np.count_nonzero(above)]",
        "which of equal values is sent is another choice",
    ),
    _lossy(
        "scales-below-zero",
        "if np.signbit(scales_b).any():",
        "if (scales_b < -1).any():",
        "one gradient has two forms",
    ),
    _lossy(
        "a-place-behind-the-last",
        "places[-1] >= size",
        "places[-1] > size",
        "a worker writes into what sums grew by, or ends the server with an IndexError",
    ),
    _lossy(
        "zeros-that-are-kept",
        "or places[size:].any() or not kept.all()",
        "or places[size:].any()",
        "one gradient has many forms",
    ),
    _flushes(
        "flush-one-step-early",
        "return self.settled(following) > step",
        "return self.settled(following) >= step",
        "pushes after a checkpoint are flushes, too",
    ),
    _encoder(
        "remainder-over-a-checkpoint",
        "plan.settled(step) <= self._pushed < step",
        "self._pushed < step",
        "a run that goes on from a checkpoint gives another model",
    ),
    _encoder(
        "repeated-without-remainder",
        "        if step != self._pushed:\n",
        "        if True:\n",
        "a push that is made again has other bits",
    ),
    _leader(
        "back-in-spite-of-a-quorum",
        "if contract.limits.quorum is not None or not run.membership.replaces(caller):",
        "if not run.membership.replaces(caller):",
        "a party holds up the others by restarting its worker",
    ),
    _leader(
        "late-checkpoint-with-remainders",
        " and not core.contract.training.error_feedback",
        "",
        "a run goes on from a checkpoint without what workers had left away",
    ),
    _packing(
        "longer-than-plain",
        "if not mask_bytes <= len(octets) < 4 * size:",
        "if not mask_bytes <= len(octets):",
        "the same numbers have two forms: packed ones that are longer, and plain ones",
    ),
    _packing(
        "pieces-of-numbers",
        "if wide_bytes < 0 or wide_bytes % 4:",
        "if wide_bytes < 0:",
        "a message with a piece of a number ends in another error than a refusal",
    ),
    _packed(
        "bits-behind-the-last",
        " or (size % 8 and mask[-1] >> size % 8)",
        "",
        "bits behind the last number say something, and nobody reads it",
    ),
    _packed(
        "zeros-among-the-kept",
        " or not kept.all()",
        "",
        "a zero may be kept, so that the same numbers have many packed forms",
    ),
    _packed(
        "escape-for-itself",
        "large = (narrow != differences) | (narrow == _ESCAPE)",
        "large = narrow != differences",
        "a difference of -2^15 is read as the next wide one",
    ),
    _packed(
        "narrow-ones-wide",
        "fits = (wide > _ESCAPE) & (wide < -_ESCAPE)",
        "fits = wide == 0",
        "a narrow difference may be sent as a wide one",
    ),
    _packed(
        "minus-zero-lost",
        "kept = bits != 0",
        "kept = numbers != 0",
        "minus zero becomes zero",
    ),
    _pulled(
        "differences-for-everybody",
        "step is not None and step + 1 == self.step",
        "step is not None and step < self.step",
        "who holds older parameters adds the last step's differences to them",
    ),
    _held(
        "held-over-a-restart",
        "self._incarnation, self._held = first.ps_incarnation, None",
        "self._incarnation = first.ps_incarnation",
        "differences from the parameters of an incarnation that is gone",
    ),
    _numpy(
        "rows-by-the-first-weight",
        "total[place] += push if factors.equal else push * factor",
        "total[place] += push if factors.equal else push * factors.each[0]",
        "where weights differ, every worker's rows count with the first one's",
    ),
    _numpy(
        "dense-by-the-first-weight",
        "total += push if factors.equal else push * factor",
        "total += push if factors.equal else push * factors.each[0]",
        "where weights differ, every worker's dense gradient counts with the first one's",
    ),
    _numpy(
        "first-push-without-weight",
        "pushes[0] * factors.each[0]",
        "pushes[0].copy()",
        "where weights differ, the first worker's dense gradient is not scaled",
    ),
    _numpy(
        "rows-not-scaled",
        "total[place] += push if factors.equal else push * factor\n            if factors.equal:\n                total *= factors.each[0]\n",
        "total[place] += push if factors.equal else push * factor\n",
        "where weights are equal, rows are summed and not averaged",
    ),
    _numpy(
        "rows-twice",
        "np.not_equal(sorted_ids[1:], sorted_ids[:-1], out=is_first[1:])",
        "is_first[1:] = True",
        "a row that two workers touched is twice in the sum",
    ),
    _numpy(
        "sums-into-a-push",
        "pushes[0].copy() if factors.equal",
        "pushes[0] if factors.equal",
        "the first worker's push is overwritten",
    ),
    _numpy(
        "adagrad-forgets",
        "            s += root\n",
        "            s[:] = root\n",
        "Adagrad's sum of squares is the last square",
    ),
    _numpy(
        "row-adagrad-from-zero",
        "        sums += initial\n",
        "",
        "the rows' first steps are too long",
    ),
    _numpy(
        "adagrad-without-epsilon",
        "            root += epsilon\n",
        "",
        "a zero gradient over a zero sum is no number",
    ),
    _numpy(
        "row-adagrad-without-epsilon",
        "        sums += epsilon\n",
        "",
        "a zero gradient over a zero sum is no number",
    ),
    _numpy(
        "row-wise-sum",
        "squares.mean(axis=1, keepdims=True",
        "squares.sum(axis=1, keepdims=True",
        "row-wise Adagrad depends on the width of rows",
    ),
    _numpy(
        "row-adagrad-forgets",
        "        state[rows] = sums\n",
        "",
        "the rows' sums of squares stay zero",
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
        "np.square(gradients.dense_p[:size], dtype=np.float64)",
        "np.square(gradients.dense_p[:size])",
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
    _optimizers(
        "sgd-without-schedule",
        "kernels().dense_sgd(parameters, gradient, np.float32(self._rate * factor))",
        "kernels().dense_sgd(parameters, gradient, np.float32(self._rate))",
        "dense SGD goes on with the first learning rate",
    ),
    _optimizers(
        "row-sgd-without-schedule",
        "kernels().row_sgd(values, rows, gradient, np.float32(self._rate * factor))",
        "kernels().row_sgd(values, rows, gradient, np.float32(self._rate))",
        "the rows' SGD goes on with the first learning rate",
    ),
    _optimizers(
        "row-adagrad-without-schedule",
        "rate=np.float32(self._rate * factor),\n            initial",
        "rate=np.float32(self._rate),\n            initial",
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
        "adagrad-from-zero",
        "np.full(size, settings.initial_accumulator, np.float32)",
        "np.zeros(size, np.float32)",
        "dense Adagrad's first steps are too long",
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
    _digest(
        "digest-without-step",
        "(contract.training.seed, step, dense_p.size, *sizes)",
        "(contract.training.seed, dense_p.size, *sizes)",
        "two models of different steps have one digest",
    ),
    _digest(
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
    _merging(
        "touched-by-all",
        "touched[np.searchsorted(merged.row_ids_u, push.row_ids_u)] += push.examples",
        "touched += push.examples",
        "rows are divided by all examples of the step, whoever touched them",
    ),
    _merging(
        "rows-not-rescaled",
        "rows[:, :dim] *= np.sqrt(share)",
        "rows[:, :dim] *= share**0",
        "changes of several workers are summed as they are",
    ),
    _merging(
        "state-scaled-with-the-change",
        "rows[:, :dim] *= np.sqrt(share)",
        "rows *= np.sqrt(share)",
        "sums of squares grow by less than what workers saw",
    ),
    _merging(
        "without-the-state-before",
        "together = before.of(ids)",
        "together = np.zeros_like(before.of(ids))",
        "a row that is long known moves by less than its workers' changes",
    ),
    _merging(
        "caps-left-out-of-the-state",
        "rows[:, dim:] * np.float32(weight)",
        "rows[:, dim:] * np.float32(1 / examples)",
        "a capped worker's squares weigh as if it had no cap",
    ),
    _merging(
        "squares-below-zero",
        "np.maximum(squares, 0, out=squares)",
        "np.maximum(squares, -1, out=squares)",
        "a root of a sum of squares is no number",
    ),
    _merging(
        "first-moments-are-no-squares",
        'slice(dim if local.kind == "lazy_adam" else 0, None)',
        "slice(0, None)",
        "Adam's first moments of rows cannot be negative",
    ),
    _merging(
        "sums-of-dense-parameters-forgotten",
        "self._kept += gradient[size:]",
        "self._kept = self._kept + gradient[size:]",
        "what checkpoints keep of the workers' sums stays as it began",
    ),
    _local_steps(
        "sums-of-dense-parameters-left-out",
        "dense.state[:] = parameters.sums_s",
        "dense.state[:] = 0",
        "the dense optimizer begins anew in every step",
    ),
    _local_steps(
        "state-of-rows-forgotten",
        "rows.state[:] = parameters.state_us",
        "rows.state[:] = 0",
        "a row's optimizer begins anew in every step",
    ),
    _local_steps(
        "growth-from-nothing",
        "row_changes.append(rows.state - parameters.state_us)",
        "row_changes.append(rows.state)",
        "the server adds a row's whole state to itself in every step",
    ),
    _local_steps(
        "proximal-uphill",
        "gradient_p += mu * (dense_p - parameters.dense_p)",
        "gradient_p -= mu * (dense_p - parameters.dense_p)",
        "FedProx's term drives copies away from where they began",
    ),
    _local_steps(
        "proximal-for-dense-alone",
        "gradient_ud += mu *",
        "gradient_ud += 0 *",
        "FedProx's term leaves the rows out",
    ),
    _local_steps(
        "rates-without-schedule",
        "factor = rate_factor(training.schedule, contract.updates_before + parameters.step)",
        "factor = 1.0",
        "the workers' rates do not follow the contract's schedule",
    ),
    _local_steps(
        "steps-counted-from-zero",
        "taken = (contract.optimizer_updates_before + parameters.step) * steps + i",
        "taken = i",
        "the bias of rows' moments is corrected as if every step were the first",
    ),
    _local_steps(
        "rates-count-anew",
        "contract.updates_before + parameters.step",
        "parameters.step",
        "the workers' warm-up is gone through again in a run that goes on",
    ),
    _local_steps(
        "moments-count-anew",
        "(contract.optimizer_updates_before + parameters.step) * steps",
        "parameters.step * steps",
        "the bias of rows' moments is corrected again in a run that goes on",
    ),
    _optimizers(
        "factors-not-normalized",
        "shares = of_rows / mean if mean > 0 else of_rows",
        "shares = of_rows",
        "the product of rows' and columns' sums is no sum of squares",
    ),
    _optimizers(
        "nesterov-without-looking-ahead",
        "np.multiply(v, self._momentum, out=g)",
        "v + g",
        "Nesterov's momentum is Polyak's",
    ),
)
