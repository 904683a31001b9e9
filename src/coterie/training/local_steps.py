"""Several batches on a worker's own copy of the model before it pushes.

The push is the change of the copy, start minus end, times the examples: the server divides the sum
over the workers by all their examples, so its optimizers' gradient is the mean change, weighted by
examples (McMahan et al., 2017; as a server gradient: Reddi et al., 2021). A row that a worker did
not touch did not change in its copy.

A push depends only on what the server sent and on the worker's examples, so that a worker that was
killed pushes the same again. State that lasts from step to step (sums of squares of dense
parameters, and all state of rows) comes with the parameters; its growth goes back with the push.
Momentum and Adam's moments of dense parameters start again in every step.
"""

from __future__ import annotations

import numpy as np

from coterie.contract import Contract
from coterie.data.examples import Batch
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.optimizers import dense_update, row_update
from coterie.ps.core.rates import rate_factor
from coterie.training.messages import Parameters
from coterie.training.step import UniqueRows, WorkerStep, sum_by_row, unique_rows


def local_delta(
    worker_step: WorkerStep,
    batch: Batch,
    unique: UniqueRows,
    parameters: Parameters,
    contract: Contract,
) -> Gradients:
    """Trains batch after batch on a copy of the model; returns the copy's change as a push.

    Every worker trains the same number of local batches; their size depends on its share of the
    step.

    Args:
        worker_step: The compiled step.
        batch: All examples of the step, several batches.
        unique: The distinct rows among them.
        parameters: The server's model and the state of its rows, from which the copy starts.
        contract: Gives the number of local batches, their optimizers and the schedule.

    Returns:
        The change and the growth of the state, both times the number of examples. Losses and
        correct predictions are those before each local update.
    """
    training = contract.training
    local, steps = training.local_training, training.local_steps
    assert local is not None
    dense_p, rows_ud = parameters.dense_p.copy(), parameters.rows_ud.copy()
    dense = dense_update(local.dense, dense_p.size, worker_step.shapes)
    if parameters.sums_s.size:
        dense.state[:] = parameters.sums_s
    rows = row_update(local.rows, *rows_ud.shape)
    if rows.state.size:
        rows.state[:] = parameters.state_us
    factor = rate_factor(training.schedule, contract.updates_before + parameters.step)
    mu = np.float32(local.proximal)
    examples, loss_sum, correct = len(batch.labels_b), 0.0, 0
    # Values that are not finite are refused later, where the error can name the step.
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(steps):
            part = slice(examples * i // steps, examples * (i + 1) // steps)
            if part.start == part.stop:
                continue
            seen = unique_rows(unique.inverse_bm[part])
            result = worker_step.gradients(
                dense_p,
                batch.dense_bn[part],
                np.take(rows_ud, unique.inverse_bm[part], axis=0),
                batch.labels_b[part],
            )
            mean = np.float32(1 / result.examples)
            gradient_p = result.dense_p * mean
            gradient_ud = sum_by_row(result.embedded_bmd, seen) * mean
            if mu:
                gradient_p += mu * (dense_p - parameters.dense_p)
                gradient_ud += mu * (rows_ud[seen.ids_u] - parameters.rows_ud[seen.ids_u])
            dense.apply(dense_p, gradient_p, step=i, factor=factor)
            taken = (contract.optimizer_updates_before + parameters.step) * steps + i
            rows.apply(rows_ud, seen.ids_u, gradient_ud, step=taken, factor=factor)
            loss_sum += result.loss_sum
            correct += result.correct
        weight = np.float32(examples)
        dense_changes, row_changes = [parameters.dense_p - dense_p], [parameters.rows_ud - rows_ud]
        if parameters.sums_s.size:
            dense_changes.append(dense.state - parameters.sums_s)
        if rows.state.size:
            row_changes.append(rows.state - parameters.state_us)
        return Gradients(
            examples=examples,
            loss_sum=loss_sum,
            correct=correct,
            dense_p=np.concatenate(dense_changes) * weight,
            row_ids_u=unique.ids_u,
            rows_ud=np.hstack(row_changes) * weight,
        )
