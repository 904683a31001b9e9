"""A worker's reports to its own host: means of its own steps over some time and enough examples."""

from __future__ import annotations

from coterie.ps.core.aggregation import Gradients
from coterie.runs.events import WorkerProgress

EVERY_SECONDS = 10.0


class OwnSteps:
    """Sums a worker's steps until its next report.

    Args:
        node: The worker.
        least_examples: Smallest number of examples behind a reported loss. None if the host must
            not know any: it owns the machine but no data.
        began: Start of training, in seconds of a monotonic clock.
    """

    def __init__(self, node: str, least_examples: int | None, began: float) -> None:
        self._node = node
        self._least = least_examples
        self._told_at = began
        self._examples = self._loss_examples = 0
        self._loss = 0.0

    def add(self, step: int, steps: int, pushed: Gradients, now: float) -> WorkerProgress | None:
        """Adds a step of this worker; returns the report, if it is time for one.

        Args:
            step: Steps of the run that are done, including this one.
            steps: Steps of the whole run.
            pushed: The worker's push.
            now: Time by the clock of ``began``.
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
