"""Where a start's values go: ids keep their vectors, layers their weights; the rest begins from the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.contract import Contract, StartSection
from coterie.data.hashing import global_rows
from coterie.errors import StartRefused
from coterie.ps.warm_start.mapping import StartMapping
from tests.ps.conftest import small_contract

NUMERIC, CATEGORICAL = ("I1", "I2"), ("C1", "C2", "C3")
HEX = "ab" * 32


def with_data(
    numeric: tuple[str, ...] = NUMERIC,
    categorical: tuple[str, ...] = CATEGORICAL,
    start: dict[str, object] | None = None,
    model: dict[str, object] | None = None,
    **rows: int,
) -> Contract:
    """Tables of 4, 5 and 6 rows, or others; with a start where one is given."""
    value = small_contract().model_dump(mode="json")
    sizes = {"C1": 4, "C2": 5, "C3": 6} | rows
    value["data"] |= {
        "numeric": numeric,
        "categorical": categorical,
        "column_rows": {name: sizes[name] for name in categorical},
    }
    value["model"] |= model or {}
    if start is not None:
        value["start"] = {"model": HEX, "contract": HEX, "step": 3, **start}
    return Contract.model_validate(value)


def whole(mapping: StartMapping, old: Contract) -> dict[int, int]:
    """By new row the old one that it begins as."""
    every = np.arange(old.data.total_rows, dtype=np.int32)
    found: dict[int, int] = {}
    for new, source in mapping.rows(every):
        assert not set(new.tolist()) & set(found)
        found |= dict(zip(new.tolist(), every[source].tolist(), strict=True))
    return found


def test_nothing_moves_where_nothing_changed() -> None:
    old = with_data()
    mapping = StartMapping(old, with_data(start={}))
    assert whole(mapping, old) == {row: row for row in range(15)}
    assert mapping.dense.tolist() == list(range(15))


@given(
    rows=st.integers(2, 40),
    times=st.integers(1, 5),
    cells=st.lists(st.text(max_size=6), min_size=1, max_size=40),
)
def test_every_id_keeps_its_vector_when_its_table_grows(
    rows: int, times: int, cells: list[str]
) -> None:
    grown = {"C2": rows} if times > 1 else {}
    old, new = (
        with_data(C2=rows),
        with_data(start={"grown": grown}, C2=1 + times * (rows - 1)),
    )
    came_from = whole(StartMapping(old, new), old)
    assert len(came_from) == new.data.total_rows
    before, after = (global_rows(cells, one.data, 1) for one in (old, new))
    assert [came_from[row] for row in after.tolist()] == before.tolist()
    # The out-of-vocabulary row stays the first of its table, and is nobody else's.
    firsts = [new.data.column_offsets[column] for column in range(3)]
    assert [came_from[row] for row in firsts] == list(old.data.column_offsets)
    assert list(came_from.values()).count(old.data.column_offsets[1]) == 1


def test_new_columns_move_the_others_and_begin_from_the_seed() -> None:
    old = with_data(("I2",), ("C1", "C3"))
    new = with_data(NUMERIC, CATEGORICAL, start={"new_columns": ["I1", "C2"]})
    mapping = StartMapping(old, new)
    # C1 keeps rows 0 .. 3; C2's 4 .. 8 are new; C3's 4 .. 9 are 9 .. 14 now
    assert whole(mapping, old) == {**{r: r for r in range(4)}, **{r + 5: r for r in range(4, 10)}}
    # bottom: I1 is the first input now. top: 2 of the dense vector, then pairs (C1, dense), (C2, dense),
    # (C2, C1), (C3, dense), (C3, C1), (C3, C2), of which those with C2 are new.
    names = [
        *("I1/0", "I1/1", "I2/0", "I2/1", "bias/0", "bias/1"),
        *("d0", "d1", "C1d", "C2d", "C2C1", "C3d", "C3C1", "C3C2", "top bias"),
    ]
    kept = [names[place] for place in mapping.dense.tolist()]
    assert kept == [
        *("I2/0", "I2/1", "bias/0", "bias/1"),
        *("d0", "d1", "C1d", "C3d", "C3C1", "top bias"),
    ]


def test_a_model_computes_the_same_where_new_inputs_are_zero() -> None:
    """Of a reference in float64: what is mapped is every weight, at its own input."""
    random = np.random.default_rng(4)
    old = with_data(("I2",), ("C1", "C3"))
    new = with_data(start={"new_columns": ["I1", "C2"]})
    mapping = StartMapping(old, new)
    weights = random.normal(size=mapping.dense.size)
    placed = np.zeros(15)
    placed[mapping.dense] = weights
    vectors = {name: random.normal(size=2) for name in CATEGORICAL}
    numbers = {"I1": 5.0, "I2": 0.7}
    assert reference(placed, new, numbers, vectors) == pytest.approx(
        reference(weights, old, numbers, vectors), rel=1e-12
    )


def reference(
    weights: np.ndarray,
    contract: Contract,
    numbers: dict[str, float],
    vectors: dict[str, np.ndarray],
) -> float:
    """The logit of the DLRM of `small_contract`: one layer of two below, one of one above."""
    named, at = {}, 0
    for parameter in contract.model.dense_parameters(contract.data):
        named[parameter.name] = weights[at : at + parameter.size].reshape(parameter.shape)
        at += parameter.size
    inputs = np.array([numbers[name] for name in contract.data.numeric])
    dense = np.maximum(inputs @ named["bottom_0/kernel"] + named["bottom_0/bias"], 0)
    stacked = np.stack([dense, *(vectors[name] for name in contract.data.categorical)])
    products = stacked @ stacked.T
    pairs = products[np.tril_indices(len(stacked), -1)]
    top = np.concatenate([dense, pairs]) @ named["top_0/kernel"] + named["top_0/bias"]
    return float(top[0])


GROWN: dict[str, object] = {"grown": {"C2": 5}}
# What, the start's contract, the one that goes on, what the error names.
REFUSED: list[tuple[str, Contract, Contract, str, str]] = [
    ("a table grew unsaid", with_data(), with_data(start={}, C2=9), "table sizes", "C2=9"),
    ("a table shrank", with_data(C2=9), with_data(start={}), "table sizes", "C2=5"),
    ("another growth", with_data(C2=4), with_data(start=GROWN, C2=9), "table sizes", "C2=5"),
    (
        "a column is gone",
        with_data(),
        with_data(categorical=("C1", "C2"), start={}),
        "categorical columns",
        "C1, C2",
    ),
    (
        "columns in another order",
        with_data(),
        with_data(categorical=("C2", "C1", "C3"), start={}),
        "categorical columns",
        "C2, C1, C3",
    ),
    (
        "a column came unsaid",
        with_data(numeric=("I1",)),
        with_data(start={}),
        "numeric columns",
        "I1, I2",
    ),
    (
        "a new column was there",
        with_data(),
        with_data(start={"new_columns": ["C2"]}),
        "categorical columns",
        "C1, C3",
    ),
    (
        "another hash seed",
        Contract.model_validate(
            with_data().model_dump() | {"data": with_data().data.model_dump() | {"hash_seed": 9}}
        ),
        with_data(start={}),
        "hash seeds",
        "0",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "what", "expected"),
    [row[1:] for row in REFUSED],
    ids=[row[0] for row in REFUSED],
)
def test_what_is_neither_growth_nor_a_new_column_is_refused(
    old: Contract, new: Contract, what: str, expected: str
) -> None:
    with pytest.raises(StartRefused, match=f"has other {what} than the contract says") as refused:
        StartMapping(old, new)
    assert expected in refused.value.expected


def test_another_architecture_is_refused() -> None:
    wider = with_data(start={}, model={"bottom": [7, 2]})
    with pytest.raises(StartRefused, match="is built otherwise than the contract's") as refused:
        StartMapping(with_data(), wider)
    assert "bottom=[7, 2]" in refused.value.expected
    assert "bottom=[2]" in refused.value.seen


def test_a_start_says_what_the_optimizers_count_from() -> None:
    section = StartSection(model=HEX, contract=HEX, step=9)
    assert section.optimizers_began == 0
    assert section.model_copy(update={"optimizer_state": "new"}).optimizers_began == 9
    given = section.model_copy(update={"optimizer_state": HEX, "optimizer_updates": 4})
    assert given.optimizers_began == 5
