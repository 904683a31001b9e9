"""The base of every contract section: frozen, strict, and closed to unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from coterie.contract.problems import invalid


class Section(BaseModel):
    """A table of the contract.

    Unknown keys are errors, values are not coerced, non-finite numbers are refused.

    ``LATER`` lists keys that later versions added. A key with its default is left out of the
    canonical form, so that older contracts keep the digest that their parties signed.
    """

    LATER: ClassVar[frozenset[str]] = frozenset()

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_max_length=512
    )

    def model_copy(self, *, update: Mapping[str, object] | None = None, deep: bool = False) -> Self:
        """A copy with other values, checked like a file's; pydantic's own method checks nothing.

        Values for a table change only these keys: ``{"training": {"batch": 64}}`` keeps the rest of
        the table.

        Raises:
            ContractInvalid: A value is invalid by itself or with the others, or a key is unknown.
        """
        if not update:
            return super().model_copy(deep=deep)
        values = {name: getattr(self, name) for name in self.model_fields_set}
        try:
            return type(self).model_validate(values | self._changed(update))
        except ValidationError as error:
            raise invalid(f"the changed {type(self).__name__}", error) from error

    def _changed(self, update: Mapping[str, object]) -> dict[str, object]:
        values = dict(update)
        for name, value in update.items():
            old = getattr(self, name, None)
            kind = getattr(old, "kind", None)
            if (
                isinstance(old, Section)
                and isinstance(value, Mapping)
                and value.get("kind", kind) == kind
            ):
                values[name] = old.model_copy(update=value)
        return values
