"""The check of a caller's role, the same for every transport."""

from __future__ import annotations

from collections.abc import Mapping

from coterie.errors import CallRefused
from coterie.kinds import Role

Permissions = Mapping[str, frozenset[Role]]


def check_role(node: str, role: Role, method: str, roles: frozenset[Role]) -> None:
    """Refuses a call by a node whose role may not make it.

    Args:
        node: The caller.
        role: Its role in the contract.
        method: The call's full name, ``/package.Service/Method``.
        roles: The permitted roles.

    Raises:
        CallRefused: The role is not one of them.
    """
    if role in roles:
        return
    raise CallRefused(
        f"{node} may not call {method}",
        expected=f"a caller with role {' or '.join(sorted(roles)) or '(nobody)'}",
        seen=role,
        remedy="a node does what its role in the contract allows, and nothing else",
    )
