"""The contract's ``[training]`` and ``[limits]`` sections."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from coterie.contract.section import Section

LearningRate = Annotated[float, Field(gt=0, le=100)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Accumulator = Annotated[float, Field(ge=0, le=1e6)]
Epsilon = Annotated[float, Field(ge=1e-30, le=1)]


class DenseOptimizer(Section):
    """Optimizer of the dense parameters.

    Attributes:
        kind: ``sgd``, ``momentum`` (Polyak, 1964, as in Keras), ``nesterov`` (Nesterov, 1983, as in
            Keras), ``adagrad`` (Duchi et al., 2011), ``factored_adagrad`` (sums of squares per row and
            column of each kernel; Shazeer and Stern, 2018) or ``adam`` (Kingma and Ba, 2015).
        learning_rate: Rate, times the schedule's factor.
        momentum: Share of the last update that ``momentum`` and ``nesterov`` keep.
        beta_1: Adam's decay of the first moment.
        beta_2: Adam's decay of the second moment.
        initial_accumulator: Initial value of Adagrad's sums of squares.
        epsilon: Added to the square root in Adagrad and Adam.
    """

    kind: Literal["sgd", "momentum", "nesterov", "adagrad", "factored_adagrad", "adam"] = "sgd"
    learning_rate: LearningRate = 0.1
    momentum: Decay = 0.9
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    initial_accumulator: Accumulator = 0.0
    epsilon: Epsilon = 1e-8

    def sums(self, shapes: Iterable[tuple[int, ...]]) -> int:
        """How many sums of squares it keeps for parameters of these shapes."""
        match self.kind:
            case "adagrad":
                return sum(math.prod(shape) for shape in shapes)
            case "factored_adagrad":
                return sum(
                    math.prod(shape[:-1]) + shape[-1] if len(shape) > 1 else math.prod(shape)
                    for shape in shapes
                )
            case _:
                return 0


class RowOptimizer(Section):
    """Optimizer of the embedding rows; state exists only for rows that were touched.

    Attributes:
        kind: ``sgd``, ``adagrad`` (a sum of squares per element), ``rowwise_adagrad`` (one per row:
            the mean of the squares, as in the reference DLRM) or ``lazy_adam`` (Adam whose moments
            decay only when their row is updated).
        learning_rate: Rate, times the schedule's factor.
        beta_1: Adam's decay of the first moment.
        beta_2: Adam's decay of the second moment.
        initial_accumulator: Initial value of Adagrad's sums of squares.
        epsilon: Added to the square root in Adagrad and Adam.
    """

    kind: Literal["sgd", "adagrad", "rowwise_adagrad", "lazy_adam"] = "sgd"
    learning_rate: LearningRate = 0.1
    beta_1: Decay = 0.9
    beta_2: Decay = 0.999
    initial_accumulator: Accumulator = 0.0
    epsilon: Epsilon = 1e-8

    def state_width(self, dim: int) -> int:
        """Numbers that it keeps for a row of ``dim``."""
        return {"sgd": 0, "adagrad": dim, "rowwise_adagrad": 1, "lazy_adam": 2 * dim}[self.kind]


class LocalSection(Section):
    """Optimizers of the workers, each on its own copy of the model, for ``local_steps`` batches.

    What a worker sends is the change of its copy; the server's optimizers, ``[training.dense]`` and
    ``[training.rows]``, take the change of all for their gradient.

    Attributes:
        dense: Optimizer of the copy's dense parameters. Sums of squares last from step to step: the
            server keeps them, and sends them with the parameters. Momentum and Adam's moments start
            from zero in every step.
        rows: Optimizer of the copy's embedding rows. All of its state lasts from step to step,
            beside the rows.
        row_merge: How the workers' changes of a row are merged. ``mean``: the mean over all workers
            of the step, by their examples. ``touched``: the mean over those that had the row.
            ``adagrad``: the sum, after each change is scaled from its own worker's sum of squares
            to that of all workers, as if they had trained in turn; for the two kinds of Adagrad.
        proximal: FedProx's mu (Li et al., 2020): this multiple of the distance from the copy's
            starting point is added to each gradient; 0 for none.
    """

    dense: DenseOptimizer
    rows: RowOptimizer
    row_merge: Literal["mean", "touched", "adagrad"] = "mean"
    proximal: Annotated[float, Field(ge=0, le=100)] = 0.0

    @model_validator(mode="after")
    def _the_merge_has_sums_of_squares(self) -> Self:
        if self.row_merge == "adagrad" and self.rows.kind not in {"adagrad", "rowwise_adagrad"}:
            raise ValueError(
                'row_merge = "adagrad" needs rows.kind = "adagrad" or "rowwise_adagrad", not '
                f'"{self.rows.kind}"'
            )
        return self


class RateSchedule(Section):
    """What the learning rates are multiplied by, as a function of the step.

    Linear from 1/warmup_steps to 1 over the first ``warmup_steps`` steps; then 1; from
    ``decay_start`` on, over ``decay_steps`` steps, ``(1 - final) * (1 - progress) ** power +
    final``; then ``final``. With neither, constant.

    Attributes:
        warmup_steps: Length of the linear warm-up; 0 for none.
        decay_start: First step of the polynomial decay; not before the warm-up's end.
        decay_steps: Length of the decay; 0 for none.
        power: Exponent of the decay.
        final: Factor at the end of the decay.
    """

    warmup_steps: Annotated[int, Field(ge=0, le=2**40)] = 0
    decay_start: Annotated[int, Field(ge=0, le=2**40)] = 0
    decay_steps: Annotated[int, Field(ge=0, le=2**40)] = 0
    power: Annotated[float, Field(gt=0, le=10)] = 1.0
    final: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _decay_follows_the_warm_up(self) -> Self:
        if self.decay_steps and self.decay_start < self.warmup_steps:
            raise ValueError(
                f"decay_start ({self.decay_start}) is before the warm-up's end "
                f"({self.warmup_steps})"
            )
        return self


class ValidationSection(Section):
    """When the model is validated while it is trained, and what follows from that.

    Every data owner counts the scores of its validation rows; what is told is over all owners, and over
    ``limits.evaluation_minimum`` examples at least. Training waits meanwhile.

    Attributes:
        every_steps: Validate after each such number of steps (0: not by steps).
        each_epoch: Validate after each epoch.
        metric: Criterion of the best validation: ``log_loss`` (lower is better) or ``auc`` (higher
            is better).
        patience: End the training after this many validations in a row without improvement; if
            absent, all epochs are trained.
        least_gain: The least improvement over the best validation that counts.
        keep: The model that the run produces: that of the ``last`` step, or of the ``best``
            validation.
    """

    every_steps: Annotated[int, Field(ge=0, le=2**40)] = 0
    each_epoch: bool = True
    metric: Literal["log_loss", "auc"] = "log_loss"
    patience: Annotated[int, Field(ge=1, le=1000)] | None = None
    least_gain: Annotated[float, Field(ge=0, le=1)] = 0.0
    keep: Literal["last", "best"] = "last"

    @model_validator(mode="after")
    def _something_is_judged(self) -> Self:
        if not (self.every_steps or self.each_epoch) and (
            self.patience is not None or self.keep == "best"
        ):
            raise ValueError("patience and keep want validations: set every_steps or each_epoch")
        return self


class TrainingSection(Section):
    """How the model is trained.

    Attributes:
        batch: Examples per worker and batch, on average; every worker's share of a step is
            proportional to its rows, so that all end an epoch together.
        order: The order in which a worker trains its rows: ``file``, or ``shuffled``, another order
            in every epoch, which follows from ``seed``.
        epochs: Passes over every party's training rows.
        seed: Seed of the initial parameters.
        threads: TensorFlow's intra-op threads per worker; part of the contract because sums
            depend on it.
        checkpoint_steps: Number of steps between two checkpoints of the parameter server (0: only
            at the end).
        local_steps: Batches that a worker trains on its own copy before it pushes. With more than
            1 a push is the change of its copy, which is the server optimizers' gradient
            (federated averaging; McMahan et al., 2017, Reddi et al., 2021).
        local: The workers' own optimizers; needed with ``local_steps`` above 1.
        local_learning_rate: Short form of a ``local`` with SGD at this rate for both. Give one of
            the two.
        exchange: How a worker's gradients, or its copy's changes, are sent. ``float32``: as they
            are. ``bfloat16``: rounded to half the bits. ``int8``: a quarter; each 256 dense values, and
            each row, share a scale. ``top-k``: of the dense values the largest only; rows as in
            ``int8``. With the last two, what a push leaves away of the dense gradient is added to the
            worker's next push, up to the next checkpoint. Parameters always arrive as they are.
        exchange_share: Share of the dense values that ``exchange = "top-k"`` sends in a push.
        update_norm: Bound on the Euclidean norm of each worker's mean gradient (of a step, dense
            parameters and rows together); a larger one is scaled down to it.
        party_weight: Cap on a worker's share of a step's update. What a cap takes away is given to
            no other worker, so the update is smaller. With ``local.row_merge`` other than ``mean``
            it scales a worker's rows by the same factor, also those that only this worker changed.
            Mode ``hfl`` only.
        dense: Optimizer of the dense parameters.
        rows: Optimizer of the embedding rows.
        schedule: Schedule of the learning rates: of the workers' own if they have some, else of the
            server's.
        validation: Validation during training.
    """

    LATER = frozenset({"order", "local", "validation", "exchange", "exchange_share"})

    batch: Annotated[int, Field(ge=1, le=65_536)] = 128
    order: Literal["file", "shuffled"] = "file"
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    checkpoint_steps: Annotated[int, Field(ge=0)] = 0
    local_steps: Annotated[int, Field(ge=1, le=1024)] = 1
    local: LocalSection | None = None
    local_learning_rate: LearningRate | None = None
    exchange: Literal["float32", "bfloat16", "int8", "top-k"] = "float32"
    exchange_share: Annotated[float, Field(ge=1e-6, le=0.25)] | None = None
    update_norm: Annotated[float, Field(gt=0, le=1e9)] | None = None
    party_weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    dense: DenseOptimizer = DenseOptimizer()
    rows: RowOptimizer = RowOptimizer()
    schedule: RateSchedule = RateSchedule()
    validation: ValidationSection = ValidationSection()

    @model_validator(mode="after")
    def _local_steps_have_optimizers(self) -> Self:
        given = (self.local is not None) + (self.local_learning_rate is not None)
        if given != (self.local_steps > 1):
            raise ValueError(
                "local_steps above 1 and [training.local] (or local_learning_rate, in its place) go "
                "together: give both or neither"
            )
        if self.local is None:
            return self
        if not {"dense", "rows"} <= self.model_fields_set:
            raise ValueError(
                "[training.local] needs [training.dense] and [training.rows] beside it: they are the "
                'server\'s optimizers of the change; kind = "sgd" and learning_rate = 1.0 take it as '
                "it is"
            )
        if self.local.rows.kind != "sgd" and self.rows.kind != "sgd":
            raise ValueError(
                f'local.rows.kind = "{self.local.rows.kind}" needs rows.kind = "sgd", not '
                f'"{self.rows.kind}": a row has the state of one optimizer'
            )
        return self

    @model_validator(mode="after")
    def _a_share_is_of_the_largest(self) -> Self:
        if (self.exchange_share is not None) != (self.exchange == "top-k"):
            raise ValueError(
                'exchange = "top-k" and exchange_share go together: give both or neither'
            )
        return self

    @property
    def error_feedback(self) -> bool:
        """Whether what a push leaves away is added to the worker's next push."""
        return self.exchange in {"int8", "top-k"}

    @property
    def local_training(self) -> LocalSection | None:
        """The workers' own optimizers, however they are given; None with one batch per step."""
        if self.local_learning_rate is None:
            return self.local
        rate = self.local_learning_rate
        return LocalSection(
            dense=DenseOptimizer(learning_rate=rate), rows=RowOptimizer(learning_rate=rate)
        )

    @property
    def optimizer_kinds(self) -> tuple[str, ...]:
        """The server's optimizers of dense parameters and rows; then the workers' own, if they have some."""
        local = self.local_training
        own = () if local is None else (local.dense.kind, local.rows.kind)
        return (self.dense.kind, self.rows.kind, *own)

    @property
    def keeps_state(self) -> bool:
        """Whether an optimizer keeps anything beside the parameters."""
        return set(self.optimizer_kinds) != {"sgd"}

    @property
    def step_examples(self) -> int:
        """Examples per worker and step, on average."""
        return self.batch * self.local_steps


