"""The campaign's plans follow from their seeds, and cover what they are meant to."""

from __future__ import annotations

from faults.plan import SCHEMES, case_of


def test_a_case_follows_from_its_seed() -> None:
    assert [case_of(seed) for seed in range(50)] == [case_of(seed) for seed in range(50)]


def test_every_case_disturbs_calls_or_kills_nodes() -> None:
    for seed in range(200):
        case = case_of(seed)
        assert (case.calls is None) == bool(case.kills)


def test_two_hundred_cases_cover_every_scheme_both_ways() -> None:
    cases = [case_of(seed) for seed in range(200)]
    assert {(case.scheme, bool(case.kills)) for case in cases} == {
        (scheme, kills) for scheme in SCHEMES for kills in (True, False)
    }
