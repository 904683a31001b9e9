"""The campaign's plans follow from their seeds, and cover what they are meant to."""

from __future__ import annotations

from faults.plan import SCHEMES, Case, case_of


def test_a_case_follows_from_its_seed() -> None:
    assert [case_of(seed) for seed in range(50)] == [case_of(seed) for seed in range(50)]


def kind_of(case: Case) -> str:
    kinds = {
        "kills": bool(case.kills),
        "lines": bool(case.lines),
        "removed": case.removed is not None,
        "calls": case.calls is not None,
    }
    (kind,) = [name for name, there in kinds.items() if there]
    return kind


def test_two_hundred_cases_cover_every_scheme_in_every_way() -> None:
    cases = [case_of(seed) for seed in range(200)]
    assert {(case.scheme, kind_of(case)) for case in cases} == {
        (scheme, kind) for scheme in SCHEMES for kind in ("kills", "lines", "removed", "calls")
    }
    assert {fault.kind for case in cases for fault in case.lines} == {"cut", "stall"}


def test_the_short_campaign_has_every_kind() -> None:
    assert {kind_of(case_of(seed)) for seed in range(20)} == {"kills", "lines", "removed", "calls"}
