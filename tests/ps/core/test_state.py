"""The model's state: one update per step, and a digest of all that was learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from coterie.contract import Contract
from coterie.parameters.digest import model_digest
from coterie.parameters.initial import initial_dense
from coterie.parameters.sharding import SLICES, Sharding, slices_of
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.state import ModelState
from tests.ps.calls import mean_gradients
from tests.ps.conftest import digest_of, fake_gradients, small_contract


def test_a_new_state_holds_the_initial_parameters(make_contract: Callable[..., Contract]) -> None:
    contract = make_contract(seed=5)
    state = ModelState(contract)
    dense = initial_dense(5, contract.model.dense_parameters(contract.data))
    assert state.dense.tobytes() == dense.tobytes()
    assert (state.step, state.epoch_loss, state.epoch_examples) == (0, 0.0, 0)


def test_a_step_updates_dense_parameters_and_rows_with_plain_sgd(
    make_contract: Callable[..., Contract], make_gradients: Callable[..., Gradients]
) -> None:
    state = ModelState(make_contract())
    gradients = mean_gradients([make_gradients(0, 0, 4)])
    ids, dense_g, rows_g = gradients.row_ids_u, gradients.dense_p.copy(), gradients.rows_ud.copy()
    dense, rows = state.dense.copy(), state.table.read(ids)
    state.apply(gradients, first_of_epoch=True)
    assert np.allclose(state.dense, dense - 0.1 * dense_g, atol=1e-6)
    assert np.allclose(state.table.read(ids), rows - 0.1 * rows_g, atol=1e-6)
    assert state.step == 1


def test_the_loss_is_summed_over_the_epoch_alone(
    make_contract: Callable[..., Contract], make_gradients: Callable[..., Gradients]
) -> None:
    state = ModelState(make_contract())
    losses = []
    for step in range(4):
        gradients = mean_gradients([make_gradients(0, step, 4)])
        losses.append(gradients.loss_sum)
        state.apply(gradients, first_of_epoch=step % 2 == 0)
    assert state.epoch_loss == losses[2] + losses[3]
    assert state.epoch_examples == 8


def test_the_digest_is_the_documented_one(
    make_contract: Callable[..., Contract], make_gradients: Callable[..., Gradients]
) -> None:
    contract = make_contract()
    state = ModelState(contract)
    state.apply(mean_gradients([make_gradients(0, 0, 4)]), first_of_epoch=True)
    rows = state.table.trained_rows()
    expected = hashlib.sha256(
        b"coterie model 2\0"
        + b"".join(n.to_bytes(8, "little") for n in (7, 1, 15, 15, 2))
        + state.dense.astype("<f4").tobytes()
    )
    records = {
        row: np.int32(row).tobytes() + state.table.read(rows[rows == row]).tobytes() for row in rows
    }
    for index in range(SLICES):
        own = b"".join(records[row] for row in rows[slices_of(rows) == index])
        expected.update(hashlib.sha256(b"coterie slice 1\0" + own).digest())
    assert digest_of(contract, state) == expected.digest()


def test_the_digest_tells_seed_step_dense_parameters_and_rows_apart(
    make_contract: Callable[..., Contract], make_gradients: Callable[..., Gradients]
) -> None:
    digests = set()
    for seed in (7, 8):
        for steps in (0, 1, 2):
            contract = make_contract(seed=seed)
            state = ModelState(contract)
            for step in range(steps):
                state.apply(mean_gradients([make_gradients(0, step, 4)]), first_of_epoch=False)
            digests.add(digest_of(contract, state))
            state.dense[3] += 1
            digests.add(digest_of(contract, state))
            state.dense[3] -= 1
            state.table.apply(np.array([14], np.int32), np.ones((1, 2), np.float32))
            digests.add(digest_of(contract, state))
    assert len(digests) == 18


def test_reading_does_not_change_the_digest(make_contract: Callable[..., Contract]) -> None:
    contract = make_contract()
    state = ModelState(contract)
    before = digest_of(contract, state)
    state.table.read(np.arange(15, dtype=np.int32))
    assert digest_of(contract, state) == before


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
def test_the_number_of_shards_does_not_show_in_the_digest(
    make_contract: Callable[..., Contract], shards: int
) -> None:
    small = make_contract(rows={"kind": "lazy_adam"}, dense={"kind": "adam"})
    contract = small.model_copy(
        update={"data": small.data.model_copy(update={"column_rows": {}, "rows": 3000})}
    )
    whole = ModelState(contract)
    states = [ModelState(contract, shard, shards) for shard in range(shards)]
    sharding = Sharding(contract.data.total_rows, shards)
    random = np.random.default_rng(1)
    for _ in range(4):
        rows = np.sort(random.choice(9000, 700, replace=False)).astype(np.int32)
        values = random.normal(size=(700, 2)).astype(np.float32)
        dense = random.normal(size=15).astype(np.float32)
        whole.apply(Gradients(4, 1.0, dense.copy(), rows, values), first_of_epoch=False)
        for shard, state in enumerate(states):
            own = sharding.owners(rows) == shard
            part = dense.copy() if shard == 0 else np.zeros(0, np.float32)
            state.apply(Gradients(4, 1.0, part, rows[own], values[own]), first_of_epoch=False)
    parts = [state.slice_digests() for state in states]
    slices = [parts[s % shards][s // shards * 32 : s // shards * 32 + 32] for s in range(SLICES)]
    digest = model_digest(contract, 4, states[0].dense, slices)
    assert digest == digest_of(contract, whole)


def test_a_snapshot_holds_what_changed_and_restores_it(
    make_contract: Callable[..., Contract], make_gradients: Callable[..., Gradients]
) -> None:
    contract = make_contract(rows={"kind": "rowwise_adagrad"}, dense={"kind": "adagrad"})
    state, copy = ModelState(contract), ModelState(contract)
    for step in range(6):
        state.apply(mean_gradients([make_gradients(0, step, 4)]), first_of_epoch=step == 0)
        if step % 2:
            copy.restore(state.snapshot())
    assert digest_of(contract, copy) == digest_of(contract, state)
    assert (copy.step, copy.epoch_loss, copy.epoch_examples) == (6, state.epoch_loss, 24)
    assert state.snapshot().rows.size == 0
    everything = state.snapshot(everything=True)
    assert everything.rows.tolist() == state.table.trained_rows().tolist()


def test_a_step_that_nobody_has_a_part_in_changes_nothing_but_the_count(
    make_contract: Callable[..., Contract],
) -> None:
    state = ModelState(make_contract())
    before = state.dense.copy()
    state.skip(first_of_epoch=True)
    assert (state.step, state.epoch_examples) == (1, 0)
    assert np.array_equal(state.dense, before)


def test_a_snapshot_stays_as_it_was_while_training_goes_on(
    make_contract: Callable[..., Contract], make_gradients: Callable[..., Gradients]
) -> None:
    """It is written to the disk on another thread meanwhile."""
    state = ModelState(make_contract(dense={"kind": "adagrad"}, rows={"kind": "adagrad"}))

    def train(step: int) -> None:
        state.apply(mean_gradients([make_gradients(0, step, 4)]), first_of_epoch=False)

    train(0)
    snapshot = state.snapshot(everything=True)
    arrays = (snapshot.dense_p, snapshot.dense_state, snapshot.values, snapshot.row_state)
    before = [array.tobytes() for array in arrays]
    for step in range(8):
        train(step)
    assert [array.tobytes() for array in arrays] == before
    assert state.dense.tobytes() != before[0]
    assert state.optimizer.state.tobytes() != before[1]


HEX = "ab" * 32
COUNTING = {
    "dense": {"kind": "adam"},
    "rows": {"kind": "lazy_adam"},
    "schedule": {"warmup_steps": 5},
}


def counting(start: dict[str, object] | None = None) -> Contract:
    """Optimizers and rates that go by the number of the update; perhaps a start."""
    value = small_contract().model_dump(mode="json")
    value["training"] |= COUNTING
    if start is not None:
        value["start"] = {"model": HEX, "contract": HEX, "step": 3, **start}
    return Contract.model_validate(value)


def stepped(state: ModelState, steps: range) -> ModelState:
    for step in steps:
        state.apply(fake_gradients(0, step, 8), first_of_epoch=False)
    return state


def taken_over(contract: Contract, before: ModelState) -> ModelState:
    """A state that begins with what another one holds."""
    state = ModelState(contract)
    rows = before.table.trained_rows()
    state.dense[:], state.optimizer.state[:] = before.dense, before.optimizer.state
    state.table.begin_with(rows, before.table.values_of(rows))
    state.table.begin_with_state(rows, before.table.state_of(rows))
    return state


def test_updates_count_on_from_a_start() -> None:
    whole = stepped(ModelState(counting()), range(6))
    first = stepped(ModelState(counting()), range(3))
    second = taken_over(counting({"optimizer_state": HEX}), first)
    assert (second.step, second.updates, second.optimizer_updates) == (0, 3, 3)
    stepped(second, range(3, 6))
    assert (second.step, second.updates, second.optimizer_updates) == (3, 6, 6)
    assert second.dense.tobytes() == whole.dense.tobytes()
    rows = whole.table.trained_rows()
    assert second.table.values_of(rows).tobytes() == whole.table.values_of(rows).tobytes()
    assert second.slice_digests() == whole.slice_digests()
    assert second.state_digests() == whole.state_digests()


def test_optimizers_that_begin_anew_count_from_the_start() -> None:
    state = ModelState(counting({"optimizer_state": "new"}))
    assert (state.updates, state.optimizer_updates) == (3, 0)
    given = {"optimizer_state": HEX, "optimizer_updates": 2}
    assert ModelState(counting(given)).optimizer_updates == 2


def test_a_start_is_in_the_first_checkpoint_whole() -> None:
    first = stepped(ModelState(counting()), range(3))
    second = taken_over(counting({"optimizer_state": HEX}), first)
    segment = second.snapshot()
    assert segment.rows.tolist() == first.table.trained_rows().tolist()
    assert segment.values.tobytes() == first.snapshot(everything=True).values.tobytes()
    assert segment.row_state.tobytes() == first.snapshot(everything=True).row_state.tobytes()


def test_what_was_taken_is_forgotten_whole() -> None:
    first = stepped(ModelState(counting()), range(3))
    second = taken_over(counting({"optimizer_state": HEX}), first)
    second.table.forget()
    fresh = ModelState(counting())
    assert second.table.trained_rows().size == second.table.take_touched().size == 0
    every = np.arange(15, dtype=np.int32)
    assert second.table.read(every).tobytes() == fresh.table.read(every).tobytes()
    assert second.table.state_of(every).tobytes() == fresh.table.state_of(every).tobytes()
