"""Who takes part in a run: pure bookkeeping of joins, incarnations and training examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coterie.contract import Contract
from coterie.errors import MessageRefused, StepRefused
from coterie.ps.ports import Caller

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
        data_sets: What a checkpoint remembers of each worker's data; a worker that comes back
            must still have the same.
    """

    def __init__(self, contract: Contract, data_sets: Mapping[str, TrainingData]) -> None:
        self.workers = tuple(node.name for node in contract.by_role("worker"))
        self._awaited = self.workers + tuple(node.name for node in contract.by_role("chief"))
        self._incarnations: dict[str, int] = {}
        self._data_sets = dict(data_sets)

    @property
    def missing(self) -> tuple[str, ...]:
        """Nodes that have not come yet, in contract order."""
        return tuple(node for node in self._awaited if node not in self._incarnations)

    @property
    def joined(self) -> tuple[str, ...]:
        """Nodes that have come, in contract order."""
        return tuple(node for node in self._awaited if node in self._incarnations)

    @property
    def data_sets(self) -> dict[str, TrainingData]:
        """Training data of each worker that has come."""
        return {worker: self._data_sets[worker] for worker in self.workers}

    def join(self, caller: Caller, train_examples: int, data_set_digest: bytes) -> bool:
        """Takes note of a node.

        Args:
            caller: Who comes.
            train_examples: What it brings; 0 for the chief.
            data_set_digest: SHA-256 of its training shard, 32 bytes; empty for the chief.

        Returns:
            Whether this incarnation is new here.

        Raises:
            MessageRefused: A worker without training data, or with other data than before.
            StepRefused: A newer incarnation of the node has already come.
        """
        if caller.role == "worker":
            if not 0 < train_examples <= MAX_EXAMPLES or len(data_set_digest) != 32:
                raise MessageRefused(
                    f"worker {caller.node} brings no usable training data",
                    expected=f"1 to {MAX_EXAMPLES} examples and their SHA-256",
                    seen=f"{train_examples} examples, a digest of {len(data_set_digest)} bytes",
                    remedy="prepare its data again",
                )
            brought = TrainingData(train_examples, data_set_digest.hex())
            known = self._data_sets.setdefault(caller.node, brought)
            if known != brought:
                raise MessageRefused(
                    f"worker {caller.node} came back with other training data",
                    expected=f"{known.examples} examples, SHA-256 {known.digest}",
                    seen=f"{brought.examples} examples, SHA-256 {brought.digest}",
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
                remedy="run the same version of Coterie on all nodes",
            )
        return self.workers.index(caller.node)
