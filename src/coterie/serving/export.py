"""Exports a trained model for serving: it takes raw cells and needs nothing of Coterie.

``saved_model`` is TensorFlow's own format, as TensorFlow Serving loads it; plain TensorFlow runs it.
``keras`` is one file for ``keras.models.load_model``; it needs :mod:`coterie.serving.layers`.
Importing this module loads TensorFlow.
"""

from __future__ import annotations

import keyword
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, cast

import keras
import numpy as np
import tensorflow as tf

from coterie.data.hashing import column_key, tensorflow_key
from coterie.errors import EnvironmentUnfit, ModelUnfit, OutputInUse
from coterie.files import made_new, unwritable
from coterie.models.core import core_of
from coterie.models.dlrm import assign_flat
from coterie.serving.layers import HashedRows, LogFeatures, RowLookup, ServingModel
from coterie.trained.trained_model import TrainedModel

Format = Literal["saved_model", "keras"]

MAX_INDEX_BYTES = 1 << 29
"""Largest index of an exported model: it has an entry for every row that the contract declares, and a
contract of a few kilobytes can declare two thousand million rows."""
_INDEX_TYPE = np.dtype(np.int32)


def serving_model(model: TrainedModel) -> ServingModel:
    """The Keras model that takes raw cells, with all values of a trained model.

    Args:
        model: The trained model.

    Returns:
        A model from a mapping of column names to cells [B] to probabilities [B].

    Raises:
        ModelUnfit: Its tables have too many rows, or its layers do not fit together.
    """
    contract = model.contract
    data = contract.data
    size = data.total_rows * _INDEX_TYPE.itemsize
    if size > MAX_INDEX_BYTES:
        raise ModelUnfit(
            "the model's tables have too many rows to be exported",
            expected=f"at most {MAX_INDEX_BYTES // _INDEX_TYPE.itemsize:,} rows in all",
            seen=f"{data.total_rows:,} rows, an index of {size:,} bytes",
            remedy="score with coterie predict, which needs no index; or train with smaller tables",
        )
    keys = [tensorflow_key(column_key(data.hash_seed, name)) for name in data.categorical]
    columns = len(data.categorical)
    vectors = columns + model.row_ids.size
    lookup = RowLookup(data.total_rows, vectors, contract.model.embedding_dim, name="rows")
    core = cast("keras.Model", core_of(contract.model, data)())
    serving = ServingModel(
        numeric=data.numeric,
        categorical=data.categorical,
        features=LogFeatures(data.units, name="features"),
        hashing=HashedRows(data.table_rows, keys, name="hashing"),
        lookup=lookup,
        core=core,
        name="coterie",
    )
    # First each column's out-of-vocabulary vector, which all untrained rows of the column share.
    index = np.repeat(np.arange(columns, dtype=_INDEX_TYPE), data.table_rows)
    index[model.row_ids] = np.arange(columns, vectors, dtype=_INDEX_TYPE)
    firsts = model.rows(np.array(data.column_offsets, np.int32))
    lookup.index.assign(index)
    lookup.values.assign(np.concatenate([firsts, model.row_values]))
    assign_flat(core.trainable_variables, model.dense)
    return serving


def export(model: TrainedModel, out: Path, *, format: Format = "saved_model") -> Path:  # noqa: A002
    """Exports a trained model.

    Args:
        model: The trained model.
        out: A new folder (``saved_model``) or a new file that ends in ``.keras`` (``keras``).
        format: Which of the two.

    Returns:
        ``out``.

    Raises:
        OutputInUse: ``out`` exists, or does not end in ``.keras``.
        ModelUnfit: The model is too large, or its layers do not fit together.
        EnvironmentUnfit: The model cannot be written.
    """
    if format == "keras" and out.suffix != ".keras":
        raise OutputInUse(
            f"{out} is no name of a Keras file",
            expected="a name that ends in .keras",
            seen=out.suffix or "no suffix",
            remedy="name the file so, or export with --format saved_model",
        )
    if os.fsencode(out) != str(out).encode(errors="surrogatepass"):
        raise EnvironmentUnfit(
            f"TensorFlow cannot write to {out}",
            expected="a path that is text in UTF-8",
            seen=f"another encoding: {os.fsencode(out)!r:.200}",
            remedy="export into a folder with another name, and move the result",
        )
    if out.exists() or out.is_symlink():
        raise OutputInUse.exists(out)
    serving = serving_model(model)
    try:
        with made_new(out) as aside:
            if format == "keras":
                serving.save(aside)
            else:
                _save(serving, aside)
    except OSError as error:
        raise unwritable(str(out), error) from error
    return out


def input_names(columns: Iterable[str]) -> dict[str, str]:
    """Each column's input in the signatures: the column's name, with underscores added if needed.

    TensorFlow makes a Python function of every signature and tells inputs apart without regard to
    case, so ``class`` cannot be an input, nor ``shop`` beside ``Shop``.
    """
    columns = list(columns)
    own = {column.lower() for column in columns}
    names: dict[str, str] = {}
    taken: set[str] = set()
    for column in columns:
        name = column
        while (
            keyword.iskeyword(name)
            or name.lower() in taken
            or (name != column and name.lower() in own)
        ):
            name += "_"
        names[column] = name
        taken.add(name.lower())
    return names


class _Servable(tf.Module):  # type: ignore[misc]  # TensorFlow has no type stubs
    """The object that is saved: a SavedModel keeps variables and functions, not Python classes."""

    def __init__(self, serving: ServingModel) -> None:
        super().__init__()
        self.kept = [variable.value for variable in serving.variables]


def _save(serving: ServingModel, out: Path) -> None:
    """Writes the two signatures: all cells as text, or numeric cells as numbers."""
    columns = (*serving.numeric, *serving.categorical)
    names = input_names(columns)

    def serve(**cells: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probability": serving({column: cells[names[column]] for column in columns})}

    def signature(numeric: tf.DType) -> object:
        kinds = dict.fromkeys(serving.numeric, numeric)
        kinds |= dict.fromkeys(serving.categorical, tf.string)
        specs = {names[column]: tf.TensorSpec((None,), kind) for column, kind in kinds.items()}
        return tf.function(serve, autograph=False).get_concrete_function(**specs)

    servable = _Servable(serving)
    signatures = {"serving_default": signature(tf.string), "numbers": signature(tf.float64)}
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    try:
        tf.saved_model.save(servable, str(out), signatures=signatures, options=options)
    except (
        tf.errors.OpError
    ) as error:  # TensorFlow's own operations write the files; a full disk is one cause
        raise OSError(error.message.splitlines()[0].rpartition("; ")[2]) from error
