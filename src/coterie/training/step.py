"""A worker's computation in a step, compiled: from parameters and examples to gradients.

Parameters and gradients are flat buffers in the contract's canonical order, as on the wire. Shapes
are fixed: a smaller last batch is padded with examples of weight 0, so there is one compilation and
one order of every sum. The same inputs give the same bits in every process and thread.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np

from coterie.arrays import FloatArray, IdArray, Int64Array
from coterie.contract import AnyModelSection, Contract, DataSection
from coterie.errors import MessageRefused
from coterie.models.backend import configure_tensorflow
from coterie.models.core import check_core, core_of
from coterie.plane.choice import kernels

_lock = threading.Lock()  # compile one model at a time, so that threads share the result


@dataclass(frozen=True, eq=False)
class UniqueRows:
    """The distinct rows of a batch and where they occur.

    Attributes:
        ids_u: int32 [u], the distinct global rows, ascending.
        inverse_bm: int32 [B, m]: ``ids_u[inverse_bm]`` are the batch's rows.
    """

    ids_u: IdArray
    inverse_bm: IdArray


@dataclass(frozen=True, eq=False)
class StepGradients:
    """Sums over the examples of a batch; the parameter server divides by the global batch.

    Attributes:
        loss_sum: Sum of the binary cross-entropies, in nats.
        examples: Examples summed over, padding apart.
        correct: Examples on the right side of probability one half.
        dense_p: float32 [P], gradient for the dense parameters, in canonical order.
        embedded_bmd: float32 [examples, m, dim], gradient for the embedding vectors.
    """

    loss_sum: float
    examples: int
    correct: int
    dense_p: FloatArray
    embedded_bmd: FloatArray


def unique_rows(ids_bm: IdArray | Int64Array) -> UniqueRows:
    """Finds the distinct rows of a batch.

    Args:
        ids_bm: [B, m], global rows from 0 to 2**31 - 1.
    """
    distinct, inverse = kernels().unique(ids_bm.reshape(-1).astype(np.int32, copy=False))
    return UniqueRows(distinct, inverse.reshape(ids_bm.shape))


def sum_by_row(gradient_bmd: FloatArray, rows: UniqueRows) -> FloatArray:
    """Adds up the gradients of each distinct row: in the order of the batch, in float64.

    Args:
        gradient_bmd: float32 [B, m, dim].
        rows: What ``unique_rows`` found in the batch.

    Returns:
        float32 [u, dim], in the order of ``rows.ids_u``.
    """
    dim = gradient_bmd.shape[-1]
    gradient_ed, inverse_e = gradient_bmd.reshape(-1, dim), rows.inverse_bm.reshape(-1)
    return kernels().sum_by_row(gradient_ed, inverse_e, len(rows.ids_u))


class WorkerStep:
    """The worker's compiled functions for one model, one data schema and one batch size.

    The model is the contract's: the DLRM, or its own Keras layers. Any Keras model from (dense
    [B, n], embedded [B, m, dim]) to logits [B] can replace it, as long as its trainable variables
    are the contract's dense parameters and it has no other state. Objects may be used by several
    threads at once.

    Args:
        model: The contract's model section.
        data: The contract's data section.
        batch: Examples per step, B.
        threads: Intra-op threads, as in ``configure_tensorflow``.
        core: Makes the Keras model; the contract's if absent.

    Raises:
        ModelUnfit: The contract's own layers do not fit together, or give other variables than its
            parameters.
        EnvironmentUnfit: TensorFlow already runs with other settings, or the variables of ``core``
            are not the contract's dense parameters.
    """

    def __init__(
        self,
        model: AnyModelSection,
        data: DataSection,
        batch: int,
        threads: int,
        core: Callable[[], object] | None = None,
    ) -> None:
        configure_tensorflow(threads)
        self.batch = batch
        parameters = model.dense_parameters(data)
        self.shapes = tuple(parameter.shape for parameter in parameters)
        self.parameters = sum(parameter.size for parameter in parameters)
        self.numeric, self.categorical = len(data.numeric), len(data.categorical)
        self.dim = model.embedding_dim
        sizes = (batch, self.numeric, self.categorical, self.dim)
        make = core or core_of(model, data)
        with _lock:
            names = tuple(parameter.name for parameter in parameters) if core is None else None
            self._gradients, self._scores = _compile(make, names, self.shapes, sizes)

    def gradients(
        self,
        flat_p: FloatArray,
        dense_bn: FloatArray,
        embedded_bmd: FloatArray,
        labels_b: FloatArray,
        weights_b: FloatArray | None = None,
    ) -> StepGradients:
        """Computes loss and gradients of examples, summed over them.

        More than a batch are computed batch by batch, and the sums added up in order.

        Args:
            flat_p: float32 [P], the dense parameters.
            dense_bn: float32 [b, n].
            embedded_bmd: float32 [b, m, dim], the rows looked up.
            labels_b: float32 [b], 0 or 1.
            weights_b: float32 [b]; each example's weight, 1 if absent.

        Raises:
            MessageRefused: An array has another shape or type.
        """
        examples = len(dense_bn)
        self._check(flat_p, dense_bn, embedded_bmd, examples)
        weights_b = np.ones(examples, np.float32) if weights_b is None else weights_b
        _require("labels", labels_b, (examples,))
        _require("weights", weights_b, (examples,))
        if examples > self.batch:
            arrays = (dense_bn, embedded_bmd, labels_b, weights_b)
            starts = range(0, examples, self.batch)
            return _added(
                [self.gradients(flat_p, *(a[i : i + self.batch] for a in arrays)) for i in starts]
            )
        loss, correct, dense_p, gradient_bmd = self._gradients(
            flat_p,
            pad(dense_bn, self.batch),
            pad(embedded_bmd, self.batch),
            pad(labels_b, self.batch),
            pad(weights_b, self.batch),
        )
        return StepGradients(float(loss), examples, int(correct), dense_p, gradient_bmd[:examples])

    def scores(
        self, flat_p: FloatArray, dense_bn: FloatArray, embedded_bmd: FloatArray
    ) -> FloatArray:
        """Computes the logits, float32 [b], of at most a batch of examples.

        Args:
            flat_p: float32 [P], the dense parameters.
            dense_bn: float32 [b, n], b <= B.
            embedded_bmd: float32 [b, m, dim], the rows looked up.

        Raises:
            MessageRefused: An array has another shape or type.
        """
        examples = min(len(dense_bn), self.batch)
        self._check(flat_p, dense_bn, embedded_bmd, examples)
        (logits_b,) = self._scores(flat_p, pad(dense_bn, self.batch), pad(embedded_bmd, self.batch))
        return logits_b[:examples]

    def warm_up(self) -> None:
        """Runs both functions once, since XLA compiles at the first call, which is slow."""
        flat_p = np.zeros(self.parameters, np.float32)
        dense_bn = np.zeros((1, self.numeric), np.float32)
        embedded_bmd = np.zeros((1, self.categorical, self.dim), np.float32)
        self.gradients(flat_p, dense_bn, embedded_bmd, np.zeros(1, np.float32))
        self.scores(flat_p, dense_bn, embedded_bmd)

    def _check(
        self, flat_p: FloatArray, dense_bn: FloatArray, embedded_bmd: FloatArray, examples: int
    ) -> None:
        _require("dense parameters", flat_p, (self.parameters,))
        _require("dense features", dense_bn, (examples, self.numeric))
        _require("embedded rows", embedded_bmd, (examples, self.categorical, self.dim))


StepMaker = Callable[[Contract], WorkerStep]
"""Makes a worker's step for a contract."""


