"""The model on a parameter server shard: dense parameters, rows, optimizer state, and the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coterie.arrays import FloatArray, IdArray
from coterie.contract import Contract, DenseParameter, TrainingSection
from coterie.parameters.initial import initial_dense
from coterie.parameters.sharding import SliceDigests
from coterie.ps.core.aggregation import Gradients, is_finite
from coterie.ps.core.merging import DenseChange, merge
from coterie.ps.core.optimizers import DenseUpdate, dense_update
from coterie.ps.core.rates import rate_factor
from coterie.ps.core.table import RowTable, row_update_of

_CHUNK_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A copy of the changes since the last snapshot: one segment of a checkpoint.

    Attributes:
        step: Updates applied.
        epoch_loss: Sum of losses since the epoch began.
        epoch_examples: Examples since the epoch began.
        dense_p: float32 [P]; [0] but on shard 0.
        dense_state: The dense optimizer's state, float32 [S].
        rows: Global rows, int32 [n], ascending.
        values: float32 [n, dim].
        row_state: float32 [n, width].
    """

    step: int
    epoch_loss: float
    epoch_examples: int
    dense_p: FloatArray
    dense_state: FloatArray
    rows: IdArray
    values: FloatArray
    row_state: FloatArray


class ModelState:
    """Everything that training changes on a shard. Not thread-safe: the driver's lock guards it.

    Args:
        contract: Gives sizes, seed and optimizers.
        shard: Number of this shard; the dense parameters are on shard 0.
        shards: Number of shards.

    Attributes:
        step: Updates applied so far in this run.
        epoch_loss: Sum of losses since the epoch began, float64.
        epoch_examples: Examples since the epoch began.
        dense: float32 [P]; [0] but on shard 0.
        optimizer: Optimizer of the dense parameters.
        table: The shard's embedding rows.
    """

    def __init__(self, contract: Contract, shard: int = 0, shards: int = 1) -> None:
        parameters = contract.model.dense_parameters(contract.data) if shard == 0 else ()
        self._shard, self._shards = shard, shards
        self._schedule = contract.training.schedule
        self._local = contract.training.local_training
        self._updates_before = contract.updates_before
        self._optimizer_updates_before = contract.optimizer_updates_before
        self.step = 0
        self.epoch_loss = 0.0
        self.epoch_examples = 0
        self.dense: FloatArray = initial_dense(contract.training.seed, parameters)
        self.optimizer = _optimizer_of(contract.training, parameters)
        self.table = RowTable(contract, shard, shards)

    @property
    def updates(self) -> int:
        """Number of updates that the model holds: those of the start, and this run's."""
        return self._updates_before + self.step

    @property
    def optimizer_updates(self) -> int:
        """Updates that the optimizers' state has seen."""
        return self._optimizer_updates_before + self.step

    def dense_for_training(self) -> bytes:
        """The dense parameters, then the sums of the workers' own optimizer, float32."""
        kept = self.optimizer.kept if isinstance(self.optimizer, DenseChange) else b""
        return self.dense.tobytes() + bytes(kept)

    def merged(self, pushes: Sequence[Gradients], weights: Sequence[float]) -> Gradients:
        """The merged pushes of a step; see ``merge``."""
        return merge(self._local, pushes, weights, self.table.dim, self.table.state_of)

    def apply(self, gradients: Gradients, *, first_of_epoch: bool) -> None:
        """Applies one step's mean gradients and counts the step.

        Args:
            gradients: The result of ``merged``; its dense part is overwritten.
            first_of_epoch: Whether the epoch's loss starts again.
        """
        # If workers have their own rates, the schedule applies to those: training/local_steps.py.
        factor = 1.0 if self._local else rate_factor(self._schedule, self.updates)
        seen = self.optimizer_updates
        self.optimizer.apply(self.dense, gradients.dense_p, step=seen, factor=factor)
        self.table.apply(gradients.row_ids_u, gradients.rows_ud, step=seen, factor=factor)
        self._count(gradients.loss_sum, gradients.examples, first_of_epoch=first_of_epoch)

    def update(
        self, pushes: Sequence[Gradients], weights: Sequence[float], *, first_of_epoch: bool
    ) -> bool:
        """Applies a step's pushes, or changes nothing if their sum overflows.

        Args:
            pushes: In worker order, at least one.
            weights: As ``push_weights`` gives them.
            first_of_epoch: Whether the epoch's loss starts again.

        Returns:
            Whether they were applied.
        """
        gradients = self.merged(pushes, weights)
        if not is_finite(gradients):
            return False
        self.apply(gradients, first_of_epoch=first_of_epoch)
        return True

    def skip(self, *, first_of_epoch: bool) -> None:
        """Counts a step without participants; changes nothing else."""
        self._count(0.0, 0, first_of_epoch=first_of_epoch)

    def snapshot(self, *, everything: bool = False) -> Snapshot:
        """Copies the changes since the last snapshot, or everything that was ever trained."""
        touched = self.table.take_touched()
        rows = self.table.trained_rows() if everything else touched
        return Snapshot(
            step=self.step,
            epoch_loss=self.epoch_loss,
            epoch_examples=self.epoch_examples,
            dense_p=self.dense.copy(),
            dense_state=self.optimizer.state.copy(),
            rows=rows,
            values=self.table.values_of(rows),
            row_state=self.table.state_of(rows),
        )

    def restore(self, segment: Snapshot) -> None:
        """Restores a segment; later segments overwrite earlier ones."""
        self.step = segment.step
        self.epoch_loss = segment.epoch_loss
        self.epoch_examples = segment.epoch_examples
        self.dense[:] = segment.dense_p
        self.optimizer.state[:] = segment.dense_state
        self.table.restore(segment.rows, segment.values, segment.row_state)

    def slice_digests(self) -> bytes:
        """SHA-256 of each slice that this shard owns, in slice order, one after the other.

        A slice's digest is over its trained rows: see ``SliceDigests``.
        """
        return self._digests(self.table.dim, self.table.values_of)

    def state_digests(self) -> bytes:
        """The same digests over the optimizer state of these rows instead of their values."""
        return self._digests(self.table.state_width, self.table.state_of)

    def _digests(self, width: int, values_of: Callable[[IdArray], FloatArray]) -> bytes:
        digests = SliceDigests(width)
        rows = self.table.trained_rows()
        for start in range(0, rows.size if width else 0, _CHUNK_ROWS):
            chunk = rows[start : start + _CHUNK_ROWS]
            digests.update(chunk, values_of(chunk))
        return b"".join(digests.digests()[self._shard :: self._shards])

    def _count(self, loss_sum: float, examples: int, *, first_of_epoch: bool) -> None:
        if first_of_epoch:
            self.epoch_loss, self.epoch_examples = 0.0, 0
        self.epoch_loss += loss_sum
        self.epoch_examples += examples
        self.step += 1


def state_sizes(contract: Contract) -> tuple[int, int]:
    """Numbers of scalars of optimizer state: for the dense parameters, and for each row."""
    dense = _optimizer_of(contract.training, contract.model.dense_parameters(contract.data))
    return dense.state.size, row_update_of(contract, 1).state.shape[1]


def _optimizer_of(training: TrainingSection, parameters: Sequence[DenseParameter]) -> DenseUpdate:
    shapes = [parameter.shape for parameter in parameters]
    size = sum(parameter.size for parameter in parameters)
    optimizer, local = dense_update(training.dense, size, shapes), training.local_training
    if local is None or not local.dense.sums(shapes):
        return optimizer
    return DenseChange(optimizer, dense_update(local.dense, size, shapes).state)