class LimitsSection(Section):
    """Bounds on time and size that every node enforces.

    Attributes:
        join_seconds: How long a run waits for all nodes to join.
        step_seconds: How long a step waits for the slowest worker.
        quorum: With at least this many workers present, a step does not wait longer than
            ``grace_seconds`` for the others: they are left out, and recorded, until they come back.
            A strict majority of the workers. Mode ``hfl`` only; without it every step waits for
            all.
        grace_seconds: See ``quorum``; the two go together.
        evaluation_minimum: No loss, metric or count of scores leaves the server's TEE that is over
            fewer examples, or, if several parties own data, over one party's alone: steps of small
            batches are released together, scores in bins of at least this many. 1 releases single
            examples.
    """

    join_seconds: Seconds = 300.0
    step_seconds: Seconds = 300.0
    quorum: Annotated[int, Field(ge=1, le=1024)] | None = None
    grace_seconds: Seconds | None = None
    evaluation_minimum: Annotated[int, Field(ge=1)] = 100

    @model_validator(mode="after")
    def _quorum_has_a_grace(self) -> Self:
        if (self.quorum is None) != (self.grace_seconds is None):
            raise ValueError("quorum and grace_seconds go together: give both or neither")
        if self.grace_seconds is not None and self.grace_seconds >= self.step_seconds:
            raise ValueError("grace_seconds must be below step_seconds")
        return self


class EnclaveSection(Section):
    """Size of the SGX enclaves, by role; it goes into the manifests, and so into the measurements.

    Attributes:
        size_gib: Size of the enclaves of workers and of the chief in GiB; also the largest part
            that a worker of mode ``sdt`` accepts from the chief.
        ps_size_gib: Size of a parameter server's enclave in GiB.
        max_threads: Enclave threads.
    """

    size_gib: Annotated[int, Field(ge=1, le=1024)] = 16
    ps_size_gib: Annotated[int, Field(ge=1, le=1024)] = 16
    max_threads: Annotated[int, Field(ge=1, le=65_536)] = 256
