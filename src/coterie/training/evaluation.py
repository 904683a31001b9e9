"""Evaluates the trained model on a data owner's own rows; only counts leave the owner's node."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.contract import DataSection
from coterie.data.dataset import DataSet
from coterie.data.examples import Examples
from coterie.metrics.counting import ScoreCounter
from coterie.metrics.histogram import MAX_GROUPS, ScoreHistogram
from coterie.ps.core.evaluation import SPLITS, SplitCounts
from coterie.ps.wire.bounds import EVALUATION_BATCH
from coterie.training.client import ServerClient
from coterie.training.step import WorkerStep, unique_rows

ScoreSink = Callable[[str, FloatArray, FloatArray], None]
"""Takes a split's name, its logits, float32 [n], and its labels, float32 [n]."""

CountSink = Callable[[str, ScoreHistogram], None]
"""Takes a split's name and its counts."""


def evaluate(
    session: ServerClient,
    data_set: DataSet,
    worker_step: WorkerStep,
    on_scores: ScoreSink | None = None,
    on_counts: CountSink | None = None,
    *,
    exact: bool = False,
) -> None:
    """Scores the validation and test examples, reports the counts, waits for all owners' counts.

    Args:
        session: Client of the parameter server, which has applied the last step.
        data_set: This owner's data.
        worker_step: The compiled model.
        on_scores: Receives the single scores of these rows, which leave this process in no other
            way. Called again with the same scores if the server restarts.
        on_counts: Receives the counts, likewise.
        exact: Whether scores are counted one by one, however many: the server is in this process.
    """
    session.through_restarts(
        lambda position: (
            None
            if position.finished
            else _evaluate(session, data_set, worker_step, on_scores, on_counts, exact=exact)
        )
    )


def validate(
    session: ServerClient,
    examples: Examples,
    worker_step: WorkerStep,
    step: int,
    *,
    exact: bool = False,
) -> None:
    """Scores the validation examples with the model after a step, and reports the counts.

    Args:
        session: Client of the parameter server, which waits for the counts before it goes on.
        examples: This owner's validation examples.
        worker_step: The compiled model.
        step: The step, which is waited for.
        exact: As for ``evaluate``.

    Raises:
        StepRefused: The server is past this step, or training has ended: join again.
    """
    counter = _counter(exact=exact)
    for logits, labels in _scored(session, examples, worker_step, step):
        counter.add(logits, labels)
    session.report((SplitCounts("validation", counter.histogram()),), step)


def _evaluate(
    session: ServerClient,
    data_set: DataSet,
    worker_step: WorkerStep,
    on_scores: ScoreSink | None,
    on_counts: CountSink | None,
    *,
    exact: bool,
) -> None:
    parts = {"validation": data_set.validation, "test": data_set.test}
    counts: list[SplitCounts] = []
    for split in SPLITS:
        counter = _counter(exact=exact)
        kept: list[tuple[FloatArray, FloatArray]] = []
        for logits, labels in _scored(session, parts[split], worker_step):
            counter.add(logits, labels)
            if on_scores is not None:
                kept.append((logits, labels))
        histogram = counter.histogram()
        counts.append(SplitCounts(split, histogram))
        if on_counts is not None:
            on_counts(split, histogram)
        if on_scores is not None and kept:
            together = [np.concatenate(parts) for parts in zip(*kept, strict=True)]
            on_scores(split, *together)
    session.report(tuple(counts))


def _counter(*, exact: bool) -> ScoreCounter:
    return ScoreCounter(None if exact else MAX_GROUPS)


def _scored(
    session: ServerClient, examples: Examples, worker_step: WorkerStep, validates: int = 0
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Logits and labels of examples, batch by batch, with the model that ``lookup`` reads."""
    dense_p = session.dense(validates)
    size = min(worker_step.batch, EVALUATION_BATCH)
    for start in range(0, examples.rows, size):
        batch = examples.batch(start, start + size)
        rows_ud, inverse_bm = _rows(session, batch.ids_bm, examples.data, validates)
        embedded_bmd = np.take(rows_ud, inverse_bm, axis=0)
        yield worker_step.scores(dense_p, batch.dense_bn, embedded_bmd), batch.labels_b


def _rows(
    session: ServerClient, ids_bm: IdArray, data: DataSection, validates: int
) -> tuple[FloatArray, IdArray]:
    """The rows of a batch for evaluation, and the places of each example's rows among them.

    Untrained rows share their column's out-of-vocabulary row, which is the column's first.
    """
    offsets = np.array(data.column_offsets, np.int32)
    unique = unique_rows(np.concatenate([ids_bm, offsets[None, :]]))
    rows_ud, trained_u = session.lookup(unique.ids_u, validates)
    columns_u = np.searchsorted(offsets, unique.ids_u, side="right") - 1
    firsts_u = unique.inverse_bm[-1][columns_u]
    return np.where(trained_u[:, None], rows_ud, rows_ud[firsts_u]), unique.inverse_bm[:-1]
