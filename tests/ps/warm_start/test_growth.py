"""A start in larger tables and with more columns: what every shard begins with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coterie.contract import Contract
from coterie.nodes.start_section import continued
from coterie.parameters.initial import InitialRows, initial_dense
from coterie.ps.core.state import ModelState
from coterie.trained.model_stream import Octets
from coterie.trained.optimizer_state import STATE_NAME, StateStream
from coterie.trained.trained_model import MODEL_NAME, TrainedModel
from coterie.training.start_giver import StartFiles
from tests.ps.warm_start.conftest import Starting, contract, no_key, ran, starting

OLD, TIMES = 300, 3  # C2 grows from 300 rows to 1 + 3 * 299


def larger(shards: int, before: Path) -> Contract:
    """C2 is three times as large; I9 and C9 are new."""
    made = contract(shards)
    data = made.data.model_copy(
        update={
            "numeric": ("I1", "I2", "I9"),
            "categorical": ("C1", "C2", "C9", "C3"),
            "column_rows": {"C2": 1 + TIMES * (OLD - 1), "C9": 70},
        }
    )
    return continued(made.model_copy(update={"data": data}), before)


def taken(cluster: Starting, before: Path) -> list[ModelState]:
    """The states of all shards, once they have the start."""
    cluster.wait_restored()
    files = StartFiles(cluster.contract, before, no_key)
    life = 0
    states = []
    for shard, name in enumerate(cluster.names):
        port = cluster.port(shard, "w0", "worker")
        while (reply := port.start(files.parts(life))).pending:
            pass
        life = reply.ps_incarnation
        run = cluster._services[name].driver.core.run
        assert run is not None
        states.append(run.state)
    return states


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_every_row_begins_as_it_should(shards: int, before: Path, tmp_path: Path) -> None:
    made = larger(shards, before)
    old = TrainedModel.read(before / MODEL_NAME)
    with starting(made, tmp_path / "out", before) as cluster:
        states = taken(cluster, before)
    offsets = dict(zip(made.data.categorical, made.data.column_offsets, strict=True))
    kept = dict(zip(old.row_ids.tolist(), old.row_values, strict=True))
    sums = optimizer_rows(before)
    expected: dict[int, int] = {}
    for row in kept:
        column, local = divmod(row, OLD)
        first = offsets[("C1", "C2", "C3")[column]] + local
        copies = TIMES if column == 1 and local else 1
        expected |= {first + copy * (OLD - 1): row for copy in range(copies)}
    assert len(expected) > len(kept)
    found: dict[int, int] = {}
    for state in states:
        rows = state.table.trained_rows()
        values, squares = state.table.values_of(rows), state.table.state_of(rows)
        for row, value, square in zip(rows.tolist(), values, squares, strict=True):
            assert row not in found, "two shards hold it"
            found[row] = expected[row]
            assert value.tobytes() == kept[expected[row]].tobytes()
            assert square.tobytes() == sums[expected[row]].tobytes()
        # What is new, or was never trained, is as it is in any run that begins.
        others = np.setdiff1d(np.arange(made.data.total_rows, dtype=np.int32), rows)
        own = others[state.table.owns(others)]
        assert state.table.read(own).tobytes() == InitialRows(made).of(own).tobytes()
    assert found == expected
    assert {row for row in expected if offsets["C9"] <= row < offsets["C9"] + 70} == set()


def optimizer_rows(before: Path) -> dict[int, np.ndarray]:
    octets = (before / STATE_NAME).read_bytes()
    stream = StateStream(Octets(iter([octets]), "s"))
    return {
        row: value
        for ids, values in stream.rows.pieces()
        for row, value in zip(ids.tolist(), values, strict=True)
    }


def test_layers_keep_weights_and_moments_of_old_inputs(before: Path, tmp_path: Path) -> None:
    made = larger(1, before)
    old = TrainedModel.read(before / MODEL_NAME)
    with starting(made, tmp_path / "out", before) as cluster:
        (state,) = taken(cluster, before)
    parameters = made.model.dense_parameters(made.data)
    fresh = initial_dense(made.training.seed, parameters)
    dense = dict(named(state.dense, made))
    before_dense = old.parameters()
    # bottom: I9 is the last of three inputs
    assert dense["bottom_0/kernel"][:2].tobytes() == before_dense["bottom_0/kernel"].tobytes()
    assert (
        dense["bottom_0/kernel"][2].tobytes()
        == dict(named(fresh, made))["bottom_0/kernel"][2].tobytes()
    )
    # top: the dense vector's 2; pairs C1d, C2d, C2C1, C9d, C9C1, C9C2, C3d, C3C1, C3C2, C3C9
    kept, new = [0, 1, 2, 3, 4, 8, 9, 10], [5, 6, 7, 11]
    assert dense["top_0/kernel"][kept].tobytes() == before_dense["top_0/kernel"].tobytes()
    assert (dense["top_0/kernel"][new] == dict(named(fresh, made))["top_0/kernel"][new]).all()
    for bias in ("bottom_0/bias", "top_0/bias"):
        assert dense[bias].tobytes() == before_dense[bias].tobytes()
    stream = StateStream(Octets(iter([(before / STATE_NAME).read_bytes()]), "s"))
    for new_moment, old_moment in zip(
        np.split(state.optimizer.state, 2), np.split(stream.dense_state, 2), strict=True
    ):
        moments, were = dict(named(new_moment, made)), dict(named(old_moment, contract()))
        assert moments["top_0/kernel"][kept].tobytes() == were["top_0/kernel"].tobytes()
        assert not moments["top_0/kernel"][new].any()
        assert moments["bottom_0/kernel"][:2].tobytes() == were["bottom_0/kernel"].tobytes()


def named(flat: np.ndarray, made: Contract) -> list[tuple[str, np.ndarray]]:
    parts, at = [], 0
    for parameter in made.model.dense_parameters(made.data):
        parts.append((parameter.name, flat[at : at + parameter.size].reshape(parameter.shape)))
        at += parameter.size
    return parts


@pytest.mark.parametrize("shards", [2, 3])
def test_a_grown_table_gives_one_model_on_any_number_of_shards(
    shards: int, before: Path, tmp_path: Path
) -> None:
    def grown(count: int) -> Contract:
        made = contract(count)
        data = made.data.model_copy(update={"column_rows": {"C2": 1 + TIMES * (OLD - 1)}})
        return continued(made.model_copy(update={"data": data}), before)

    digests = {
        ran(grown(count), tmp_path / str(count), before).model_digest for count in (1, shards)
    }
    assert len(digests) == 1
