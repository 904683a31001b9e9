"""The fused table: rows come into being when they are updated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from coterie.contract import Contract
from coterie.errors import MessageRefused
from coterie.parameters.initial import initial_rows
from coterie.parameters.sharding import Sharding
from coterie.ps.core.table import RowTable

ALL = np.arange(15, dtype=np.int32)
BOUNDS = np.sqrt(1 / np.repeat([4, 5, 6], [4, 5, 6])).astype(np.float32)
KINDS = ["sgd", "adagrad", "rowwise_adagrad", "lazy_adam"]


@pytest.fixture(params=KINDS)
def contract(request: pytest.FixtureRequest, make_contract: Callable[..., Contract]) -> Contract:
    return make_contract(rows={"kind": request.param})


def ids(*rows: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(rows, np.int32)


def ones(count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.ones((count, 2), np.float32)


def test_rows_start_uniform_within_one_over_the_root_of_their_table(contract: Contract) -> None:
    values = RowTable(contract).read(ALL)
    assert values.tobytes() == initial_rows(7, ALL.astype(np.int64), BOUNDS, 2).tobytes()
    assert (np.abs(values) <= BOUNDS[:, None]).all()


def test_reading_never_creates_a_row(contract: Contract) -> None:
    table = RowTable(contract)
    for read in (table.read, table.trained, table.state_of):
        read(ALL)
        assert table.trained_rows().size == 0
    table.apply(ids(2), ones(1))
    table.read(ALL)
    assert table.trained_rows().tolist() == [2]


def test_reading_gives_a_copy(contract: Contract) -> None:
    table = RowTable(contract)
    table.apply(ids(2), ones(1))
    before = table.read(ALL)
    table.read(ALL)[:] = 99
    assert np.array_equal(table.read(ALL), before)


def test_reading_keeps_the_asked_order_and_repeats(contract: Contract) -> None:
    table = RowTable(contract)
    table.apply(ids(2, 9), ones(2))
    asked = ids(9, 0, 2, 9, 14)
    assert np.array_equal(table.read(asked), table.read(ALL)[asked])


def test_an_update_starts_from_the_initial_value(contract: Contract) -> None:
    table, untouched = RowTable(contract), RowTable(contract)
    table.apply(ids(3, 11), ones(2))
    before, after = untouched.read(ALL), table.read(ALL)
    changed = np.flatnonzero((before != after).any(axis=1))
    assert changed.tolist() == [3, 11]
    # Every optimizer's first step against a gradient of 1 is one learning rate down.
    assert np.allclose(before[[3, 11]] - after[[3, 11]], 0.1, atol=1e-6)


def test_which_rows_were_ever_updated_is_known(contract: Contract) -> None:
    table = RowTable(contract)
    table.apply(ids(0, 2, 10), ones(3))
    assert np.flatnonzero(table.trained(ALL)).tolist() == [0, 2, 10]


def test_touched_rows_are_told_once(contract: Contract) -> None:
    table = RowTable(contract)
    table.apply(ids(7, 14), ones(2))
    table.apply(ids(2, 7), ones(2))
    assert table.take_touched().tolist() == [2, 7, 14]
    assert table.take_touched().tolist() == []
    table.apply(ids(7), ones(1))
    assert table.take_touched().tolist() == [7]
    assert table.trained_rows().tolist() == [2, 7, 14]


def test_another_shards_row_is_refused(make_contract: Callable[..., Contract]) -> None:
    big = make_contract().model_copy(
        update={"data": make_contract().data.model_copy(update={"column_rows": {}, "rows": 500})}
    )
    sharding = Sharding(big.data.total_rows, 3)
    table = RowTable(big, 1, 3)
    rows = np.arange(big.data.total_rows, dtype=np.int32)
    own = rows[sharding.owners(rows) == 1]
    foreign = int(rows[sharding.owners(rows) != 1][0])
    table.apply(own, np.ones((own.size, 2), np.float32))
    assert table.trained_rows().tolist() == own.tolist()
    for call in (table.read, table.trained):
        with pytest.raises(MessageRefused, match="does not hold") as refused:
            call(ids(foreign))
        assert refused.value.seen == f"row {foreign}"


def test_trained_rows_come_in_global_order_whatever_came_first(contract: Contract) -> None:
    table = RowTable(contract)
    for row in (14, 1, 7, 1):
        table.apply(ids(row), ones(1))
    assert table.trained_rows().tolist() == [1, 7, 14]


def test_a_row_does_not_depend_on_which_rows_came_before_it(contract: Contract) -> None:
    one, other = RowTable(contract), RowTable(contract)
    for row in (5, 12, 1):
        one.apply(ids(row), ones(1))
    other.apply(ids(1, 5, 12), ones(3))
    assert one.read(ALL).tobytes() == other.read(ALL).tobytes()


def test_a_restored_table_goes_on_as_the_first_one(contract: Contract) -> None:
    first, second = RowTable(contract), RowTable(contract)
    random = np.random.default_rng(0)
    for rows in (ids(0, 5), ids(5, 6, 14)):
        first.apply(rows, random.normal(size=(rows.size, 2)).astype(np.float32))
    rows = first.trained_rows()
    state = first.state_of(rows)
    second.restore(rows, first.values_of(rows), state)
    for table in (first, second):
        table.apply(ids(5, 7), ones(2))
    assert first.read(ALL).tobytes() == second.read(ALL).tobytes()
    assert first.trained_rows().tolist() == second.trained_rows().tolist()
    assert first.state_of(ALL).tobytes() == second.state_of(ALL).tobytes()
