"""Who takes part in a run: pure bookkeeping of joins, incarnations and training examples."""

from __future__ import annotations

from coterie.contract import Contract
from coterie.errors import MessageRefused, StepRefused
from coterie.ps.ports import Caller

MAX_EXAMPLES = 2**40


class Membership:
    """The nodes that a run waits for, and those that have come.

    Args:
        contract: Names the nodes: the workers, in SDT the chief too.
        train_examples: What a checkpoint remembers of each worker's data; a worker that comes
            back must still have as many.
    """

    def __init__(self, contract: Contract, train_examples: dict[str, int]) -> None:
        self.workers = tuple(node.name for node in contract.by_role("worker"))
        self._awaited = self.workers + tuple(node.name for node in contract.by_role("chief"))
        self._incarnations: dict[str, int] = {}
        self._known_examples = dict(train_examples)

    @property
    def missing(self) -> tuple[str, ...]:
        """Nodes that have not come yet, in contract order."""
        return tuple(node for node in self._awaited if node not in self._incarnations)

    @property
    def joined(self) -> tuple[str, ...]:
        """Nodes that have come, in contract order."""
        return tuple(node for node in self._awaited if node in self._incarnations)

    @property
    def train_examples(self) -> dict[str, int]:
        """Training examples of each worker that has come."""
        return {worker: self._known_examples[worker] for worker in self.workers}

    def join(self, caller: Caller, train_examples: int) -> bool:
        """Takes note of a node.

        Args:
            caller: Who comes.
            train_examples: What it brings; 0 for the chief.

        Returns:
            Whether this incarnation is new here.

        Raises:
            MessageRefused: A worker without examples, or with another number than before.
            StepRefused: A newer incarnation of the node has already come.
        """
        if caller.role == "worker":
            if not 0 < train_examples <= MAX_EXAMPLES:
                raise MessageRefused(
                    f"worker {caller.node} brings an impossible number of training examples",
                    expected=f"1 to {MAX_EXAMPLES}",
                    seen=str(train_examples),
                    remedy="prepare its data again",
                )
            known = self._known_examples.setdefault(caller.node, train_examples)
            if known != train_examples:
                raise MessageRefused(
                    f"worker {caller.node} came back with other training data",
                    expected=f"{known} examples, as before",
                    seen=f"{train_examples} examples",
                    remedy="give it the data set that the run began with, or start a new run",
                )
        self.check_incarnation(caller)
        new = self._incarnations.get(caller.node) != caller.incarnation
        self._incarnations[caller.node] = caller.incarnation
        return new

    def check_incarnation(self, caller: Caller) -> None:
        """Refuses callers that a newer incarnation of themselves has replaced.

        Raises:
            StepRefused: There is a newer one.
        """
        known = self._incarnations.get(caller.node, 0)
        if caller.incarnation < known:
            raise StepRefused(
                f"node {caller.node} was replaced by a newer incarnation of itself",
                expected=f"incarnation {known}",
                seen=f"incarnation {caller.incarnation}",
                remedy="stop the older process",
            )

    def index_of(self, worker: str) -> int:
        """Place of a worker in the order of summation."""
        return self.workers.index(worker)
