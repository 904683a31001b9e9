"""Initial parameters from a counter-based generator.

A value depends on (seed, position) alone: not on the order in which rows are touched, nor on how
many shards or processes hold them. The generator is SplitMix64 (Steele, Lea and Flood, 2014), whose
n-th output is a fixed mix of ``key + n * gamma``, so that any output can be had by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coterie.arrays import FloatArray, IdArray, Int64Array, IntpArray, UInt64Array
from coterie.contract import Contract, DenseParameter

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ROW_STREAM = 1
_DENSE_STREAM = 2


class InitialRows:
    """The rows of a contract's fused table before they are trained.

    Args:
        contract: Gives sizes and seed.
    """

    def __init__(self, contract: Contract) -> None:
        data = contract.data
        self._dim = contract.model.embedding_dim
        self._seed = contract.training.seed
        self._offsets = np.array(data.column_offsets, np.int64)
        # The reference DLRM starts a table of n rows from U(-sqrt(1/n), sqrt(1/n)).
        self._bounds = np.sqrt(1 / np.array(data.table_rows)).astype(np.float32)

    def columns(self, rows: IdArray) -> IntpArray:
        """The categorical column of each global row, [n]."""
        return np.searchsorted(self._offsets, rows, side="right") - 1

    def firsts(self, rows: IdArray) -> IdArray:
        """The out-of-vocabulary row of each global row's column, int32 [n]."""
        return self._offsets[self.columns(rows)].astype(np.int32)

    def of(self, rows: IdArray) -> FloatArray:
        """Initial values of global rows, float32 [n, dim]."""
        bounds = self._bounds[self.columns(rows)]
        return initial_rows(self._seed, rows.astype(np.int64), bounds, self._dim)


def initial_rows(seed: int, global_rows: Int64Array, bounds: FloatArray, dim: int) -> FloatArray:
    """Initial embedding rows, uniform in (-bound, bound).

    Args:
        seed: The contract's ``training.seed``.
        global_rows: Rows of the fused table, int64 [n].
        bounds: Half width of each row's distribution, float32 [n].
        dim: Width of a row.

    Returns:
        float32 [n, dim].
    """
    columns: UInt64Array = np.arange(dim, dtype=np.uint64)
    first: UInt64Array = global_rows.astype(np.uint64)[:, None] * np.uint64(dim)
    counters: UInt64Array = np.add(first, columns, dtype=np.uint64)
    # An odd number below 2^24 fits a float32 exactly and keeps the interval open.
    odd = (_outputs(seed, _ROW_STREAM, counters) >> np.uint64(41)).astype(np.float32) * 2 + 1
    unit = odd / np.float32(1 << 23) - np.float32(1)
    scaled: FloatArray = unit * bounds[:, None]
    return scaled


def initial_dense(seed: int, parameters: Sequence[DenseParameter]) -> FloatArray:
    """Initial dense parameters: independent normal variables (Box and Muller, 1958).

    Args:
        seed: The contract's ``training.seed``.
        parameters: The dense parameters in canonical order.

    Returns:
        float32 [P], all parameters flattened one after the other.
    """
    total = sum(parameter.size for parameter in parameters)
    counters: UInt64Array = np.arange(2 * total, dtype=np.uint64)
    bits = _outputs(seed, _DENSE_STREAM, counters)
    unit = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) / float(1 << 53)
    normal = np.sqrt(-2 * np.log(unit[0::2])) * np.cos(2 * np.pi * unit[1::2])
    deviations = np.repeat(
        [parameter.standard_deviation for parameter in parameters],
        [parameter.size for parameter in parameters],
    )
    means = np.repeat(
        [parameter.mean for parameter in parameters], [parameter.size for parameter in parameters]
    )
    values: FloatArray = (normal * deviations + means).astype(np.float32)
    return values


def _outputs(seed: int, stream: int, counters: UInt64Array) -> UInt64Array:
    """SplitMix64's outputs at ``counters`` of the stream that (seed, stream) keys."""
    key = mix(np.array([seed], np.uint64) + np.array([stream], np.uint64) * _GAMMA)
    return mix(key + (counters + np.uint64(1)) * _GAMMA)


def mix(z: UInt64Array) -> UInt64Array:
    """SplitMix64's output function, element by element."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: UInt64Array = z ^ (z >> np.uint64(31))
    return mixed
