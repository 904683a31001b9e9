"""Keras layers that take raw cells, so that an exported model needs no prepared data.

``keras.models.load_model`` knows them once this module is imported. They hold plain numbers and names,
no contract, and use TensorFlow's string operations, so Keras must run on TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self, cast

import keras
import tensorflow as tf

from coterie.models.dlrm import DotInteraction

Shape = tuple[int | None, ...]
Cells = Mapping[str, tf.Tensor]

__all__ = ["DotInteraction", "HashedRows", "LogFeatures", "RowLookup", "ServingModel"]

_LARGEST = float(2**63)
_PARTS = ("features", "hashing", "lookup", "core")


@keras.saving.register_keras_serializable(package="coterie")
class LogFeatures(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type stubs
    """Numeric cells [B, n], text or numbers, to log(x + 1), float32 [B, n].

    A missing cell is the empty text or NaN. It counts as 0, and so do negative numbers: see
    ``data/prepare/encoding.py``. TensorFlow raises an error for text that is not a number.

    Args:
        units: Units in 1 of each column: 1, or a power of ten for decimals that are rounded.
        options: As for every Keras layer.
    """

    def __init__(self, units: Sequence[int], **options: object) -> None:
        super().__init__(autocast=False, **options)
        self.units = list(units)

    def call(self, cells_bn: tf.Tensor) -> tf.Tensor:
        """Computes the features."""
        if cells_bn.dtype == tf.string:
            cells_bn = tf.where(cells_bn == "", "0", cells_bn)
            numbers_bn = tf.strings.to_number(cells_bn, tf.float64)
        else:
            numbers_bn = tf.cast(cells_bn, tf.float64)
        numbers_bn = tf.where(tf.math.is_nan(numbers_bn), tf.zeros_like(numbers_bn), numbers_bn)
        units_n = tf.constant(self.units, tf.float64)
        # Cells of integer columns are not rounded, even if they are not integers.
        numbers_bn = tf.where(units_n > 1, tf.round(numbers_bn * units_n) / units_n, numbers_bn)
        numbers_bn = tf.clip_by_value(numbers_bn, tf.cast(0, tf.float64), _LARGEST)
        return tf.cast(tf.math.log1p(numbers_bn), tf.float32)

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {**_config_of(self), "units": self.units}


@keras.saving.register_keras_serializable(package="coterie")
class HashedRows(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type stubs
    """Categorical cells [B, m], text, to global rows, int64 [B, m]; exactly ``data/hashing.py``.

    Args:
        table_rows: Rows of each column's table.
        keys: Each column's SipHash key, two signed 64-bit numbers.
        options: As for every Keras layer.
    """

    def __init__(
        self, table_rows: Sequence[int], keys: Sequence[Sequence[int]], **options: object
    ) -> None:
        super().__init__(autocast=False, **options)
        self.table_rows = list(table_rows)
        self.keys = [list(key) for key in keys]

    def call(self, cells_bm: tf.Tensor) -> tf.Tensor:
        """Computes the rows: TensorFlow's strong hash is SipHash-2-4 with a modulo."""
        columns, offset = [], 0
        for i, (rows, key) in enumerate(zip(self.table_rows, self.keys, strict=True)):
            hashed = tf.strings.to_hash_bucket_strong(cells_bm[:, i], rows - 1, key)
            columns.append(hashed + (1 + offset))
            offset += rows
        return tf.stack(columns, axis=1)

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {**_config_of(self), "table_rows": self.table_rows, "keys": self.keys}


@keras.saving.register_keras_serializable(package="coterie")
class RowLookup(keras.layers.Layer):  # type: ignore[misc]  # Keras has no type stubs
    """Global rows [B, m] to embedding vectors [B, m, dim].

    Only vectors that differ are kept; ``index`` says where each row's is. So a table of many rows of
    which few were trained costs four bytes per row and not its width.

    Args:
        rows: Rows of the fused table.
        vectors: Vectors that are kept.
        dim: Width of a vector.
        options: As for every Keras layer.
    """

    def __init__(self, rows: int, vectors: int, dim: int, **options: object) -> None:
        super().__init__(**options)
        self.rows, self.vectors, self.dim = rows, vectors, dim
        self.index = self.add_weight(
            shape=(rows,), dtype="int32", initializer="zeros", trainable=False, name="index"
        )
        self.values = self.add_weight(
            shape=(vectors, dim), initializer="zeros", trainable=False, name="values"
        )
        self.built = True

    def call(self, rows_bm: tf.Tensor) -> tf.Tensor:
        """Looks the vectors up."""
        return tf.gather(self.values.value, tf.gather(self.index.value, rows_bm))

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {
            **_config_of(self),
            "rows": self.rows,
            "vectors": self.vectors,
            "dim": self.dim,
        }


@keras.saving.register_keras_serializable(package="coterie")
class ServingModel(keras.Model):  # type: ignore[misc]  # Keras has no type stubs
    """Raw cells by column, each text [B], to click probabilities [B].

    Numeric columns may be numbers instead, NaN where one is missing.

    Args:
        numeric: Names of the numeric columns.
        categorical: Names of the categorical columns.
        features: Makes log features of numbers.
        hashing: Makes rows of ids.
        lookup: Makes vectors of rows.
        core: The dense core, (dense [B, n], embedded [B, m, dim]) -> logits [B].
        options: As for every Keras model.
    """

    def __init__(
        self,
        *,
        numeric: Sequence[str],
        categorical: Sequence[str],
        features: LogFeatures,
        hashing: HashedRows,
        lookup: RowLookup,
        core: keras.Model,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self.numeric, self.categorical = list(numeric), list(categorical)
        self.features, self.hashing = features, hashing
        self.lookup, self.core = lookup, core
        if not core.built:
            shape = (None, len(self.categorical), lookup.dim)
            core.build(((None, len(self.numeric)), shape))
        self.built = True

    def call(self, cells: Cells) -> tf.Tensor:
        """Computes the probabilities."""
        dense_bn = self.features(_joined(cells, self.numeric))
        embedded_bmd = self.lookup(self.hashing(_joined(cells, self.categorical)))
        return tf.sigmoid(self.core((dense_bn, embedded_bmd)))

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {
            "name": self.name,
            "numeric": self.numeric,
            "categorical": self.categorical,
            **{part: keras.saving.serialize_keras_object(getattr(self, part)) for part in _PARTS},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> Self:
        """Makes the model; its parts are Keras objects of their own."""
        parts = {part: keras.saving.deserialize_keras_object(config[part]) for part in _PARTS}
        return cls(**{**config, **parts})

    def get_build_config(self) -> dict[str, object]:
        """Nothing to build: the constructor makes every variable."""
        return {}

    def build_from_config(self, config: Mapping[str, object]) -> None:
        """Does nothing: the constructor makes every variable."""


def _joined(cells: Cells, columns: Sequence[str]) -> tf.Tensor:
    """The named columns side by side, [B, columns]; each is [B] or [B, 1]."""
    return tf.stack([tf.reshape(cells[name], [-1]) for name in columns], axis=1)


def _config_of(layer: keras.layers.Layer) -> dict[str, object]:
    return {"name": cast("str", layer.name)}
