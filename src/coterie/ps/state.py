"""The model on the parameter server: dense parameters, rows, optimizer state, and the step."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from coterie.contract import Contract
from coterie.ps.aggregation import Gradients
from coterie.ps.initial import initial_dense
from coterie.ps.optimizers import dense_update
from coterie.ps.table import RowTable

FloatArray = npt.NDArray[np.float32]


class ModelState:
    """Everything that training changes. Not thread-safe: the service guards it.

    Args:
        contract: Gives sizes, seed and optimizers.

    Attributes:
        step: Updates applied so far.
        epoch_loss: Sum of losses since the epoch began, float64.
        epoch_examples: Examples since the epoch began.
        dense: float32 [P].
        optimizer: Of the dense parameters.
        table: The embedding rows.
    """

    def __init__(self, contract: Contract) -> None:
        parameters = contract.model.dense_parameters(contract.data)
        self._seed = contract.training.seed
        self.step = 0
        self.epoch_loss = 0.0
        self.epoch_examples = 0
        self.dense: FloatArray = initial_dense(self._seed, parameters)
        self.optimizer = dense_update(contract.training.dense, self.dense.size)
        self.table = RowTable(contract)

    def apply(self, gradients: Gradients, *, first_of_epoch: bool) -> None:
        """Applies one step's mean gradients and counts the step.

        Args:
            gradients: As ``mean_gradients`` gives them; the dense part is used up.
            first_of_epoch: Whether the epoch's loss starts anew.
        """
        if first_of_epoch:
            self.epoch_loss, self.epoch_examples = 0.0, 0
        self.optimizer.apply(self.dense, gradients.dense_p)
        self.table.apply(gradients.row_ids_u, gradients.rows_ud)
        self.epoch_loss += gradients.loss_sum
        self.epoch_examples += gradients.examples
        self.step += 1

    def digest(self) -> bytes:
        """SHA-256 over seed, step, dense parameters and updated rows in global order; 32 bytes."""
        rows = self.table.trained_rows()
        digest = hashlib.sha256(b"coterie model 1\0")
        for count in (self._seed, self.step, self.dense.size, rows.size, self.table.dim):
            digest.update(count.to_bytes(8, "little"))
        digest.update(self.dense.astype("<f4", copy=False).tobytes())
        digest.update(rows.astype("<i4", copy=False).tobytes())
        for start in range(0, rows.size, 65_536):
            digest.update(self.table.read(rows[start : start + 65_536]).astype("<f4").tobytes())
        return digest.digest()
