"""The DLRM (Naumov et al., 2019, arXiv:1906.00091) as Keras layers and models.

The model comes in two halves. The dense core maps dense features and already looked-up embedding
vectors to logits; workers train it with rows that the parameter server holds. ``DLRM`` puts
embedding tables in front of it and stands alone: for export, for inference, for one's own training.
Importing this module loads Keras and its backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import cast

import keras
import numpy as np

from coterie.arrays import FloatArray
from coterie.errors import DataError
from coterie.models.embedding import EmbeddingTables, FeatureConfig, Shape

Gradient = Callable[[keras.KerasTensor], keras.KerasTensor]


@keras.saving.register_keras_serializable(package="coterie")
class DotInteraction(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type stubs
    """Dot products of all pairs of vectors: [B, v, d] -> [B, v (v - 1) / 2].

    The strict lower triangle of T T^T, row by row: (1,0), (2,0), (2,1), (3,0), ...
    Its gradient is written out: G T with G symmetric and zero on the diagonal is one gather and one
    product, where differentiating element by element scatters and multiplies twice.
    """

    def build(self, input_shape: Shape) -> None:
        """Fixes which elements of the flattened product are kept, and where each comes from."""
        vectors = cast("int", input_shape[1])
        rows, columns = np.tril_indices(vectors, -1)
        self._kept = (rows * vectors + columns).astype(np.int32)
        # Each element of G is a pair's gradient, or, on the diagonal, the zero after the last pair.
        source = np.full((vectors, vectors), rows.size, np.int32)
        source[rows, columns] = source[columns, rows] = np.arange(rows.size)
        self._source = source.reshape(-1)
        self.built = True

    def call(self, vectors_bvd: keras.KerasTensor) -> keras.KerasTensor:
        """Computes the pairs."""
        vectors = vectors_bvd.shape[1]

        def pairs(t_bvd: keras.KerasTensor) -> tuple[keras.KerasTensor, Gradient]:
            products_bvv = keras.ops.matmul(t_bvd, keras.ops.transpose(t_bvd, (0, 2, 1)))
            flat = keras.ops.reshape(products_bvv, (-1, vectors * vectors))

            def gradient(upstream_bp: keras.KerasTensor) -> keras.KerasTensor:
                padded = keras.ops.pad(upstream_bp, ((0, 0), (0, 1)))
                spread = keras.ops.take(padded, self._source, axis=1)
                g_bvv = keras.ops.reshape(spread, (-1, vectors, vectors))
                return keras.ops.matmul(g_bvv, t_bvd)

            return keras.ops.take(flat, self._kept, axis=1), gradient

        return keras.ops.custom_gradient(pairs)(vectors_bvd)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """[B, v, d] -> [B, v (v - 1) / 2]."""
        vectors = cast("int", input_shape[1])
        return input_shape[0], vectors * (vectors - 1) // 2


@keras.saving.register_keras_serializable(package="coterie")
class DLRMCore(keras.Model):  # type: ignore[misc]  # Keras has no type stubs
    """The dense core: (dense [B, n], embedded [B, m, dim]) -> logits [B].

    Variables come in the contract's canonical order: bottom, then top; kernel, then bias. With
    ``top_output="sigmoid"`` the result is a probability instead of a logit.

    Args:
        bottom: Widths of the bottom MLP; the last is the embedding dimension.
        top: Widths of the top MLP; the last is 1.
        activation: After every layer of both MLPs but the top's last.
        top_output: After the top's last layer: ``linear`` for logits.
        options: ``name``, ``trainable`` and ``dtype``, as for every Keras layer.
    """

    def __init__(
        self,
        bottom: Sequence[int],
        top: Sequence[int],
        activation: str = "relu",
        top_output: str = "linear",
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.bottom, self.top = tuple(bottom), tuple(top)
        self.activation, self.top_output = activation, top_output
        self._bottom_layers = _mlp("bottom", self.bottom, activation, activation)
        self._interaction = DotInteraction(name="interaction")
        self._top_layers = _mlp("top", self.top, activation, top_output)

    def build(self, input_shape: tuple[Shape, Shape]) -> None:
        """Makes the variables, in the canonical order."""
        (_, numeric), (_, features, dim) = input_shape
        width = numeric
        for layer in self._bottom_layers:
            layer.build((None, width))
            width = layer.units
        vectors = cast("int", features) + 1
        self._interaction.build((None, vectors, dim))
        width = cast("int", width) + vectors * (vectors - 1) // 2
        for layer in self._top_layers:
            layer.build((None, width))
            width = layer.units
        self.built = True

    def call(self, inputs: tuple[keras.KerasTensor, keras.KerasTensor]) -> keras.KerasTensor:
        """Computes logits [B]."""
        dense_bn, embedded_bmd = inputs
        hidden_bd = dense_bn
        for layer in self._bottom_layers:
            hidden_bd = layer(hidden_bd)
        vectors_bvd = keras.ops.concatenate(
            [keras.ops.expand_dims(hidden_bd, 1), embedded_bmd], axis=1
        )
        hidden = keras.ops.concatenate([hidden_bd, self._interaction(vectors_bvd)], axis=1)
        for layer in self._top_layers:
            hidden = layer(hidden)
        return keras.ops.squeeze(hidden, axis=1)

    def compute_output_shape(self, input_shape: tuple[Shape, Shape]) -> Shape:
        """[B]."""
        return (input_shape[0][0],)

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "bottom": list(self.bottom),
            "top": list(self.top),
            "activation": self.activation,
            "top_output": self.top_output,
        }


@keras.saving.register_keras_serializable(package="coterie")
class DLRM(keras.Model):  # type: ignore[misc]  # Keras has no type stubs
    """The whole model: (dense [B, n], ids [B, m, h] or [B, m]) -> logits [B].

    Args:
        features: One configuration per categorical feature.
        bottom: Widths of the bottom MLP; the last is the embedding dimension.
        top: Widths of the top MLP; the last is 1.
        activation: After every layer of both MLPs but the top's last.
        top_output: ``linear`` for logits, ``sigmoid`` for probabilities.
        options: ``name``, ``trainable`` and ``dtype``, as for every Keras layer.
    """

    def __init__(
        self,
        features: Sequence[FeatureConfig | Mapping[str, object]],
        bottom: Sequence[int],
        top: Sequence[int],
        activation: str = "relu",
        top_output: str = "linear",
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.tables = EmbeddingTables(features, name="tables")
        self.core = DLRMCore(bottom, top, activation, top_output, name="core")

    def build(self, input_shape: tuple[Shape, Shape]) -> None:
        """Makes the tables, then the core's variables."""
        self.tables.build(input_shape[1])
        self.core.build((input_shape[0], self.tables.compute_output_shape(input_shape[1])))
        self.built = True

    def call(self, inputs: tuple[keras.KerasTensor, keras.KerasTensor]) -> keras.KerasTensor:
        """Computes logits [B]."""
        dense_bn, ids_bmh = inputs
        return self.core((dense_bn, self.tables(ids_bmh)))

    def compute_output_shape(self, input_shape: tuple[Shape, Shape]) -> Shape:
        """[B]."""
        return (input_shape[0][0],)

    def loss_function(self) -> keras.losses.Loss:
        """The loss that fits the output: cross-entropy on logits, squares on probabilities."""
        if self.core.top_output == "sigmoid":
            return keras.losses.MeanSquaredError()
        return keras.losses.BinaryCrossentropy(from_logits=True)

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        core = self.core.get_config()
        return {
            **super().get_config(),
            "features": [asdict(feature) for feature in self.tables.features],
            **{key: core[key] for key in ("bottom", "top", "activation", "top_output")},
        }


