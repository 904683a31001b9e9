"""Scores examples with a trained model, bit for bit as workers do in evaluation."""

from __future__ import annotations

import numpy as np

from coterie.arrays import FloatArray
from coterie.data.examples import Batch
from coterie.ps.wire.bounds import EVALUATION_BATCH
from coterie.trained.trained_model import TrainedModel
from coterie.training.step import WorkerStep, unique_rows


class Scorer:
    """A trained model, ready to score.

    Args:
        model: The model.

    Raises:
        EnvironmentUnfit: TensorFlow already runs with other settings in this process.
    """

    def __init__(self, model: TrainedModel) -> None:
        contract = model.contract
        self._model = model
        self._step = WorkerStep(
            contract.model, contract.data, contract.training.batch, contract.training.threads
        )
        self._size = min(contract.training.batch, EVALUATION_BATCH)

    def logits(self, batch: Batch) -> FloatArray:
        """Logits of any number of examples, float32 [b].

        Args:
            batch: Examples, as ``encode_rows`` or ``Examples`` give them.
        """
        logits = np.empty(len(batch.ids_bm), np.float32)
        for start in range(0, len(logits), self._size):
            part = slice(start, start + self._size)
            unique = unique_rows(batch.ids_bm[part])
            rows_ud = self._model.rows(unique.ids_u)
            logits[part] = self._step.scores(
                self._model.dense,
                batch.dense_bn[part],
                np.take(rows_ud, unique.inverse_bm, axis=0),
            )
        return logits


def probabilities(logits: FloatArray) -> FloatArray:
    """The click probabilities of logits, float32 [b]."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    return (np.where(logits >= 0, 1.0, small) / (1.0 + small)).astype(np.float32)
