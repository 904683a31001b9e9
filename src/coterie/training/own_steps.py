"""What a worker tells its own host of its own steps: means over some time and enough examples."""

from __future__ import annotations

from coterie.ps.core.aggregation import Gradients
from coterie.runs.events import WorkerProgress

EVERY_SECONDS = 10.0


class OwnSteps:
    """Sums a worker's steps until they are to be told.

    Args:
        node: The worker.
        least_examples: Of which a loss is a mean; None where the host is not to know any: it rents the
            machine out, and owns no data.
        began: When training began: seconds of a clock that only goes forward.
    """

    def __init__(self, node: str, least_examples: int | None, began: float) -> None:
        self._node = node
        self._least = least_examples
        self._told_at = began
        self._examples = self._loss_examples = 0
        self._loss = 0.0

    def add(self, step: int, steps: int, pushed: Gradients, now: float) -> WorkerProgress | None:
        """Notes a step of this worker; what is to be told, if it is time to.

        Args:
            step: Steps of the run that are done with it.
            steps: Of the whole run.
            pushed: What it pushed.
            now: By the clock of ``began``.
        """
        self._examples += pushed.examples
        self._loss += pushed.loss_sum
        self._loss_examples += pushed.examples
        seconds = now - self._told_at
        if seconds < EVERY_SECONDS and step < steps:
            return None
        loss = None
        if self._least is not None and self._loss_examples >= self._least:
            loss = self._loss / self._loss_examples
            self._loss, self._loss_examples = 0.0, 0
        speed = self._examples / seconds if seconds > 0 else None
        self._told_at, self._examples = now, 0
        return WorkerProgress(self._node, step, steps, loss, speed)
