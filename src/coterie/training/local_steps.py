"""Several batches on a worker's own copy of the model before it pushes (federated averaging).

The push is the change of the copy, start minus end, times the examples: the server divides the sum
over the workers by all their examples, so its optimizers' gradient is the mean change, weighted by
examples (McMahan et al., 2017; as a server gradient: Reddi et al., 2021). A row that a worker did
not touch did not change in its copy.
"""

from __future__ import annotations

import numpy as np

from coterie.criteo.shards import Batch
from coterie.ps.aggregation import Gradients
from coterie.training.messages import Parameters
from coterie.training.step import UniqueRows, WorkerStep, sum_by_row, unique_rows


def local_delta(
    worker_step: WorkerStep,
    batch: Batch,
    unique: UniqueRows,
    parameters: Parameters,
    *,
    steps: int,
    learning_rate: float,
) -> Gradients:
    """Trains batch after batch by SGD on a copy; gives the copy's change as a push.

    Args:
        worker_step: The compiled step.
        batch: All examples of the step, several batches.
        unique: The distinct rows among them.
        parameters: The server's model: where the copy starts.
        steps: Local batches; every worker has as many, of a size by its share of the step.
        learning_rate: Of the local SGD, on each batch's mean gradient.

    Returns:
        The change times the number of examples; losses and correct
        predictions are those met on the way.
    """
    dense_p, rows_ud = parameters.dense_p.copy(), parameters.rows_ud.copy()
    examples, loss_sum, correct = len(batch.labels_b), 0.0, 0
    for i in range(steps):
        part = slice(examples * i // steps, examples * (i + 1) // steps)
        if part.start == part.stop:
            continue
        local = unique_rows(unique.inverse_bm[part])
        result = worker_step.gradients(
            dense_p,
            batch.dense_bn[part],
            np.take(rows_ud, unique.inverse_bm[part], axis=0),
            batch.labels_b[part],
        )
        rate = np.float32(learning_rate / result.examples)
        dense_p -= rate * result.dense_p
        rows_ud[local.ids_u] -= rate * sum_by_row(result.embedded_bmd, local)
        loss_sum += result.loss_sum
        correct += result.correct
    weight = np.float32(examples)
    return Gradients(
        examples=examples,
        loss_sum=loss_sum,
        correct=correct,
        dense_p=(parameters.dense_p - dense_p) * weight,
        row_ids_u=unique.ids_u,
        rows_ud=(parameters.rows_ud - rows_ud) * weight,
    )
