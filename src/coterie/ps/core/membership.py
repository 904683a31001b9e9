"""Members of a run: pure bookkeeping of joins, incarnations and training examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coterie.contract import Contract
from coterie.errors import MessageRefused, StepRefused
from coterie.ps.caller import Caller

MAX_EXAMPLES = 2**40


@dataclass(frozen=True)
class TrainingData:
    """A worker's training data, as far as the server knows it.

    Attributes:
        examples: Number of examples; with the other workers' it fixes the schedule.
        digest: SHA-256 of its training examples, hex.
    """

    examples: int
    digest: str


class Membership:
    """The nodes of a run, and those that have joined.

    Args:
        contract: Names the nodes: the workers, in SDT the chief too.
        data_sets: Known training data of each worker; a restarted worker must have the same.

    Attributes:
        workers: Names, in contract order.
        left: Nodes that have left, each with the incarnation that left.
    """

    def __init__(self, contract: Contract, data_sets: Mapping[str, TrainingData]) -> None:
        self.workers = tuple(node.name for node in contract.by_role("worker"))
        self._awaited = self.workers + tuple(node.name for node in contract.by_role("chief"))
        self._incarnations: dict[str, int] = {}
        self._joined: set[str] = set()
        self._data_sets = dict(data_sets)
        self.left: dict[str, int] = {}

    @property
    def missing(self) -> tuple[str, ...]:
        """Nodes that have not joined yet, in contract order."""
        return tuple(n for n in self._awaited if n not in self._joined and n not in self.left)

    @property
    def joined(self) -> tuple[str, ...]:
        """Nodes that have joined, in contract order."""
        return tuple(node for node in self._awaited if node in self._joined)

    @property
    def remaining(self) -> tuple[str, ...]:
        """Nodes that still need the server, in contract order."""
        return tuple(node for node in self._awaited if node not in self.left)

    @property
    def data_sets(self) -> dict[str, TrainingData]:
        """Known training data of the workers, in contract order."""
        known = self._data_sets
        return {worker: known[worker] for worker in self.workers if worker in known}

    @property
    def knows_all_data(self) -> bool:
        """Whether every worker's examples are known, so that the schedule can be made."""
        return len(self.data_sets) == len(self.workers)

    def remember(self, data_sets: Mapping[str, TrainingData]) -> None:
        """Takes the workers' data from a checkpoint."""
        self._data_sets.update(data_sets)

    def leave(self, node: str, incarnation: int) -> None:
        """Records that a node has left; ignores nodes that the run does not wait for."""
        if node in self._awaited:
            self.left[node] = incarnation

    def begin_anew(self) -> None:
        """Forgets all joins after a return to a checkpoint; replaced incarnations stay replaced."""
        self._joined.clear()

    def join(self, caller: Caller, train_examples: int, data_set_digest: bytes) -> bool:
        """Registers a node.

        Args:
            caller: The node.
            train_examples: Number of its training examples; 0 for the chief.
            data_set_digest: SHA-256 of its training examples, 32 bytes; empty for the chief.

        Returns:
            Whether this process had not joined yet.

        Raises:
            MessageRefused: It is a worker without training data, or with other data than before.
            StepRefused: A newer incarnation of the node has already joined.
        """
        self.check_incarnation(caller)
        if caller.role == "worker":
            self._check_data(caller.node, train_examples, data_set_digest)
        new = caller.node not in self._joined or self.replaces(caller)
        self._incarnations[caller.node] = caller.incarnation
        self._joined.add(caller.node)
        return new

    def replaces(self, caller: Caller) -> bool:
        """Whether an older process of this node has joined since the last return to a checkpoint."""
        return caller.node in self._joined and self._incarnations[caller.node] < caller.incarnation

    def check_incarnation(self, caller: Caller) -> None:
        """Refuses a caller that a newer incarnation of the same node has replaced.

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

    def index_of(self, caller: Caller) -> int:
        """Place of a worker in the order of summation.

        Raises:
            MessageRefused: The caller is not a worker.
        """
        if caller.role != "worker":
            raise MessageRefused(
                f"node {caller.node} pushed gradients",
                expected="pushes by workers only",
                seen=f"role {caller.role}",
            )
        return self.workers.index(caller.node)

    def _check_data(self, worker: str, examples: int, digest: bytes) -> None:
        if not 0 < examples <= MAX_EXAMPLES or len(digest) != 32:
            raise MessageRefused(
                f"worker {worker} brings no usable training data",
                expected=f"1 to {MAX_EXAMPLES} examples and their SHA-256",
                seen=f"{examples} examples, a digest of {len(digest)} bytes",
                remedy="prepare its data again",
            )
        brought = TrainingData(examples, digest.hex())
        known = self._data_sets.setdefault(worker, brought)
        if known != brought:
            raise MessageRefused(
                f"worker {worker} came back with other training data",
                expected=f"{known.examples} examples, SHA-256 {known.digest}",
                seen=f"{brought.examples} examples, SHA-256 {brought.digest}",
                remedy="give it the data set that the run began with, or start a new run",
            )
