"""Checks that a receipt's history is consistent with its contract: a pure state machine.

Every node that joined was attested before. A worker's data set stays the same within a run. A run
that goes back drops what came after. The outcome's steps, examples and absences follow from the
entries before it. If a server goes on from a checkpoint that the receipt does not have, entries are
missing: that is not refused but reported as a gap. Entries after the last checkpoint before a
    restart can be
removed without leaving a gap; ``explain`` says so for every receipt with a restart.
"""

from __future__ import annotations

from dataclasses import dataclass

from coterie.contract import Contract
from coterie.errors import DataError
from coterie.ps.core.schedule import Schedule
from coterie.ps.core.validations import steps_after
from coterie.receipts import entry_types
from coterie.receipts.entries import Entry


@dataclass(frozen=True)
class Brought:
    """A worker's training data: number of examples, and SHA-256 of the data, hex."""

    examples: int
    data_set: str


class History:
    """The history so far.

    Args:
        contract: The run's contract.

    Attributes:
        data_sets: Training data of this run, by worker.
        joins: Number of joins, by node.
        checkpoints: Number of checkpoints.
        last_checkpoint: Step and digest of the newest checkpoint.
        run: Random name of the run.
        start: What the run starts from, once that entry was taken.
        starts: Number of starts of the server's process.
        went_back: Steps to which the run went back, in order.
        refusals: Refusals that have entries of their own.
        failures: Errors with which the server ended.
        gaps: What is missing, in words.
        counted_only: What was only counted because there was too much of it, in words.
        outcome: The last entry, once it was taken.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._lead = contract.receipt_keeper().name
        self._roles = {node.name: node.role for node in contract.nodes}
        self._attested: set[tuple[str, int]] = set()
        self._known: dict[int, str] = {}
        self._out: list[tuple[str, int, int | None]] = []
        self._restarted = False
        self._runs: set[str] = set()
        self.run = ""
        self.start: entry_types.StartTaken | None = None
        self.data_sets: dict[str, Brought] = {}
        self.joins: dict[str, int] = {}
        self.checkpoints = 0
        self.last_checkpoint: tuple[int, str] | None = None
        self.starts = 0
        self.went_back: list[int] = []
        self.refusals = 0
        self.failures: list[str] = []
        self.gaps: list[str] = []
        self.counted_only: list[str] = []
        self.outcome: entry_types.Outcome | None = None

    def take(self, entry: Entry) -> None:  # noqa: PLR0912 (one line per kind)
        """Checks and takes the next entry.

        Raises:
            ReceiptRefused: It contradicts the contract or an earlier entry.
        """
        match entry.body:
            case entry_types.Server() as server:
                self._started(entry, server)
            case entry_types.AttestedNode() as node:
                self._role_of(entry, node.node)
                self._attested.add((node.node, node.incarnation))
            case entry_types.NodeJoined() as joined:
                self._joined(entry, joined)
            case entry_types.RunBegun(run=run):
                self._begun(entry, run)
            case entry_types.StartTaken() as start:
                self._start_taken(entry, start)
            case entry_types.ServerResumed() as resumed:
                self._resumed(resumed)
            case entry_types.ServerRestarted(step=step):
                self._cut(step)
            case entry_types.Checkpoint() as checkpoint:
                self._checkpoint(entry, checkpoint)
            case entry_types.NodeLeftOut(node=node_name, step=step):
                self._role_of(entry, node_name)
                self._out.append((node_name, step, None))
            case entry_types.NodeReturned(node=node_name, step=step):
                self._returned(entry, node_name, step)
            case entry_types.PeerRefused():
                self.refusals += 1
            case entry_types.ServerFailed(error=error, reason=reason):
                self.failures.append(f"{error}: {reason}")
            case entry_types.Outcome() as outcome:
                self._concluded(entry, outcome)
            case entry_types.ProgramBegun() | entry_types.ProgramEnded():
                raise entry.refused("the contract is not for a TensorFlow program", "none", "one")
            case _:
                pass

    def close(self) -> None:
        """Checks the end of a receipt; a run's always ends with the outcome (``read_receipt``).

        Raises:
            ReceiptRefused: Too much is missing.
        """

    # --- one kind each -------------------------------------------------------------------------

    def _started(self, entry: Entry, server: entry_types.Server) -> None:
        if (server.reason == "start") != (entry.index == 0):
            raise entry.refused(
                "the server starts at the wrong place",
                "a start first, restarts and renewals later",
                f"a {server.reason} as number {entry.index}",
            )
        if server.reason != "renewal":
            self.starts += 1
            self._restarted = True
        if server.lost:
            self.gaps.append(
                f"a crash before line {entry.line} left {server.lost} bytes of an entry, which are lost"
            )

    def _joined(self, entry: Entry, joined: entry_types.NodeJoined) -> None:
        role = self._role_of(entry, joined.node)
        if role == "ps":
            raise entry.refused("a parameter server joins", "a worker or the chief", joined.node)
        if (joined.node, joined.incarnation) not in self._attested:
            raise entry.refused(
                f"{joined.node} joined without having proved itself",
                f"an attested entry before it, for start {joined.incarnation} of {joined.node}",
            )
        self._check_going(entry, f"{joined.node} joins")
        self.joins[joined.node] = self.joins.get(joined.node, 0) + 1
        if role == "chief":
            if joined.examples or joined.data_set is not None:
                raise entry.refused("the chief brings training data", "none", "some")
            return
        if not joined.examples or joined.data_set is None:
            raise entry.refused(f"{joined.node} joined without data", "examples and their digest")
        brought = Brought(joined.examples, joined.data_set)
        known = self.data_sets.setdefault(joined.node, brought)
        entry.check_same(f"{joined.node} came back with other training data", known, brought)

    def _begun(self, entry: Entry, run: str) -> None:
        if run in self._runs:
            raise entry.refused("a run begins twice", "a run that is not told of yet", f"run {run}")
        # Otherwise an entry says already that the server went back.
        if self._restarted and self.run:
            self.went_back.append(0)
        self._runs.add(run)
        self.run, self._restarted = run, False
        self.data_sets.clear()
        self.start = None
        self._cut(0, tell=False)

    def _start_taken(self, entry: Entry, start: entry_types.StartTaken) -> None:
        """Checks that the sending node was attested, and that the start is the contract's."""
        self._check_going(entry, "a start is taken")
        agreed, giver = self._contract.start, self._contract.start_giver()
        if agreed is None or giver is None:
            raise entry.refused("a start is taken, but the contract has none", "none", "one")
        if giver.name not in {node for node, _ in self._attested}:
            raise entry.refused(
                f"{giver.name} gave the start without having proved itself",
                f"an attested entry of {giver.name} before it",
            )
        expected = entry_types.StartTaken(
            node=giver.name,
            model=agreed.model,
            contract=agreed.contract,
            step=agreed.step,
            optimizer_state=agreed.optimizer_state,
            receipt=agreed.receipt,
        )
        entry.check_same("the start is another one than the contract names", expected, start)
        self.start = start

    def _resumed(self, resumed: entry_types.ServerResumed) -> None:
        step, digest = resumed.step, resumed.digest
        known = self._known if resumed.run == self.run else {}
        self._runs.add(resumed.run)
        self.run, self._restarted = resumed.run, False
        if known.get(step) != digest:
            self.gaps.append(
                f"the server went on from a checkpoint of step {step} that this receipt does not "
                "tell of: entries before it are missing"
            )
        newest = max(self._known, default=0)
        if step < newest:
            self.went_back.append(step)
        self._cut(step, tell=False)
        self._known[step] = digest
        self.last_checkpoint = (step, digest)

    def _checkpoint(self, entry: Entry, checkpoint: entry_types.Checkpoint) -> None:
        self._check_going(entry, "a checkpoint is written")
        newest = max(self._known, default=0)
        if checkpoint.step <= newest:
            what = "a checkpoint is not newer than the one before it"
            raise entry.refused(what, f"a step after {newest}", f"step {checkpoint.step}")
        self._known[checkpoint.step] = checkpoint.digest
        self.checkpoints += 1
        self.last_checkpoint = (checkpoint.step, checkpoint.digest)

    def _returned(self, entry: Entry, node: str, step: int) -> None:
        open_ones = [out for out in self._out if out[0] == node and out[2] is None]
        if not open_ones and not self.gaps:
            raise entry.refused(f"{node} returns without having been left out", "a left_out entry")
        self._out = [(*out[:2], step) if out in open_ones else out for out in self._out]

    def _concluded(self, entry: Entry, outcome: entry_types.Outcome) -> None:
        self.outcome = outcome
        self._check_going(entry, "the run ends")
        nodes = len(self._contract.nodes)
        entry.check_same("the outcome is of another number of nodes", nodes, outcome.nodes)
        self._count_only(outcome.not_kept)
        if self._contract.start is not None and self.start is None and not self.gaps:
            raise entry.refused(
                "the run did not go on from what the contract names",
                f"a start entry before it, of model {self._contract.start.model}",
            )
        if not self.gaps:  # with a gap, the missing entries may explain a difference
            self._check_schedule(entry, outcome)
            self._check_absences(entry, outcome)
        self._check_end(entry, outcome)

    def _count_only(self, not_kept: dict[str, int]) -> None:
        for what, number in sorted(not_kept.items()):
            whom = "refusals" if what == "refused" else f"attestations of {what}"
            self.counted_only.append(f"{number} more {whom}")

    def _check_going(self, entry: Entry, what: str) -> None:
        """Checks that the server has begun or resumed a run since its start."""
        if self._restarted or not self.run:
            raise entry.refused(
                f"{what}, but no run was begun or resumed since the server's start",
                "a begun or resumed entry before it",
            )

    def _check_end(self, entry: Entry, outcome: entry_types.Outcome) -> None:
        """Checks that the outcome belongs to this run and its last checkpoint, even with gaps."""
        entry.check_same("the outcome is of another run", f"run {self.run}", f"run {outcome.run}")
        if self.last_checkpoint is None or self.last_checkpoint[0] != outcome.steps:
            raise entry.refused(
                "the last step's checkpoint is missing",
                f"a checkpoint of step {outcome.steps} before the outcome",
                self.last_checkpoint or "none",
            )
        what = "the outcome is of another checkpoint than the last one"
        entry.check_same(what, self.last_checkpoint[1], outcome.checkpoint)

    def _check_schedule(self, entry: Entry, outcome: entry_types.Outcome) -> None:
        workers = [node.name for node in self._contract.by_role("worker")]
        missing = [worker for worker in workers if worker not in self.data_sets]
        if missing:
            what = f"{', '.join(missing)[:200]} never joined"
            raise entry.refused(what, "every worker's data before the outcome")
        examples = [self.data_sets[worker].examples for worker in workers]
        try:
            schedule = Schedule.of(self._contract, examples)
        except DataError as error:
            what = "no run can train these data sets"
            raise entry.refused(what, error.expected, error.seen) from error
        following = steps_after(self._contract, schedule.steps_per_epoch, outcome.validations)
        if following is None:
            raise entry.refused(
                "the validations are not those that were due",
                "those of the contract's plan, until they end the training",
                f"after steps {', '.join(str(one.step) for one in outcome.validations)}",
            )
        steps, model_step = following
        entry.check_same(
            "steps and examples do not follow from the data sets",
            f"{steps} steps, {schedule.trained(steps)} examples",
            f"{outcome.steps} steps, {outcome.examples} examples",
        )
        what = "the model is of another step than the validations say"
        entry.check_same(what, f"step {model_step}", f"step {outcome.model_step}")

    def _check_absences(self, entry: Entry, outcome: entry_types.Outcome) -> None:
        told = {(a.worker, a.start, a.stop) for a in outcome.absences}
        lived = {out for out in self._out if out[1] < outcome.steps}
        what = "the outcome's absences are not those that were told"
        entry.check_same(what, sorted(lived, key=str), sorted(told, key=str))
        if told and self._contract.limits.quorum is None:
            what = "workers were left out, but the contract has no quorum"
            raise entry.refused(what, "nobody left out", sorted(told, key=str))

    # --- going back ----------------------------------------------------------------------------

    def _cut(self, step: int, *, tell: bool = True) -> None:
        """Drops what came after a step."""
        if tell:
            self.went_back.append(step)
        self._known = {known: digest for known, digest in self._known.items() if known <= step}
        self._out = [
            (node, start, None if stop is not None and stop >= step else stop)
            for node, start, stop in self._out
            if start < step
        ]
        if self.last_checkpoint is not None and self.last_checkpoint[0] > step:
            self.last_checkpoint = None

    def _role_of(self, entry: Entry, node: str) -> str:
        role = self._roles.get(node)
        if role is None or node == self._lead:
            others = f"one of {', '.join(sorted(self._roles.keys() - {self._lead}))}"
            raise entry.refused("it is about no other node of the contract", others, node)
        return role
