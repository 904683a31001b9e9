"""The fused embedding table of one parameter server shard.

All columns' tables lie one after the other: global row = column offset + row. A row comes into
being when it is updated first; reading never creates one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from coterie.contract import Contract
from coterie.errors import EnvironmentUnfit
from coterie.ps.initial import initial_rows
from coterie.ps.optimizers import row_update

FloatArray = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.int32]


class RowTable:
    """Embedding rows with their optimizer state.

    Args:
        contract: Gives sizes, seed and optimizer.

    Attributes:
        rows: Number of global rows.
        dim: Width of a row.
    """

    def __init__(self, contract: Contract) -> None:
        data = contract.data
        self.rows = data.total_rows
        self.dim = contract.model.embedding_dim
        self._seed = contract.training.seed
        self._offsets = np.array(data.column_offsets, np.int64)
        # The reference DLRM starts a table of n rows from U(-sqrt(1/n), sqrt(1/n)).
        self._bounds = np.sqrt(1 / np.array(data.table_rows)).astype(np.float32)
        try:
            self._values = np.empty((self.rows, self.dim), np.float32)
            self._trained = np.zeros(self.rows, np.bool_)
            self._update = row_update(contract.training.rows, self.rows, self.dim)
        except MemoryError as error:
            raise EnvironmentUnfit(
                "the embedding table does not fit this machine",
                expected=f"memory for {self.rows} rows of {self.dim} and their optimizer state",
                seen="too little",
                remedy="take a larger machine, or smaller data.rows or model.embedding_dim",
            ) from error

    def read(self, rows: IdArray) -> FloatArray:
        """Rows as training sees them: never updated ones have their initial values.

        Args:
            rows: Global rows, int32 [n], each in range.

        Returns:
            float32 [n, dim], a copy.
        """
        values = self._values[rows]
        new = np.flatnonzero(~self._trained[rows])
        if new.size:
            values[new] = self._initial(rows[new])
        return values

    def read_trained(self, rows: IdArray) -> FloatArray:
        """Rows as evaluation sees them: never updated ones share their out-of-vocabulary row.

        Args:
            rows: Global rows, int32 [n], each in range.

        Returns:
            float32 [n, dim], a copy.
        """
        first_rows = self._offsets[self._columns(rows)].astype(np.int32)
        return self.read(np.where(self._trained[rows], rows, first_rows))

    def apply(self, rows: IdArray, gradient: FloatArray) -> None:
        """Updates rows with a step's mean gradient.

        Args:
            rows: Unique global rows, int32 [u].
            gradient: float32 [u, dim].
        """
        new = rows[~self._trained[rows]]
        if new.size:
            self._values[new] = self._initial(new)
            self._trained[new] = True
        self._update.apply(self._values, rows, gradient)

    def trained_rows(self) -> IdArray:
        """The global rows that were ever updated, ascending; int32 [n]."""
        return np.flatnonzero(self._trained).astype(np.int32)

    def state_of(self, rows: IdArray) -> FloatArray:
        """Optimizer state of rows, float32 [n, width]; [0] where the optimizer has none."""
        return self._update.state[rows] if self._update.state.size else self._update.state

    def restore(self, rows: IdArray, values: FloatArray, state: FloatArray) -> None:
        """Puts back rows that a checkpoint holds.

        Args:
            rows: Global rows, int32 [n], ascending.
            values: float32 [n, dim].
            state: As ``state_of`` gave it.
        """
        self._values[rows] = values
        self._trained[rows] = True
        if self._update.state.size:
            self._update.state[rows] = state

    def _columns(self, rows: IdArray) -> npt.NDArray[np.int64]:
        return np.searchsorted(self._offsets, rows, side="right") - 1

    def _initial(self, rows: IdArray) -> FloatArray:
        bounds = self._bounds[self._columns(rows)]
        return initial_rows(self._seed, rows.astype(np.int64), bounds, self.dim)
