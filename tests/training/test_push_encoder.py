"""Error feedback: what a push leaves away goes into the next one, and comes back bit by bit after faults."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from coterie.arrays import FloatArray
from coterie.contract import Contract
from coterie.errors import MessageRefused
from coterie.ps.core.schedule import Lane
from coterie.ps.wire.push_coding import push_coding
from coterie.training.push_encoder import PushEncoder
from tests.ps.conftest import small_contract

TOP = {"exchange": "top-k", "exchange_share": 0.1}  # one of 15 values
INT8 = {"exchange": "int8"}
STEPS = 12


def contract_of(**training: object) -> Contract:
    return small_contract(batch=4, checkpoint_steps=5).model_copy(update={"training": training})


def gradient(step: int) -> FloatArray:
    return np.random.default_rng(step).normal(size=15).astype(np.float32)


def lane(contract: Contract) -> Lane:
    return Lane.of(contract.training, 48, steps_per_epoch=STEPS, steps=STEPS)


def pushed(encoder: PushEncoder, contract: Contract, steps: Iterable[int]) -> list[bytes]:
    return [bytes(encoder.encode_dense(lane(contract), step, gradient(step))[1]) for step in steps]


@pytest.mark.parametrize("training", [INT8, TOP], ids=["int8", "top-k"])
def test_up_to_a_flush_the_sum_of_what_is_sent_is_the_sum_of_the_gradients(
    training: dict[str, object],
) -> None:
    contract = contract_of(**training)
    encoder, sent, given = PushEncoder(contract), np.zeros(15), np.zeros(15)
    for step in range(5):
        given += gradient(step)
        coding, octets = encoder.encode_dense(lane(contract), step, gradient(step))
        sent += coding.decode_dense(octets)
        if training is TOP:
            assert np.count_nonzero(coding.decode_dense(octets)) == (15 if step == 4 else 1)
    # The flush, step 4, is off by half a scale of its own.
    assert sent == pytest.approx(given, abs=np.abs(given).max() / 254 * 1.01)


@pytest.mark.parametrize("training", [INT8, TOP], ids=["int8", "top-k"])
def test_nothing_of_the_steps_before_goes_into_a_push_after_a_flush(
    training: dict[str, object],
) -> None:
    contract = contract_of(**training)
    undisturbed = pushed(PushEncoder(contract), contract, range(STEPS))
    for settled in (0, 5, 10):
        later = pushed(PushEncoder(contract), contract, range(settled, STEPS))
        assert later == undisturbed[settled:]
    within = pushed(PushEncoder(contract), contract, range(3, 5))
    assert within != undisturbed[3:5]


@pytest.mark.parametrize("training", [INT8, TOP], ids=["int8", "top-k"])
@pytest.mark.parametrize(
    "steps",
    [
        [0, 1, 2, 2, 3, 4, 5],  # a reply was lost
        [0, 1, 2, 2, 2, 3, 4],
        [0, 1, 2, 3, 0, 1, 2, 3],  # the server went back to the beginning
        [5, 6, 7, 5, 6],
        [3, 4, 5, 6, 5, 6, 7],  # before the checkpoint it had kept something, at it nothing
        [5, 6, 7, 0, 1],
        [0, 1, 5, 6],  # without the steps between: nothing remains over a checkpoint
    ],
    ids=str,
)
def test_a_push_that_is_made_again_has_the_same_bits(
    training: dict[str, object], steps: list[int]
) -> None:
    contract = contract_of(**training)
    once = pushed(PushEncoder(contract), contract, range(STEPS))
    made = pushed(PushEncoder(contract), contract, steps)
    begun = steps.index(5) if steps[0] == 3 else 0
    assert made[begun:] == [once[step] for step in steps[begun:]]


def test_without_feedback_a_push_depends_on_its_gradient_alone() -> None:
    for training in ({}, {"exchange": "bfloat16"}):
        contract = contract_of(**training)
        coding = push_coding(contract)
        alone = [bytes(coding.encode_dense(gradient(step))) for step in range(4)]
        assert pushed(PushEncoder(contract), contract, range(4)) == alone


def test_what_sums_of_squares_grew_by_has_no_remainder() -> None:
    local = {"dense": {"kind": "adagrad"}, "rows": {}}
    contract = contract_of(local_steps=2, local=local, **TOP)
    encoder = PushEncoder(contract)
    changes = np.concatenate((gradient(1), np.abs(gradient(2))))
    for step in range(2):
        coding, octets = encoder.encode_dense(lane(contract), step, changes)
        assert coding.decode_dense(octets)[15:] == pytest.approx(changes[15:], rel=4e-3)


def test_a_gradient_beyond_what_the_coding_holds_is_refused_at_the_worker() -> None:
    contract = contract_of(**INT8)
    encoder = PushEncoder(contract)
    with pytest.raises(MessageRefused, match="not finite"):
        encoder.encode_dense(lane(contract), 0, np.full(15, np.finfo(np.float32).max))
