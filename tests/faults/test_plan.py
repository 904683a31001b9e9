"""The campaign's plans follow from their seeds, and cover what they are meant to."""

from __future__ import annotations

from faults.plan import (
    DISK_ERRORS,
    LIMITS,
    SCHEMES,
    Calls,
    DiskTrouble,
    Double,
    Kills,
    Limit,
    Lines,
    PowerFailure,
    Removal,
    case_of,
)

KINDS = {Kills, Lines, Removal, Calls, DiskTrouble, PowerFailure, Double, Limit}
CASES = [case_of(seed) for seed in range(200)]
TROUBLES = [case.trouble for case in CASES]


def test_a_case_follows_from_its_seed() -> None:
    assert [case_of(seed) for seed in range(50)] == [case_of(seed) for seed in range(50)]


def test_two_hundred_cases_cover_every_scheme_in_every_way() -> None:
    assert {(case.scheme, type(case.trouble)) for case in CASES} == {
        (scheme, kind) for scheme in SCHEMES for kind in KINDS
    }


def test_they_cover_every_way_of_a_kind() -> None:
    lines = [trouble for trouble in TROUBLES if isinstance(trouble, Lines)]
    assert {fault.kind for trouble in lines for fault in trouble.faults} == {"cut", "stall"}
    disks = [trouble for trouble in TROUBLES if isinstance(trouble, DiskTrouble)]
    assert {trouble.error for trouble in disks} == set(DISK_ERRORS)
    assert {trouble.lasts for trouble in disks} == {True, False}
    cuts = [trouble for trouble in TROUBLES if isinstance(trouble, PowerFailure)]
    assert {trouble.everywhere for trouble in cuts} == {True, False}
    doubles = [trouble for trouble in TROUBLES if isinstance(trouble, Double)]
    assert {trouble.same_folder for trouble in doubles} == {True, False}
    limits = [trouble for trouble in TROUBLES if isinstance(trouble, Limit)]
    assert {trouble.kind for trouble in limits} == set(LIMITS)


def test_the_short_campaign_has_every_kind() -> None:
    assert {type(case_of(seed).trouble) for seed in range(20)} == KINDS
