"""Who takes part in a run: pure bookkeeping of joins, incarnations and training examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coterie.contract import Contract
from coterie.errors import MessageRefused, StepRefused
from coterie.ps.caller import Caller

MAX_EXAMPLES = 2**40


@dataclass(frozen=True)
class TrainingData:
    """What a worker trains on, as far as the server knows it.

    Attributes:
        examples: Number of examples; with the other workers' it fixes the schedule.
        digest: SHA-256 of the training shard, in hex.
    """

    examples: int
    digest: str


class Membership:
    """The nodes that a run waits for, and those that have come.

    Args:
        contract: Names the nodes: the workers, in SDT the chief too.
        data_sets: What is known of each worker's data; a worker that comes back must still have
            the same.

    Attributes:
        workers: Names, in contract order.
        left: Nodes that have got all that they need, and the incarnation that said so.
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
        """Nodes that have not come yet, in contract order."""
        return tuple(n for n in self._awaited if n not in self._joined and n not in self.left)

    @property
    def joined(self) -> tuple[str, ...]:
        """Nodes that have come, in contract order."""
        return tuple(node for node in self._awaited if node in self._joined)

    @property
    def remaining(self) -> tuple[str, ...]:
        """Nodes that still need the server, in contract order."""
        return tuple(node for node in self._awaited if node not in self.left)

    @property
    def data_sets(self) -> dict[str, TrainingData]:
        """Training data of each worker that is known, in contract order."""
        known = self._data_sets
        return {worker: known[worker] for worker in self.workers if worker in known}

    @property
    def knows_all_data(self) -> bool:
        """Whether the schedule can be made: every worker's examples are known."""
        return len(self.data_sets) == len(self.workers)

    def remember(self, data_sets: Mapping[str, TrainingData]) -> None:
        """Takes over what a checkpoint knows of the workers' data."""
        self._data_sets.update(data_sets)

    def leave(self, node: str, incarnation: int) -> None:
        """Takes note that a node needs nothing any more; nodes that nobody awaits do not matter."""
        if node in self._awaited:
            self.left[node] = incarnation

    def begin_anew(self) -> None:
        """Forgets who has joined: the server went back to a checkpoint. Old processes stay old."""
        self._joined.clear()

    def join(self, caller: Caller, train_examples: int, data_set_digest: bytes) -> bool:
        """Takes note of a node.

        Args:
            caller: Who comes.
            train_examples: What it brings; 0 for the chief.
            data_set_digest: SHA-256 of its training shard, 32 bytes; empty for the chief.

        Returns:
            Whether it is new here: a process that had not joined yet.

        Raises:
            MessageRefused: A worker without training data, or with other data than before.
            StepRefused: A newer incarnation of the node has already come.
        """
        self.check_incarnation(caller)
        if caller.role == "worker":
            self._check_data(caller.node, train_examples, data_set_digest)
        new = (
            caller.node not in self._joined
            or self._incarnations.get(caller.node) != caller.incarnation
        )
        self._incarnations[caller.node] = caller.incarnation
        self._joined.add(caller.node)
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

    def index_of(self, caller: Caller) -> int:
        """Place of a worker in the order of summation.

        Raises:
            MessageRefused: The caller is no worker.
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
