"""Embedding tables and what describes them, named as in keras-rs.

Importing this module loads Keras and its backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, cast

import keras

from coterie.arrays import FloatArray

Shape = tuple[int | None, ...]
PADDING_ID = -1


@dataclass(frozen=True)
class TableConfig:
    """An embedding table, named as in keras-rs.

    Attributes:
        name: Name of the table.
        vocabulary_size: Number of rows.
        embedding_dim: Width of a row.
        combiner: How the rows of one multi-hot feature become one vector.
    """

    name: str
    vocabulary_size: int
    embedding_dim: int
    combiner: Literal["sum"] = "sum"


@dataclass(frozen=True)
class FeatureConfig:
    """A categorical feature and the table that it looks its ids up in.

    Attributes:
        name: Name of the feature.
        table: Its table; features may share one.
    """

    name: str
    table: TableConfig


@keras.saving.register_keras_serializable(package="coterie")
class EmbeddingTables(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type stubs
    """Looks multi-hot ids up and sums their rows: ids [B, m, h] or [B, m] -> [B, m, dim].

    Ids of -1 are padding and add nothing. Rows start from U(-sqrt(1/rows), sqrt(1/rows)).

    Args:
        features: One configuration per categorical feature, in the order of the ids' axis 1.
        options: ``name``, ``trainable`` and ``dtype``, as for every Keras layer.
    """

    def __init__(
        self, features: Sequence[FeatureConfig | Mapping[str, object]], **options: object
    ) -> None:
        super().__init__(**options)
        self.features = tuple(_feature(feature) for feature in features)
        self._variable_of: dict[str, keras.Variable] = {}

    def build(self, input_shape: Shape) -> None:
        """Makes one variable per table."""
        del input_shape
        for table in {feature.table.name: feature.table for feature in self.features}.values():
            bound = (1.0 / table.vocabulary_size) ** 0.5
            self._variable_of[table.name] = self.add_weight(
                shape=(table.vocabulary_size, table.embedding_dim),
                initializer=keras.initializers.RandomUniform(-bound, bound),
                name=table.name,
            )
        self.built = True

    def call(self, ids: keras.KerasTensor) -> keras.KerasTensor:
        """Computes one vector per feature."""
        ids_bmh = ids if len(ids.shape) == 3 else keras.ops.expand_dims(ids, 2)
        vectors = []
        for i, feature in enumerate(self.features):
            ids_bh = ids_bmh[:, i]
            rows_bhd = keras.ops.take(
                self._variable_of[feature.table.name], keras.ops.maximum(ids_bh, 0), axis=0
            )
            present_bh1 = keras.ops.expand_dims(
                keras.ops.cast(ids_bh != PADDING_ID, rows_bhd.dtype), 2
            )
            vectors.append(keras.ops.sum(rows_bhd * present_bh1, axis=1))
        return keras.ops.stack(vectors, axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """[B, m, dim]."""
        return input_shape[0], len(self.features), self.features[0].table.embedding_dim

    def assign_rows(self, rows_by_table: Mapping[str, FloatArray]) -> None:
        """Replaces whole tables, for example with a parameter server's rows."""
        for name, rows in rows_by_table.items():
            self._variable_of[name].assign(rows)

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {**super().get_config(), "features": [asdict(feature) for feature in self.features]}


def _feature(feature: FeatureConfig | Mapping[str, object]) -> FeatureConfig:
    if isinstance(feature, FeatureConfig):
        return feature
    table = cast("Mapping[str, object]", feature["table"])
    return FeatureConfig(
        name=cast("str", feature["name"]),
        table=TableConfig(
            name=cast("str", table["name"]),
            vocabulary_size=cast("int", table["vocabulary_size"]),
            embedding_dim=cast("int", table["embedding_dim"]),
        ),
    )
