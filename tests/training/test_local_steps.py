"""Local steps against federated averaging written out in float64 with a model of one's own."""

from __future__ import annotations

import numpy as np
import pytest

from coterie.criteo.shards import Batch
from coterie.training.local_steps import local_delta
from coterie.training.messages import Parameters
from coterie.training.step import StepGradients, WorkerStep, unique_rows

DIM, COLUMNS, NUMERIC = 2, 3, 4
SIZE = 8  # examples per local batch
STEPS = 3
RATE = 0.05


class QuadraticStep:
    """A WorkerStep of a model whose gradients one can write down: a linear score, squared error."""

    def gradients(
        self,
        dense_p: np.ndarray[tuple[int], np.dtype[np.float32]],
        dense_bn: np.ndarray[tuple[int, int], np.dtype[np.float32]],
        embedded_bmd: np.ndarray[tuple[int, int, int], np.dtype[np.float32]],
        labels_b: np.ndarray[tuple[int], np.dtype[np.float32]],
    ) -> StepGradients:
        score = dense_bn @ dense_p + embedded_bmd.sum(axis=(1, 2))
        error = (score - labels_b).astype(np.float32)
        return StepGradients(
            examples=len(labels_b),
            loss_sum=float((error**2).sum() / 2),
            correct=int(((score > 0) == (labels_b > 0)).sum()),
            dense_p=(error[:, None] * dense_bn).sum(axis=0),
            embedded_bmd=np.broadcast_to(error[:, None, None], embedded_bmd.shape).copy(),
        )


def batch_of(examples: int, seed: int = 1) -> Batch:
    random = np.random.default_rng(seed)
    return Batch(
        labels_b=(random.random(examples) < 0.3).astype(np.float32),
        dense_bn=random.random((examples, NUMERIC)).astype(np.float32),
        ids_bm=random.integers(0, 5, (examples, COLUMNS)).astype(np.int32) * 3,
    )


def reference(batch: Batch, dense: np.ndarray, rows: dict[int, np.ndarray]) -> float:
    """SGD on the mean gradient of batch after batch, in float64; changes what it is given."""
    loss = 0.0
    for part in np.array_split(np.arange(len(batch.labels_b)), STEPS):
        labels, numeric = batch.labels_b[part], batch.dense_bn[part].astype(np.float64)
        ids = batch.ids_bm[part]
        score = numeric @ dense + np.array([sum(rows[i].sum() for i in line) for line in ids])
        error = score - labels
        loss += float((error**2).sum() / 2)
        change = {row: np.zeros(DIM) for row in rows}
        for one, line in zip(error, ids, strict=True):
            for row in line:
                change[int(row)] += one
        dense -= RATE / len(labels) * (error[:, None] * numeric).sum(axis=0)
        for row in rows:
            rows[row] -= RATE / len(labels) * change[row]
    return loss


@pytest.mark.parametrize("examples", [STEPS, 3 * SIZE])
def test_a_push_is_the_change_of_the_workers_copy_times_its_examples(examples: int) -> None:
    batch = batch_of(examples)
    unique = unique_rows(batch.ids_bm)
    random = np.random.default_rng(7)
    start = Parameters(
        step=0,
        dense_p=random.random(NUMERIC).astype(np.float32),
        rows_ud=random.random((unique.ids_u.size, DIM)).astype(np.float32),
    )
    dense = start.dense_p.astype(np.float64)
    rows = {
        int(row): values.astype(np.float64)
        for row, values in zip(unique.ids_u, start.rows_ud, strict=True)
    }
    loss = reference(batch, dense, rows)

    pushed = local_delta(
        _as_step(QuadraticStep()), batch, unique, start, steps=STEPS, learning_rate=RATE
    )

    assert pushed.examples == examples
    assert pushed.loss_sum == pytest.approx(loss, rel=1e-5)
    np.testing.assert_array_equal(pushed.row_ids_u, unique.ids_u)
    np.testing.assert_allclose(pushed.dense_p, (start.dense_p - dense) * examples, rtol=1e-4)
    after = np.array([rows[int(row)] for row in unique.ids_u])
    np.testing.assert_allclose(pushed.rows_ud, (start.rows_ud - after) * examples, rtol=1e-4)


def test_one_local_step_is_the_gradient_times_the_rate() -> None:
    batch = batch_of(SIZE)
    unique = unique_rows(batch.ids_bm)
    start = Parameters(0, np.ones(NUMERIC, np.float32), np.ones((unique.ids_u.size, DIM), "f4"))
    step = QuadraticStep()
    embedded = np.take(start.rows_ud, unique.inverse_bm, axis=0)
    gradient = step.gradients(start.dense_p, batch.dense_bn, embedded, batch.labels_b).dense_p

    pushed = local_delta(_as_step(step), batch, unique, start, steps=1, learning_rate=RATE)

    np.testing.assert_allclose(pushed.dense_p, RATE * gradient, rtol=1e-4)


def test_the_parameters_that_it_starts_from_stay() -> None:
    batch = batch_of(2 * SIZE)
    unique = unique_rows(batch.ids_bm)
    start = Parameters(0, np.ones(NUMERIC, np.float32), np.ones((unique.ids_u.size, DIM), "f4"))
    local_delta(_as_step(QuadraticStep()), batch, unique, start, steps=2, learning_rate=RATE)
    assert (start.dense_p == 1).all()
    assert (start.rows_ud == 1).all()


def _as_step(step: QuadraticStep) -> WorkerStep:
    return step  # type: ignore[return-value]  # only ``gradients`` is called
