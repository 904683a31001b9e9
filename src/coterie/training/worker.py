"""A worker's training loop: gradients on its own examples, one exchange with the server per step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coterie.contract import Contract
from coterie.data.examples import Batch, Examples
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.divergence import check_converging
from coterie.ps.core.schedule import Lane
from coterie.ps.core.validations import ValidationPlan
from coterie.runs.events import WorkerTimes
from coterie.spans import Span, Tracer, untraced
from coterie.training.client import Position, ServerClient
from coterie.training.local_steps import local_delta
from coterie.training.messages import Parameters
from coterie.training.order import RowOrder
from coterie.training.step import UniqueRows, WorkerStep, sum_by_row, unique_rows

_Lap = Literal["prepare", "compute", "exchange"]


@dataclass(frozen=True)
class Prepared:
    """A step's examples, prepared during the computation of the step before.

    Attributes:
        step: The step; the run's last step plus one if no examples are left.
        batch: Its examples, possibly none.
        unique: The distinct rows among them.
    """

    step: int
    batch: Batch
    unique: UniqueRows


class Trainer:
    """Trains one worker's examples.

    Args:
        session: Client of the parameter server.
        examples: This worker's training examples.
        worker_step: The compiled step.
        contract: Gives the training section, and the updates that the start's model and optimizers
            hold.
        worker: Place of the worker in contract order.
        validate: Validates the model after a given step on this worker's own rows; absent if it
            owns none.
        on_step: Called after each step that this worker took part in, with the number of steps
            done, the number of all steps, and the worker's push.
        monotonic: Monotonic clock, in seconds.
        tracer: Takes the spans of steps and validations.
    """

    def __init__(
        self,
        session: ServerClient,
        examples: Examples,
        worker_step: WorkerStep,
        contract: Contract,
        *,
        worker: int,
        validate: Callable[[int], None] | None = None,
        on_step: Callable[[int, int, Gradients], None] = lambda *_: None,
        monotonic: Callable[[], float] = time.monotonic,
        tracer: Tracer = untraced,
    ) -> None:
        self._on_step = on_step
        self._session = session
        self._examples = examples
        training = contract.training
        self._order = RowOrder(training.order, training.seed, worker, contract.updates_before)
        self._worker_step = worker_step
        self._contract = contract
        self._validate = validate
        self._monotonic = monotonic
        self._tracer = tracer
        self._steps = 0
        self._seconds: dict[_Lap, float] = {"prepare": 0.0, "compute": 0.0, "exchange": 0.0}
        self._laps: list[tuple[_Lap, float]] = []  # of the present step

    def train(self) -> None:
        """Trains until the run's last step; joins again whenever the server restarts.

        Raises:
            CoterieError: The server refuses this worker, or cannot be reached any more.
        """
        self._session.through_restarts(self._train_from)

    def times(self, node: str) -> WorkerTimes:
        """The times spent so far, by kind of work."""
        exchanges = self._session.times
        return WorkerTimes(
            node=node,
            steps=self._steps,
            prepare=self._seconds["prepare"],
            compute=self._seconds["compute"],
            transport=exchanges.transport,
            server=exchanges.server,
            wait=exchanges.wait,
        )

    def _train_from(self, position: Position) -> None:
        """Trains from the run's position to its last step."""
        lane, session = position.lane, self._session
        if position.finished:
            return
        with _prefetcher(self._examples, lane, self._order) as prepare:
            current = prepare(position.step).result()
            self._validate_until(
                lane, current.step, after=max(position.validated, position.step - 1)
            )
            parameters = session.pull(current.step, current.unique.ids_u)
            while current.step < lane.steps:
                self._laps.clear()
                upcoming = prepare(current.step + 1)
                with self._lap("compute"):
                    gradients = self._compute(current, parameters)
                with self._lap("prepare"):
                    following = upcoming.result()
                adjacent = following.step == current.step + 1 < lane.steps
                ids_u = following.unique.ids_u if adjacent else np.zeros(0, np.int32)
                with self._lap("exchange"):
                    parameters = session.push(current.step, gradients, ids_u)
                seconds = sum(seconds for _, seconds in self._laps)
                self._tracer(Span("step", seconds, current.step + 1, parts=tuple(self._laps)))
                self._on_step(current.step + 1, lane.steps, gradients)
                self._validate_until(lane, following.step, after=current.step)
                # The steps in between are other workers', or no step is left.
                if not adjacent:
                    parameters = session.pull(following.step, following.unique.ids_u)
                current = following
                self._steps += 1

    def _validate_until(self, lane: Lane, step: int, *, after: int) -> None:
        """Runs the validations that are due after steps ``after`` + 1 to ``step``."""
        if self._validate is not None:
            plan = ValidationPlan.of(self._contract, lane.steps_per_epoch)
            for due in plan.between(after, step):
                began = self._monotonic()
                self._validate(due)
                self._tracer(Span("validation", self._monotonic() - began, due))

    def _compute(self, prepared: Prepared, parameters: Parameters) -> Gradients:
        gradients = self._gradients(prepared, parameters)
        check_converging(prepared.step, gradients)
        return gradients

    def _gradients(self, prepared: Prepared, parameters: Parameters) -> Gradients:
        if self._contract.training.local_training is None:
            return gradients_of(self._worker_step, prepared, parameters)
        return local_delta(
            self._worker_step, prepared.batch, prepared.unique, parameters, self._contract
        )

    @contextmanager
    def _lap(self, work: _Lap) -> Iterator[None]:
        """Measures a part of a step."""
        began = self._monotonic()
        try:
            yield
        finally:
            seconds = self._monotonic() - began
            self._laps.append((work, seconds))
            self._seconds[work] += seconds


def gradients_of(worker_step: WorkerStep, prepared: Prepared, parameters: Parameters) -> Gradients:
    """Gradients of the sum of losses over a step's examples."""
    batch, unique = prepared.batch, prepared.unique
    result = worker_step.gradients(
        parameters.dense_p,
        batch.dense_bn,
        np.take(parameters.rows_ud, unique.inverse_bm, axis=0),
        batch.labels_b,
    )
    return Gradients(
        examples=result.examples,
        loss_sum=result.loss_sum,
        correct=result.correct,
        dense_p=result.dense_p,
        row_ids_u=unique.ids_u,
        rows_ud=sum_by_row(result.embedded_bmd, unique),
    )


class _Prepare:
    """Reads and sorts a step's examples on a thread of its own."""

    def __init__(
        self, examples: Examples, lane: Lane, order: RowOrder, pool: ThreadPoolExecutor
    ) -> None:
        self._examples = examples
        self._lane = lane
        self._order = order
        self._pool = pool

    def __call__(self, step: int) -> Future[Prepared]:
        return self._pool.submit(self._prepare, self._lane.next_step(step))

    def _prepare(self, step: int) -> Prepared:
        left = step < self._lane.steps
        batch = (
            self._order.batch(self._examples, self._lane, step)
            if left
            else self._examples.batch(0, 0)
        )
        return Prepared(step, batch, unique_rows(batch.ids_bm))


@contextmanager
def _prefetcher(examples: Examples, lane: Lane, order: RowOrder) -> Iterator[_Prepare]:
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        yield _Prepare(examples, lane, order, pool)
