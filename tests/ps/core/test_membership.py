"""Who is awaited, who has come, and which of two incarnations counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coterie.contract import Contract
from coterie.errors import MessageRefused, StepRefused
from coterie.ps.caller import Caller
from coterie.ps.core.membership import MAX_EXAMPLES, Membership, TrainingData


def worker(name: str, incarnation: int = 1) -> Caller:
    return Caller(name, "worker", incarnation)


DIGEST = bytes(32)
CHIEF = Caller("chief", "chief", 1)


def test_federated_runs_wait_for_every_worker(make_contract: Callable[..., Contract]) -> None:
    membership = Membership(make_contract(workers=3), {})
    assert list(membership.missing) == ["w0", "w1", "w2"]
    membership.join(worker("w2"), 5, DIGEST)
    membership.join(worker("w0"), 7, DIGEST)
    assert list(membership.joined) == ["w0", "w2"]
    assert list(membership.missing) == ["w1"]
    membership.join(worker("w1"), 9, DIGEST)
    assert not membership.missing
    examples = {name: data.examples for name, data in membership.data_sets.items()}
    assert examples == {"w0": 7, "w1": 9, "w2": 5}
    assert {data.digest for data in membership.data_sets.values()} == {"00" * 32}


def test_sdt_waits_for_the_chief_too(make_contract: Callable[..., Contract]) -> None:
    membership = Membership(make_contract("sdt"), {})
    assert list(membership.missing) == ["w0", "w1", "chief"]
    membership.join(CHIEF, 0, b"")
    assert list(membership.missing) == ["w0", "w1"]


def test_the_place_in_the_contract_is_the_order_of_summation(
    make_contract: Callable[..., Contract],
) -> None:
    membership = Membership(make_contract(workers=3), {})
    assert [membership.index_of(worker(name)) for name in ("w0", "w1", "w2")] == [0, 1, 2]


def test_only_workers_push(make_contract: Callable[..., Contract]) -> None:
    with pytest.raises(MessageRefused) as refused:
        Membership(make_contract("sdt"), {}).index_of(CHIEF)
    assert refused.value.what == "node chief pushed gradients"
    assert refused.value.seen == "role chief"


def test_joining_again_is_no_news(make_contract: Callable[..., Contract]) -> None:
    membership = Membership(make_contract(), {})
    assert membership.join(worker("w0"), 5, DIGEST)
    assert not membership.join(worker("w0"), 5, DIGEST)
    assert membership.join(worker("w0", incarnation=2), 5, DIGEST)


@pytest.mark.parametrize(
    ("examples", "digest"), [(0, DIGEST), (MAX_EXAMPLES + 1, DIGEST), (5, b""), (5, bytes(31))]
)
def test_unusable_training_data_is_refused(
    make_contract: Callable[..., Contract], examples: int, digest: bytes
) -> None:
    membership = Membership(make_contract(), {})
    with pytest.raises(MessageRefused) as refused:
        membership.join(worker("w0"), examples, digest)
    assert refused.value.what == "worker w0 brings no usable training data"
    assert refused.value.seen == f"{examples} examples, a digest of {len(digest)} bytes"
    assert membership.missing == ("w0", "w1")


@pytest.mark.parametrize("remembered_by", ["itself", "a checkpoint"])
@pytest.mark.parametrize(("examples", "digest"), [(6, DIGEST), (5, bytes([1]) * 32)])
def test_a_worker_that_comes_back_with_other_data_is_refused(
    make_contract: Callable[..., Contract], remembered_by: str, examples: int, digest: bytes
) -> None:
    first = TrainingData(5, DIGEST.hex())
    known = {"w0": first} if remembered_by == "a checkpoint" else {}
    membership = Membership(make_contract(), known)
    if not known:
        membership.join(worker("w0"), 5, DIGEST)
    with pytest.raises(MessageRefused) as refused:
        membership.join(worker("w0", incarnation=2), examples, digest)
    assert refused.value.what == "worker w0 came back with other training data"
    assert refused.value.expected == f"5 examples, SHA-256 {DIGEST.hex()}"
    assert refused.value.seen == f"{examples} examples, SHA-256 {digest.hex()}"
    assert membership.join(worker("w0", incarnation=2), 5, DIGEST)


def test_of_two_incarnations_the_newer_one_counts(make_contract: Callable[..., Contract]) -> None:
    membership = Membership(make_contract(), {})
    membership.join(worker("w0", incarnation=4), 5, DIGEST)
    for stale in (
        lambda: membership.check_incarnation(worker("w0", incarnation=3)),
        lambda: membership.join(worker("w0", incarnation=3), 5, DIGEST),
    ):
        with pytest.raises(StepRefused) as refused:
            stale()
        assert refused.value.what == "node w0 was replaced by a newer incarnation of itself"
        assert refused.value.expected == "incarnation 4"
        assert refused.value.seen == "incarnation 3"
    membership.check_incarnation(worker("w0", incarnation=4))
    membership.check_incarnation(worker("w0", incarnation=5))
    membership.check_incarnation(worker("w1", incarnation=1))


def test_a_replaced_process_stays_old_when_the_server_goes_back_to_a_checkpoint(
    make_contract: Callable[..., Contract],
) -> None:
    membership = Membership(make_contract(), {})
    membership.join(worker("w0", incarnation=4), 5, DIGEST)
    membership.begin_anew()
    assert membership.missing == ("w0", "w1")
    with pytest.raises(StepRefused, match="replaced by a newer incarnation"):
        membership.join(worker("w0", incarnation=3), 5, DIGEST)
    assert membership.join(worker("w0", incarnation=4), 5, DIGEST)


@pytest.mark.parametrize("examples", [1, MAX_EXAMPLES])
def test_the_fewest_and_the_most_examples_are_usable(
    make_contract: Callable[..., Contract], examples: int
) -> None:
    assert Membership(make_contract(), {}).join(worker("w0"), examples, DIGEST)
