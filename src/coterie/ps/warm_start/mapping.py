"""Maps the values of a start to their places in the new contract's model. Pure.

A table may grow so that every id keeps its vector. An id's row is 1 + hash mod (rows - 1). If the
number of rows without the first grows m times, the ids of an old row r spread over the m new rows
r, r + (rows - 1), ..., which start as copies of it. With any other growth, ids would get other ids'
vectors.

Columns may be added. The first layers then have more inputs: old inputs keep their weights, and new
ones start from the seed, as new tables do.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from coterie.arrays import IdArray, IntpArray
from coterie.contract import Contract, DataSection, ModelSection, start_data
from coterie.errors import StartRefused


class StartMapping:
    """Places of a start's values, once the start is known to fit.

    Args:
        start: The contract that the start was trained under.
        contract: The one that goes on from it.

    Attributes:
        dense: For every dense parameter of the start, its place in the new model; int [P].

    Raises:
        StartRefused: Columns, tables, hashing or the model differ otherwise than the contract says.
    """

    def __init__(self, start: Contract, contract: Contract) -> None:
        _check_fit(start, contract)
        self.dense = _dense_places(start, contract)
        data = contract.data
        offsets = dict(zip(data.categorical, data.column_offsets, strict=True))
        rows = dict(zip(data.categorical, data.table_rows, strict=True))
        names, before = start.data.categorical, start.data.table_rows
        self._old_offsets = np.array(start.data.column_offsets, np.int64)
        self._new_offsets = np.array([offsets[name] for name in names], np.int64)
        self._strides = np.array(before, np.int64) - 1
        self._copies = (np.array([rows[name] for name in names]) - 1) // self._strides

    def rows(self, old: IdArray) -> Iterator[tuple[IdArray, IntpArray]]:
        """The new rows of rows of the start.

        Args:
            old: Global rows of the start, int32 [n], ascending.

        Yields:
            New global rows, int32 [k], each once, and where in ``old`` their values are, [k].
        """
        columns = np.searchsorted(self._old_offsets, old, side="right") - 1
        first = self._new_offsets[columns] + old - self._old_offsets[columns]
        hashed = old != self._old_offsets[columns]  # no id hashes to the out-of-vocabulary row
        for copy in range(int(self._copies[columns].max(initial=0))):
            source = np.flatnonzero((hashed | (copy == 0)) & (copy < self._copies[columns]))
            new = first[source] + copy * self._strides[columns[source]]
            yield new.astype(np.int32), source


def _check_fit(start: Contract, contract: Contract) -> None:
    """Checks that the start differs from the contract only as its section says."""
    section = contract.start
    assert section is not None
    expected, seen = _shape(start_data(section, contract.data)), _shape(start.data)
    for what in expected:
        if expected[what] != seen[what]:
            raise StartRefused(
                f"the model that the run starts from has other {what} than the contract says",
                expected=_words(expected[what]),
                seen=_words(seen[what]),
                remedy="columns may be added (start.new_columns) and tables grow (start.grown); anything "
                "else needs a run without a start",
            )
    if start.model != contract.model:
        raise StartRefused(
            "the model that the run starts from is built otherwise than the contract's",
            expected=_words(contract.model.model_dump(mode="json")),
            seen=_words(start.model.model_dump(mode="json")),
            remedy="take over its [model] section; another architecture needs a run without a start",
        )


def check_optimizers(start: Contract, contract: Contract) -> None:
    """Refuses an optimizer state of other optimizers than the contract's.

    Raises:
        StartRefused: The optimizers differ.
    """
    before, now = (", ".join(one.training.optimizer_kinds) for one in (start, contract))
    if before != now:
        raise StartRefused(
            "the optimizer state that the run starts from is of other optimizers",
            expected=now,
            seen=before,
            remedy='write optimizer_state = "new" in [start], or keep the optimizers',
        )


def _shape(data: DataSection) -> dict[str, object]:
    return {
        "numeric columns": data.numeric,
        "categorical columns": data.categorical,
        "table sizes": dict(zip(data.categorical, data.table_rows, strict=True)),
        "decimals": data.decimals,
        "hash seeds": data.hash_seed,
    }


def _dense_places(start: Contract, contract: Contract) -> IntpArray:
    """Places of the dense parameters; only the first kernel of each DLRM tower gets more inputs."""
    places: list[IntpArray] = []
    offset = 0
    before = start.model.dense_parameters(start.data)
    for old, new in zip(before, contract.model.dense_parameters(contract.data), strict=True):
        inputs = np.arange(old.shape[0] if old.shape else 1)
        if old.shape != new.shape:
            assert isinstance(contract.model, ModelSection)
            assert old.name in {"bottom_0/kernel", "top_0/kernel"}
            of_bottom = old.name == "bottom_0/kernel"
            inputs = (
                _numeric_inputs(start.data, contract.data)
                if of_bottom
                else _top_inputs(start.data, contract.data, contract.model.embedding_dim)
            )
        width = old.size // max(1, inputs.size)
        own = inputs[:, None] * width + np.arange(width)[None, :]
        places.append(offset + own.ravel())
        offset += new.size
    return np.concatenate(places)


def _numeric_inputs(old: DataSection, new: DataSection) -> IntpArray:
    return np.array([new.numeric.index(name) for name in old.numeric], np.intp)


def _top_inputs(old: DataSection, new: DataSection, dim: int) -> IntpArray:
    """The dense vector's ``dim`` inputs come first; then the pairs of vectors, row by row of the triangle."""
    vectors = [0, *(1 + new.categorical.index(name) for name in old.categorical)]
    below, beside = np.tril_indices(len(vectors), -1)
    rows, columns = (np.array(vectors)[index] for index in (below, beside))
    pairs = dim + rows * (rows - 1) // 2 + columns
    return np.concatenate([np.arange(dim), pairs])


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))[:400]
    if isinstance(value, dict):
        return (", ".join(f"{key}={item}" for key, item in value.items()) or "none")[:400]
    return str(value)[:400]
