"""Mutations of going on from a model: what is checked, where values go, what counts on."""

from __future__ import annotations

from mutants.mutation import Of

_filling = Of(
    "ps/warm_start/inbox.py", "ps/warm_start/test_inbox.py", "ps/warm_start/test_equality.py"
)
_mapping = Of(
    "ps/warm_start/mapping.py", "ps/warm_start/test_mapping.py", "ps/warm_start/test_growth.py"
)
_reading = Of("ps/warm_start/files.py", "ps/warm_start/test_inbox.py")
_state = Of("ps/core/state.py", "ps/core/test_state.py")
_streaming = Of("trained/model_stream.py", "trained/test_optimizer_state.py")
_parents = Of("receipts/parents.py", "receipts/test_start.py")
_policy = Of("keys/server/policy.py", "keys/server/test_policy.py")

MUTATIONS = (
    _filling(
        "anybody-gives",
        "if contract.start is None or giver is None or caller.node != giver.name:",
        "if contract.start is None or giver is None:",
        "every worker may give what the run starts from",
    ),
    _filling(
        "nothing-forgotten",
        "        run.state.table.forget()\n",
        "",
        "what a start that was refused left stays in the model",
    ),
    _filling(
        "model-unchecked",
        "    finish_model(model, start)\n",
        "    model.finish()\n",
        "a run goes on from any model of that contract",
    ),
    _filling(
        "state-unchecked",
        "        finish_state(kept, start)\n",
        "",
        "the optimizers go on from any state",
    ),
    _filling(
        "overtaken-goes-on",
        "if core.run is not self.run or not self.is_newest():",
        "if core.run is not self.run:",
        "two offers write into one state",
    ),
    _filling(
        "parts-of-any-size",
        "if max(len(part.model), len(part.optimizer_state)) > PART_BYTES:",
        "if False:",
        "a part may be as large as a message",
    ),
    _mapping(
        "first-row-is-copied",
        "(hashed | (copy == 0)) & (copy < self._copies[columns])",
        "copy < self._copies[columns]",
        "the out-of-vocabulary row takes the places of ids",
    ),
    _mapping(
        "copies-side-by-side",
        "first[source] + copy * self._strides[columns[source]]",
        "first[source] + copy",
        "ids of a table that grew find other ids' vectors",
    ),
    _mapping(
        "any-architecture",
        "if start.model != contract.model:",
        "if False:",
        "a model of other layers is put into these",
    ),
    _mapping(
        "any-columns",
        "if expected[what] != seen[what]:",
        "if False:",
        "a model of other columns or hashing is taken",
    ),
    _mapping(
        "pairs-in-another-order",
        "rows * (rows - 1) // 2 + columns",
        "columns * (columns - 1) // 2 + rows",
        "weights of pairs land at other pairs",
    ),
    _reading(
        "state-of-any-model",
        "if not hmac.compare_digest(state.model, bytes.fromhex(start.model)):",
        "if False:",
        "the error of another model's state does not say so",
    ),
    _state(
        "optimizers-count-anew",
        "seen = self.optimizer_updates",
        "seen = self.step",
        "Adam's correction begins again in every run",
    ),
    _state(
        "rates-count-anew",
        "rate_factor(self._schedule, self.updates)",
        "rate_factor(self._schedule, self.step)",
        "a warm-up is gone through again in every run",
    ),
    _streaming(
        "more-follows",
        "if self._held or any(piece for piece in self._pieces):",
        "if False:",
        "a file may go on behind its end",
    ),
    _streaming(
        "any-contract",
        "if not hmac.compare_digest(seen, contract_digest):",
        "if False:",
        "a contract that nobody agreed on is parsed",
    ),
    _parents(
        "by-model-alone",
        "return one.head == start.receipt",
        "return one.outcome.model_digest == start.model",
        "another receipt than the contract names is the parent",
    ),
    _parents(
        "any-outcome",
        "if expected != seen:",
        "if False:",
        "a run whose outcome was another model is the parent",
    ),
    _parents(
        "strays-ignored",
        "    for path, one in left.items():\n",
        "    for path, one in ():\n",
        "a receipt that is of no run in the line is not refused",
    ),
    _policy(
        "start-for-anybody",
        "if giver is None or claims.node != giver.name:",
        "if giver is None:",
        "every node of the party gets the key of the start",
    ),
)
