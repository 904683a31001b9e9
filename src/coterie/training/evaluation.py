"""Evaluates the trained model on a data owner's own rows: only counts leave it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from coterie.contract import DataSection
from coterie.criteo.dataset import DataSet
from coterie.criteo.shards import Shard
from coterie.models.metrics import ScoreHistogram
from coterie.ps.evaluation import SPLITS, SplitCounts
from coterie.ps.messages import EVALUATION_BATCH
from coterie.training.session import FloatArray, IdArray, ServerSession
from coterie.training.step import WorkerStep, unique_rows

ScoreSink = Callable[[str, FloatArray, FloatArray], None]
"""Takes a split's name, its logits, float32 [n], and its labels, float32 [n]."""


def evaluate(
    session: ServerSession,
    data_set: DataSet,
    worker_step: WorkerStep,
    on_scores: ScoreSink | None = None,
) -> None:
    """Scores the validation and test examples, reports the counts, waits until all have.

    Args:
        session: With the parameter server, which has done the last step.
        data_set: This owner's data.
        worker_step: The compiled model.
        on_scores: Hears the single scores of these rows, which leave this process no other way;
            again, and the same, if the server starts anew.
    """
    session.through_restarts(
        lambda position: (
            None if position.finished else _evaluate(session, data_set, worker_step, on_scores)
        )
    )


def _evaluate(
    session: ServerSession,
    data_set: DataSet,
    worker_step: WorkerStep,
    on_scores: ScoreSink | None,
) -> None:
    dense_p = session.dense()
    shards = {"validation": data_set.validation, "test": data_set.test}
    counts: list[SplitCounts] = []
    for split in SPLITS:
        kept: list[tuple[FloatArray, FloatArray]] | None = None if on_scores is None else []
        histogram = _count(session, shards[split], dense_p, worker_step, kept)
        counts.append(SplitCounts(split, histogram))
        if on_scores is not None and kept:
            logits, labels = (np.concatenate(parts) for parts in zip(*kept, strict=True))
            on_scores(split, logits, labels)
    session.report(tuple(counts))


def _count(
    session: ServerSession,
    shard: Shard,
    dense_p: FloatArray,
    worker_step: WorkerStep,
    kept: list[tuple[FloatArray, FloatArray]] | None,
) -> ScoreHistogram:
    histogram = ScoreHistogram.empty()
    size = min(worker_step.batch, EVALUATION_BATCH)
    for start in range(0, shard.rows, size):
        batch = shard.batch(start, start + size)
        rows_ud, inverse_bm = _rows(session, batch.ids_bm, shard.data)
        embedded_bmd = np.take(rows_ud, inverse_bm, axis=0)
        logits = worker_step.scores(dense_p, batch.dense_bn, embedded_bmd)
        histogram = histogram + ScoreHistogram.count(logits, batch.labels_b)
        if kept is not None:
            kept.append((logits, batch.labels_b))
    return histogram


def _rows(session: ServerSession, ids_bm: IdArray, data: DataSection) -> tuple[FloatArray, IdArray]:
    """The rows of a batch as evaluation sees them, and where each example's are among them.

    Rows that nobody trained share their column's out-of-vocabulary row, which is its first.
    """
    offsets = np.array(data.column_offsets, np.int32)
    unique = unique_rows(np.concatenate([ids_bm, offsets[None, :]]))
    rows_ud, trained_u = session.lookup(unique.ids_u)
    columns_u = np.searchsorted(offsets, unique.ids_u, side="right") - 1
    firsts_u = unique.inverse_bm[-1][columns_u]
    return np.where(trained_u[:, None], rows_ud, rows_ud[firsts_u]), unique.inverse_bm[:-1]
