"""The layers that take raw cells compute exactly what data preparation does."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import DataSection
from coterie.data.hashing import column_key, global_rows, tensorflow_key
from coterie.data.prepare.encoding import log_features
from coterie.data.prepare.numeric import MISSING, decimal_cells
from tests.lazily import Lazily

if TYPE_CHECKING:
    import tensorflow as tf

    from coterie.serving import layers
else:
    tf, layers = Lazily("tensorflow"), Lazily("coterie.serving.layers")

pytestmark = pytest.mark.tensorflow

TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    [
        "",
        "05db9164",
        "\0",
        "\0" * 9,
        "é",
        "日本語",
        "x" * 4096,
        "a" * 7,
        "a" * 8,
        "a" * 255,
        "a" * 256,
    ]
)


def layer_of(data: DataSection) -> layers.HashedRows:
    keys = [tensorflow_key(column_key(data.hash_seed, name)) for name in data.categorical]
    return layers.HashedRows(data.table_rows, keys)


@given(
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20),
    st.integers(0, 2**63 - 1),
    st.integers(2, 10**9),
)
def test_ids_hash_to_the_rows_of_data_preparation(
    ids: list[tuple[str, str]], seed: int, rows: int
) -> None:
    data = DataSection(categorical=("C1", "C2"), rows=rows, column_rows={"C1": 7}, hash_seed=seed)
    seen = layer_of(data)(tf.constant([[cell.encode() for cell in pair] for pair in ids]))
    for column in range(2):
        cells = [pair[column] for pair in ids]
        assert seen[:, column].numpy().tolist() == global_rows(cells, data, column).tolist()


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1) | st.none(), min_size=1, max_size=30))
def test_numbers_become_the_features_of_data_preparation(cells: list[int | None]) -> None:
    numbers = np.array([MISSING if cell is None else cell for cell in cells], np.int64)
    expected = log_features(numbers[:, None], DataSection(numeric=("I1",)))
    texts = tf.constant([["" if cell is None else str(cell)] for cell in cells])
    np.testing.assert_allclose(layers.LogFeatures([1])(texts).numpy(), expected, rtol=1.2e-7)
    floats = tf.constant(
        [[float("nan") if cell is None else float(cell)] for cell in cells], tf.float64
    )
    np.testing.assert_allclose(layers.LogFeatures([1])(floats).numpy(), expected, rtol=1.2e-7)


@given(st.lists(st.decimals(0, 10**9, places=4) | st.none(), min_size=1, max_size=20))
def test_decimals_are_rounded_as_in_data_preparation(cells: list[Decimal | None]) -> None:
    data = DataSection(numeric=("I1",), decimals={"I1": 2})
    texts = ["" if cell is None else str(cell) for cell in cells]
    octets = np.frombuffer("".join(texts).encode() + bytes(8), np.uint8)
    lengths = np.array([len(text) for text in texts], np.int64)
    units, fits = decimal_cells(octets, np.cumsum(lengths) - lengths, lengths, 2)
    assert fits.all()
    expected = log_features(units[:, None], data)
    seen = layers.LogFeatures(data.units)(tf.constant([[text] for text in texts])).numpy()
    np.testing.assert_allclose(seen, expected, rtol=1.2e-7)


def test_numbers_beyond_the_format_are_still_finite() -> None:
    cells = tf.constant([["inf"], ["1e300"], ["nan"], ["-inf"], ["2.5"]])
    seen = layers.LogFeatures([1])(cells).numpy()[:, 0]
    assert np.isfinite(seen).all()
    assert seen.tolist()[2:4] == [0.0, 0.0]
    assert seen[4] == np.float32(np.log(3.5))


def test_what_is_no_number_is_an_error() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="abc"):
        layers.LogFeatures([1])(tf.constant([["abc"]]))


def test_rows_are_looked_up_through_the_index() -> None:
    lookup = layers.RowLookup(5, 2, 3)
    lookup.index.assign([0, 1, 0, 1, 1])
    lookup.values.assign([[1, 2, 3], [4, 5, 6]])
    seen = lookup(tf.constant([[0, 1], [2, 4]], tf.int64)).numpy()
    assert seen.tolist() == [[[1, 2, 3], [4, 5, 6]], [[1, 2, 3], [4, 5, 6]]]
