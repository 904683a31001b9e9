"""The fused embedding table of one parameter server shard.

All columns' tables lie one after the other: global row = column offset + row. A shard keeps only
its own rows, packed (``parameters/sharding.py``). The first update creates a row; reading never
does.
"""

from __future__ import annotations

import numpy as np

from coterie.arrays import BoolArray, FloatArray, IdArray
from coterie.contract import Contract
from coterie.errors import EnvironmentUnfit, MessageRefused
from coterie.parameters.initial import InitialRows
from coterie.parameters.sharding import Sharding
from coterie.ps.core.merging import RowChange
from coterie.ps.core.optimizers import RowUpdate, row_update


class RowTable:
    """A shard's embedding rows with their optimizer state. All arguments are global rows.

    Args:
        contract: Gives sizes, seed and optimizer.
        shard: Number of this shard.
        shards: Number of shards.

    Attributes:
        rows: Number of global rows.
        dim: Width of a row.
    """

    def __init__(self, contract: Contract, shard: int = 0, shards: int = 1) -> None:
        data = contract.data
        self.rows = data.total_rows
        self.dim = contract.model.embedding_dim
        self._initial = InitialRows(contract)
        self._places = Sharding(self.rows, shards).places(shard)
        self._shares = shards > 1
        self._sends_state = contract.exchanged_width > self.dim
        count = self._places.count
        try:
            self._values = np.empty((count, self.dim), np.float32)
            self._trained = np.zeros(count, np.bool_)
            self._touched = np.zeros(count, np.bool_)
            self._update = row_update_of(contract, count)
        except MemoryError as error:
            raise EnvironmentUnfit(
                "the embedding table does not fit this machine",
                expected=f"memory for {count} rows of {self.dim} and their optimizer state",
                seen="too little",
                remedy="take a larger machine, more parameter servers, or smaller data.rows or "
                "model.embedding_dim",
            ) from error

    def read(self, rows: IdArray) -> FloatArray:
        """Rows for training; rows that were never updated have their initial values.

        Args:
            rows: int32 [n], each in range and of this shard.

        Returns:
            float32 [n, dim], a copy.

        Raises:
            MessageRefused: Another shard holds one of them.
        """
        places = self._own(rows)
        values: FloatArray = self._values.take(places, axis=0)
        new = np.flatnonzero(~self._trained[places])
        if new.size:
            values[new] = self._initial.of(rows[new])
        return values

    def read_for_training(self, rows: IdArray) -> FloatArray:
        """Rows, each followed by its state of the workers' own optimizer, if that has any.

        Returns:
            float32 [n, dim + width], a copy.

        Raises:
            MessageRefused: Another shard holds one of them.
        """
        values = self.read(rows)
        return np.hstack((values, self.state_of(rows))) if self._sends_state else values

    def trained(self, rows: IdArray) -> BoolArray:
        """Whether each row was ever updated, bool [n].

        Raises:
            MessageRefused: Another shard holds one of them.
        """
        return self._trained[self._own(rows)]

    def apply(
        self, rows: IdArray, gradient: FloatArray, *, step: int = 0, factor: float = 1.0
    ) -> None:
        """Updates rows with a step's mean gradient.

        Args:
            rows: Unique, int32 [u].
            gradient: float32 [u, dim]; as wide as the result of ``read_for_training``.
            step: Updates applied before this one.
            factor: Of the learning rate.

        Raises:
            MessageRefused: Another shard holds one of them.
        """
        places = self._own(rows)
        new = np.flatnonzero(~self._trained[places])
        if new.size:
            self._values[places[new]] = self._initial.of(rows[new])
            self._trained[places[new]] = True
        self._touched[places] = True
        self._update.apply(self._values, places, gradient, step=step, factor=factor)

    def trained_rows(self) -> IdArray:
        """The rows that were ever updated, ascending; int32 [n]."""
        return self._places.rows_at(np.flatnonzero(self._trained))

    def take_touched(self) -> IdArray:
        """The rows that were updated since the last call, ascending; int32 [n]."""
        places = np.flatnonzero(self._touched)
        self._touched[places] = False
        return self._places.rows_at(places)

    def values_of(self, rows: IdArray) -> FloatArray:
        """Values of trained rows, float32 [n, dim], a copy."""
        values: FloatArray = self._values.take(self._own(rows), axis=0)
        return values

    def state_of(self, rows: IdArray) -> FloatArray:
        """Optimizer state of rows, float32 [n, width], a copy; width 0 if there is none."""
        if not self._update.state.size:
            return np.zeros((rows.size, 0), np.float32)
        state: FloatArray = self._update.state.take(self._own(rows), axis=0)
        return state

    @property
    def state_width(self) -> int:
        """Scalars of optimizer state per row."""
        width: int = self._update.state.shape[1]
        return width

    def restore(self, rows: IdArray, values: FloatArray, state: FloatArray) -> None:
        """Restores rows of a checkpoint.

        Args:
            rows: int32 [n], unique.
            values: float32 [n, dim].
            state: Result of ``state_of``.

        Raises:
            MessageRefused: Another shard holds one of them.
        """
        places = self._own(rows)
        self._values[places] = values
        self._trained[places] = True
        if self._update.state.size:
            self._update.state[places] = state

    def owns(self, rows: IdArray) -> BoolArray:
        """Whether each row belongs to this shard, bool [n]."""
        own: BoolArray = self._places.of(rows) >= 0
        return own

    def begin_with(self, rows: IdArray, values: FloatArray) -> None:
        """Takes rows that were trained before the run; they count as updated.

        Args:
            rows: int32 [n], unique.
            values: float32 [n, dim].

        Raises:
            MessageRefused: Another shard holds one of them.
        """
        places = self._own(rows)
        self._values[places] = values
        self._trained[places] = self._touched[places] = True

    def begin_with_state(self, rows: IdArray, state: FloatArray) -> None:
        """Takes the optimizer state of such rows, float32 [n, width]."""
        self._update.state[self._own(rows)] = state

    def forget(self) -> None:
        """Resets the table to rows that were never updated."""
        if self._update.state.size:
            self._update.state[self._trained] = 0
        self._trained[:] = self._touched[:] = False

    def _own(self, rows: IdArray) -> IdArray:
        places = self._places.of(rows)
        if self._shares and rows.size and places.min() < 0:
            raise MessageRefused(
                "a row was asked of a shard that does not hold it",
                expected="rows of this shard",
                seen=f"row {int(rows[int(places.argmin())])}",
            )
        return places


def row_update_of(contract: Contract, count: int) -> RowUpdate:
    """The update of rows under the contract: the server's optimizer, or ``RowChange``."""
    training, dim = contract.training, contract.model.embedding_dim
    if contract.exchanged_width > dim and training.local_training is not None:
        return RowChange(training.rows, training.local_training.rows, count, dim)
    return row_update(training.rows, count, dim)
