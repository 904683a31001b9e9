"""Which checkpoints are announced: those that every shard holds."""

from __future__ import annotations

import hashlib

from coterie.ps.checkpoints.common_checkpoints import CommonCheckpoints
from coterie.ps.checkpoints.records import DurableCheckpoint


def held(shard: int, step: int) -> DurableCheckpoint:
    return DurableCheckpoint(step, hashlib.sha256(f"{shard} {step}".encode()).digest())


def together(step: int, shards: int) -> DurableCheckpoint:
    parts = b"".join(held(shard, step).digest for shard in range(shards))
    return DurableCheckpoint(step, hashlib.sha256(parts).digest())


def test_the_only_shards_checkpoint_keeps_its_digest() -> None:
    ledger = CommonCheckpoints(1)
    ledger.note(0, held(0, 4))
    assert ledger.newest(after=-1) == held(0, 4)


def test_a_checkpoint_counts_when_every_shard_holds_it() -> None:
    ledger = CommonCheckpoints(2)
    ledger.note(0, held(0, 4))
    assert ledger.newest(after=-1) is None
    ledger.note(1, held(1, 8))
    assert ledger.newest(after=-1) is None
    ledger.note(1, held(1, 4))
    assert ledger.newest(after=-1) == together(4, 2)


def test_the_newest_common_one_is_named_once() -> None:
    ledger = CommonCheckpoints(2)
    for shard in (0, 1):
        for step in (4, 8):
            ledger.note(shard, held(shard, step))
    assert ledger.newest(after=4) == together(8, 2)
    assert ledger.newest(after=8) is None


def test_a_new_life_begins_at_the_newest_that_all_hold_and_forgets_newer_ones() -> None:
    ledger = CommonCheckpoints(2)
    ledger.note(0, held(0, 12))
    begun = ledger.begin({0: (held(0, 4), held(0, 8)), 1: (held(1, 8), held(1, 12))})
    assert begun == together(8, 2)
    ledger.note(1, held(1, 12))
    assert ledger.newest(after=8) is None


def test_without_a_common_one_a_life_begins_at_the_beginning() -> None:
    ledger = CommonCheckpoints(2)
    assert ledger.begin({0: (held(0, 4),), 1: ()}) is None
    assert ledger.newest(after=-1) is None


def test_a_new_life_begins_at_the_newest_of_several() -> None:
    ledger = CommonCheckpoints(2)
    both = {shard: (held(shard, 4), held(shard, 8)) for shard in (0, 1)}
    assert ledger.begin(both) == together(8, 2)


def test_checkpoints_of_the_lost_life_do_not_count_in_the_new_one() -> None:
    """Shard 1 holds step 12 of the life that was lost; shard 0 writes its own of the new one."""
    ledger = CommonCheckpoints(2)
    ledger.begin({0: (held(0, 8),), 1: (held(1, 8), held(1, 12))})
    ledger.note(0, held(0, 12))
    assert ledger.newest(after=8) is None
    ledger.note(1, held(1, 12))
    assert ledger.newest(after=8) == together(12, 2)
