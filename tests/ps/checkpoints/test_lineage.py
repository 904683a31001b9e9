"""Through which announced checkpoints a run came, as far as that is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coterie.contract import contract_digest
from coterie.contract.rollback import RollbackConsent
from coterie.errors import RollbackRefused, SignatureRefused
from coterie.ps.checkpoints.lineage import Announced, Lineage
from coterie.ps.checkpoints.records import MAX_CONSENTS, MAX_PASSED, DurableCheckpoint, RunRecord
from coterie.ps.wire.checkpoint_messages import lineage_from_wire, lineage_to_wire
from tests.ps.conftest import small_contract

RUN, OTHER_RUN = "5e" * 32, "0b" * 32


def checkpoint(step: int, content: int = 1) -> DurableCheckpoint:
    return DurableCheckpoint(step, bytes([content]) * 32)


def lineage(*steps: int) -> Lineage:
    found = Lineage(RUN)
    for step in steps:
        found = found.announce(checkpoint(step))
    return found


def consent(target: DurableCheckpoint, given_up: DurableCheckpoint) -> RollbackConsent:
    return RollbackConsent(
        contract_digest(small_contract()),
        RUN,
        target.step,
        target.digest,
        given_up.step,
        given_up.digest,
        {"operator": bytes(64)},
    )


def kept(found: Lineage, newest: DurableCheckpoint) -> Lineage:
    """As a restarted server finds it in the record of its newest checkpoint."""
    passed, consents = found.record()
    record = RunRecord(
        run_id=found.run_id,
        data_sets={},
        passed=passed,
        consents=tuple(one.stored() for one in consents),
    )
    read = RunRecord.model_validate_json(record.model_dump_json())
    return Lineage.restored(read, newest, None)


def test_a_restarted_server_knows_what_was_announced_before() -> None:
    before = lineage(2, 4, 6)
    assert kept(before, checkpoint(8)) == before.announce(checkpoint(8))


@pytest.mark.parametrize(
    "lost",
    [checkpoint(6), checkpoint(4, 2), checkpoint(3), checkpoint(1)],
    ids=["newer", "another of the same step", "between two", "before the first"],
)
def test_a_run_that_never_came_through_what_is_remembered_is_refused(
    lost: DurableCheckpoint,
) -> None:
    found = lineage(2, 4)
    assert found.check(Announced(RUN, checkpoint(2))) == ()
    with pytest.raises(RollbackRefused, match="older checkpoint") as refused:
        found.check(Announced(RUN, lost))
    assert refused.value.expected == f"{Announced(RUN, lost).words}, or what came of it"
    assert refused.value.seen == found.words


def test_it_travels_whole() -> None:
    found = replace(lineage(2, 4), consents=(consent(checkpoint(2), checkpoint(9)),))
    assert lineage_from_wire(lineage_to_wire(found), small_contract()) == found
    assert lineage_from_wire(lineage_to_wire(Lineage(RUN)), small_contract()) == Lineage(RUN)


def test_only_so_many_are_kept_and_of_older_ones_nobody_can_tell() -> None:
    found = lineage(*range(1, MAX_PASSED + 10))
    assert len(found.passed) == MAX_PASSED
    assert len(kept(found, checkpoint(999)).passed) == MAX_PASSED
    oldest = found.passed[0].step
    assert found.passes(checkpoint(oldest))
    assert not found.passes(checkpoint(oldest, 2))
    assert found.passes(checkpoint(oldest - 1, 2)), "it cannot be told"
    with pytest.raises(RollbackRefused, match="another run"):
        found.check(Announced(OTHER_RUN, checkpoint(oldest - 1)))


def test_the_kept_ones_fit_into_messages_and_manifests() -> None:
    full = lineage(*range(10**9, 10**9 + MAX_PASSED + 1))
    assert len(lineage_to_wire(full).SerializeToString()) < 8192


class TestConsents:
    def test_one_covers_what_is_given_up_and_nothing_newer(self) -> None:
        found = replace(lineage(2), consents=(consent(checkpoint(2), checkpoint(6)),))
        for remembered in (checkpoint(4, 3), checkpoint(6)):
            assert found.check(Announced(RUN, remembered)) == found.consents
        for remembered in (checkpoint(6, 3), checkpoint(7)):
            with pytest.raises(RollbackRefused, match="older checkpoint"):
                found.check(Announced(RUN, remembered))

    def test_one_for_another_way_or_run_does_not_count(self) -> None:
        given = consent(checkpoint(2, 3), checkpoint(6))
        for other in (given, replace(consent(checkpoint(2), checkpoint(6)), run_id=OTHER_RUN)):
            found = replace(lineage(2), consents=(other,))
            with pytest.raises(RollbackRefused, match="older checkpoint"):
                found.check(Announced(RUN, checkpoint(4)))

    def test_it_counts_for_who_comes_later_too(self) -> None:
        went_back = replace(lineage(2), consents=(consent(checkpoint(2), checkpoint(6)),))
        later = kept(went_back.announce(checkpoint(8, 5)), checkpoint(9, 5))
        assert later.check(Announced(RUN, checkpoint(6))) == went_back.consents

    def test_a_server_takes_one_for_the_checkpoint_that_it_is_at(self) -> None:
        record = RunRecord(run_id=RUN, data_sets={})
        given = consent(checkpoint(2), checkpoint(6))
        assert Lineage.restored(record, checkpoint(2), given).consents == (given,)
        with pytest.raises(SignatureRefused, match="for another checkpoint") as refused:
            Lineage.restored(record, checkpoint(3), given)
        assert refused.value.expected == f"run {RUN}, step 3 (SHA-256 {'01' * 32})"
        assert refused.value.seen == f"run {RUN}, step 2 (SHA-256 {'01' * 32})"
        with pytest.raises(SignatureRefused, match="for another checkpoint"):
            Lineage.restored(record.model_copy(update={"run_id": OTHER_RUN}), checkpoint(2), given)

    def test_one_that_was_used_already_changes_nothing_at_a_restart(self) -> None:
        given = consent(checkpoint(2), checkpoint(6))
        record = RunRecord(run_id=RUN, data_sets={}, consents=(given.stored(),))
        assert Lineage.restored(record, checkpoint(9), given).consents == (given,)

    def test_a_run_goes_back_only_so_often(self) -> None:
        used = tuple(
            consent(checkpoint(1), checkpoint(6 + n)).stored() for n in range(MAX_CONSENTS)
        )
        record = RunRecord(run_id=RUN, data_sets={}, consents=used)
        with pytest.raises(SignatureRefused, match="too often"):
            Lineage.restored(record, checkpoint(2), consent(checkpoint(2), checkpoint(99)))
