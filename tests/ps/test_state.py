"""The model's state: one update per step, and a digest of all that was learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from coterie.contract import Contract
from coterie.ps.aggregation import Gradients, mean_gradients
from coterie.ps.initial import initial_dense
from coterie.ps.state import ModelState


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
    state = ModelState(make_contract())
    state.apply(mean_gradients([make_gradients(0, 0, 4)]), first_of_epoch=True)
    rows = state.table.trained_rows()
    expected = hashlib.sha256(
        b"coterie model 1\0"
        + b"".join(n.to_bytes(8, "little") for n in (7, 1, 15, rows.size, 2))
        + state.dense.astype("<f4").tobytes()
        + rows.astype("<i4").tobytes()
        + state.table.read(rows).astype("<f4").tobytes()
    )
    assert state.digest() == expected.digest()


def test_the_digest_tells_seed_step_dense_parameters_and_rows_apart(
    make_contract: Callable[..., Contract], make_gradients: Callable[..., Gradients]
) -> None:
    digests = set()
    for seed in (7, 8):
        for steps in (0, 1, 2):
            state = ModelState(make_contract(seed=seed))
            for step in range(steps):
                state.apply(mean_gradients([make_gradients(0, step, 4)]), first_of_epoch=False)
            digests.add(state.digest())
            state.dense[3] += 1
            digests.add(state.digest())
            state.dense[3] -= 1
            state.table.apply(np.array([14], np.int32), np.ones((1, 2), np.float32))
            digests.add(state.digest())
    assert len(digests) == 18


def test_reading_does_not_change_the_digest(make_contract: Callable[..., Contract]) -> None:
    state = ModelState(make_contract())
    before = state.digest()
    state.table.read(np.arange(15, dtype=np.int32))
    assert state.digest() == before
