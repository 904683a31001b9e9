"""Who may make a call: roles that are not named are refused, and told so."""

from __future__ import annotations

import pytest

from coterie.errors import CallRefused
from coterie.kinds import Role
from coterie.permissions import check_role

CALL = "/coterie.ps.v3.ParameterServer/Initialize"
ROLES: tuple[Role, ...] = ("ps", "worker", "chief")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_is_named_may_call(role: Role) -> None:
    check_role("n", role, CALL, frozenset({role}))
    check_role("n", role, CALL, frozenset(ROLES))


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (frozenset(), "a caller with role (nobody)"),
        (frozenset({"chief"}), "a caller with role chief"),
        (frozenset({"ps", "chief"}), "a caller with role chief or ps"),
    ],
)
def test_a_role_that_is_not_named_is_refused(roles: frozenset[Role], expected: str) -> None:
    with pytest.raises(CallRefused, match=f"w0 may not call {CALL}") as refused:
        check_role("w0", "worker", CALL, roles)
    assert (refused.value.expected, refused.value.seen) == (expected, "worker")
