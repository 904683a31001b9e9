"""The base of every contract section: frozen, strict, and closed to unknown keys."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the contract.

    Unknown keys are errors, values are not coerced, non-finite numbers are refused.

    A key that a later version added stands in ``LATER``: where it has its default it is left out of
    the canonical form, so that contracts of before keep the digest that their parties signed.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_max_length=512
    )
