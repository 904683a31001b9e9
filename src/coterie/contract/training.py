"""The contract's ``[training]`` and ``[limits]`` sections."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from coterie.contract.section import Section

LearningRate = Annotated[float, Field(gt=0, le=100)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class DenseOptimizer(Section):
    """Optimizer of the dense parameters.

    Attributes:
        kind: ``sgd`` or ``adagrad`` (Duchi et al., 2011).
        learning_rate: Constant rate.
        initial_accumulator: What Adagrad's sums of squares start from.
        epsilon: Added to Adagrad's root.
    """

    kind: Literal["sgd", "adagrad"] = "sgd"
    learning_rate: LearningRate = 0.1
    initial_accumulator: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    epsilon: Annotated[float, Field(ge=1e-30, le=1)] = 1e-8


class RowOptimizer(Section):
    """Optimizer of the embedding rows; state exists only for rows that were touched.

    Attributes:
        kind: ``sgd``, ``adagrad`` (a sum of squares per element) or ``rowwise_adagrad`` (one per
            row: the mean of the squares, as in the reference DLRM).
        learning_rate: Constant rate.
        initial_accumulator: What Adagrad's sums of squares start from.
        epsilon: Added to Adagrad's root.
    """

    kind: Literal["sgd", "adagrad", "rowwise_adagrad"] = "sgd"
    learning_rate: LearningRate = 0.1
    initial_accumulator: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    epsilon: Annotated[float, Field(ge=1e-30, le=1)] = 1e-8


class TrainingSection(Section):
    """How the model is trained.

    Attributes:
        batch: Examples per worker and step.
        epochs: Passes over every party's training rows.
        seed: Seed of the initial parameters.
        threads: TensorFlow's intra-op threads per worker; part of the contract because sums
            depend on it.
        checkpoint_steps: The parameter server writes a checkpoint every so many steps (0: only
            at the end).
        dense: Optimizer of the dense parameters.
        rows: Optimizer of the embedding rows.
    """

    batch: Annotated[int, Field(ge=1, le=65_536)] = 128
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    checkpoint_steps: Annotated[int, Field(ge=0)] = 0
    dense: DenseOptimizer = DenseOptimizer()
    rows: RowOptimizer = RowOptimizer()


class LimitsSection(Section):
    """Bounds on time and size that every node enforces.

    Attributes:
        join_seconds: How long a run waits for all nodes to come.
        step_seconds: How long a step waits for the slowest worker.
        evaluation_minimum: Evaluation counts are released only over at least so many examples.
    """

    join_seconds: Seconds = 300.0
    step_seconds: Seconds = 300.0
    evaluation_minimum: Annotated[int, Field(ge=1)] = 100


class EnclaveSection(Section):
    """Size of the SGX enclaves; read when manifests are rendered, never at run time.

    Attributes:
        size_gib: Enclave size in GiB.
        max_threads: Enclave threads.
    """

    size_gib: Annotated[int, Field(ge=1, le=1024)] = 16
    max_threads: Annotated[int, Field(ge=1, le=65_536)] = 256