def assign_flat(variables: Iterable[keras.Variable], flat_p: FloatArray) -> None:
    """Fills variables, in their order, from one flat buffer.

    Args:
        variables: For example a core's ``trainable_variables``.
        flat_p: float32 [P], P the number of scalars of all variables.

    Raises:
        DataError: The buffer is longer or shorter than the variables.
    """
    variables = list(variables)
    sizes = [int(np.prod(variable.shape)) for variable in variables]
    if flat_p.shape != (sum(sizes),):
        raise DataError(
            "the dense parameters do not fit the model",
            expected=f"{sum(sizes)} scalars",
            seen=f"shape {list(flat_p.shape)}",
            remedy="load parameters that were trained under the same contract",
        )
    for variable, part in zip(variables, np.split(flat_p, np.cumsum(sizes)[:-1]), strict=True):
        variable.assign(part.reshape(variable.shape))


def _mlp(tower: str, widths: Sequence[int], hidden: str, last: str) -> list[keras.layers.Dense]:
    """Dense layers that start as in the reference: W ~ N(0, 2/(in+out)), b ~ N(0, 1/out)."""
    return [
        keras.layers.Dense(
            width,
            activation=last if i == len(widths) - 1 else hidden,
            kernel_initializer=keras.initializers.VarianceScaling(
                scale=1.0, mode="fan_avg", distribution="untruncated_normal"
            ),
            bias_initializer=keras.initializers.RandomNormal(stddev=(1.0 / width) ** 0.5),
            name=f"{tower}_{i}",
        )
        for i, width in enumerate(widths)
    ]
