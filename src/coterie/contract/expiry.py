"""Expiry of a contract and of its parties' keys. Pure: the time is an argument."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from coterie.errors import ContractExpired

if TYPE_CHECKING:
    from coterie.contract.schema import Contract

_FORM = "%Y-%m-%dT%H:%M:%SZ"


def moment(text: str) -> datetime:
    """Reads ``2027-01-31T12:00:00Z``.

    Raises:
        ValueError: It is not a valid time.
    """
    return datetime.strptime(text, _FORM).replace(tzinfo=UTC)


def _there_is_one(text: str) -> str:
    moment(text)
    return text


# Text instead of TOML's own type: the canonical form is JSON, with one spelling for each time.
Moment = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
    AfterValidator(_there_is_one),
]


def check_in_force(contract: Contract, at: datetime) -> None:
    """Refuses a contract that has ended.

    Args:
        contract: The contract.
        at: The time now, UTC.

    Raises:
        ContractExpired: Its ``trust.not_after`` has passed.
    """
    end = contract.trust.not_after
    if end is not None and at > moment(end):
        raise ContractExpired(
            f"contract {contract.name} ended at {end}",
            expected=f"a moment until {end} (trust.not_after)",
            seen=at.astimezone(UTC).strftime(_FORM),
        )