def step_of(contract: Contract) -> WorkerStep:
    """The step of a contract's model."""
    training = contract.training
    return WorkerStep(contract.model, contract.data, training.batch, training.threads)


def _added(parts: Sequence[StepGradients]) -> StepGradients:
    dense_p = parts[0].dense_p.copy()
    for part in parts[1:]:
        dense_p += part.dense_p
    return StepGradients(
        loss_sum=sum(part.loss_sum for part in parts),
        examples=sum(part.examples for part in parts),
        correct=sum(part.correct for part in parts),
        dense_p=dense_p,
        embedded_bmd=np.concatenate([part.embedded_bmd for part in parts]),
    )


def pad(array: FloatArray, batch: int) -> FloatArray:
    """Pads a partial batch with zeros along axis 0; returns a full one unchanged."""
    if len(array) == batch:
        return array
    padded = np.zeros((batch, *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded


class _Compiled(Protocol):
    def __call__(self, *arrays: FloatArray) -> tuple[FloatArray, ...]: ...


@functools.lru_cache(maxsize=8)
def _compile(
    make: Callable[[], object],
    names: tuple[str, ...] | None,
    shapes: tuple[tuple[int, ...], ...],
    sizes: tuple[int, int, int, int],
) -> tuple[_Compiled, _Compiled]:
    """Traces and compiles; what it returns is stateless, so workers in one process share it."""
    import keras
    import tensorflow as tf

    batch, numeric, categorical, dim = sizes
    core = cast("keras.Model", make())
    core.build(((batch, numeric), (batch, categorical, dim)))
    check_core(core, names, shapes)
    parts = [int(np.prod(shape)) for shape in shapes]

    def forward(flat_p: tf.Tensor, dense_bn: tf.Tensor, embedded_bmd: tf.Tensor) -> tf.Tensor:
        variables = [
            tf.reshape(part, shape)
            for part, shape in zip(tf.split(flat_p, parts), shapes, strict=True)
        ]
        logits_b, _ = core.stateless_call(variables, [], (dense_bn, embedded_bmd))
        return logits_b

    def gradients(
        flat_p: tf.Tensor,
        dense_bn: tf.Tensor,
        embedded_bmd: tf.Tensor,
        labels_b: tf.Tensor,
        weights_b: tf.Tensor,
    ) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch((flat_p, embedded_bmd))
            logits_b = forward(flat_p, dense_bn, embedded_bmd)
            losses_b = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels_b, logits=logits_b)
            loss = tf.reduce_sum(losses_b * weights_b)
        right_b = tf.logical_and(tf.equal(logits_b > 0, labels_b > 0), weights_b > 0)
        correct = tf.math.count_nonzero(right_b, dtype=tf.int32)
        return (loss, correct, *tape.gradient(loss, (flat_p, embedded_bmd)))

    flat_spec = tf.TensorSpec((sum(parts),), tf.float32)
    dense_spec = tf.TensorSpec((batch, numeric), tf.float32)
    embedded_spec = tf.TensorSpec((batch, categorical, dim), tf.float32)
    batch_spec = tf.TensorSpec((batch,), tf.float32)

    # XLA is faster than op by op at usual batch sizes, and independent of oneDNN's choices.
    def compiled(function: object, specs: Sequence[tf.TensorSpec]) -> _Compiled:
        concrete = tf.function(
            function, jit_compile=True, autograph=False, input_signature=specs
        ).get_concrete_function()

        def call(*arrays: FloatArray) -> tuple[FloatArray, ...]:
            outputs = concrete(*(tf.constant(array) for array in arrays))
            # Read-only views of what TensorFlow keeps for them; ``numpy()`` would copy.
            return tuple(np.asarray(output) for output in outputs)

        return call

    def scores(flat_p: tf.Tensor, dense_bn: tf.Tensor, embedded_bmd: tf.Tensor) -> object:
        return (forward(flat_p, dense_bn, embedded_bmd),)

    inputs = (flat_spec, dense_spec, embedded_spec)
    return compiled(gradients, (*inputs, batch_spec, batch_spec)), compiled(scores, inputs)


def _require(name: str, array: FloatArray, shape: tuple[int, ...]) -> None:
    if array.dtype != np.float32 or array.shape != shape:
        raise MessageRefused(
            f"the {name} do not fit the step",
            expected=f"float32 {list(shape)}",
            seen=f"{array.dtype} {list(array.shape)}",
            remedy="the sender's contract or data set is another one: compare the digests",
        )
