"""Collateral of any vendor as a JSON object of texts: bounded and carried, nothing in it is verified."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Self

from coterie.attestation.verdict import collateral_refused
from coterie.errors import EvidenceRefused

MAX_COLLATERAL_BYTES = 1 << 20
MAX_TEXT_CHARS = 1 << 18
MAX_CRL_BYTES = 1 << 18
SIGNATURE_BYTES = 64

_READ_OVER = "pck_certificate_chain"
# An object with only a few texts in it: the memory that other JSON needs would be its sender's
# choice. All quantifiers are possessive, so that matching is linear.
_OF_TEXTS = re.compile(r'\s*+\{(?:\s*+"(?:[^"\\]++|\\.)*+"\s*+[:,]?+){0,64}+\s*+\}\s*+', re.DOTALL)


@dataclass(frozen=True)
class JsonCollateral:
    """Collateral as a JSON object of texts; what is binary is in hex.

    ``BINARY`` lists the binary fields. A vendor's collateral adds the fields.

    Raises:
        EvidenceRefused: A field is missing or out of bounds (check ``collateral_format``).
    """

    BINARY: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value: object = getattr(self, field.name)
            if field.name in self.BINARY:
                if not isinstance(value, bytes):
                    raise _refused(field.name, "bytes", type(value).__name__)
                if field.name.endswith("_signature") and len(value) != SIGNATURE_BYTES:
                    raise _refused(field.name, f"{SIGNATURE_BYTES} bytes", f"{len(value)} bytes")
                if len(value) > MAX_CRL_BYTES:
                    raise _refused(field.name, f"<= {MAX_CRL_BYTES} bytes", f"{len(value)} bytes")
            elif not isinstance(value, str):
                raise _refused(field.name, "text", type(value).__name__)
            elif len(value) > MAX_TEXT_CHARS:
                raise _refused(field.name, f"<= {MAX_TEXT_CHARS} chars", f"{len(value)} chars")
            elif not value.isascii():
                raise _refused(field.name, "ASCII text", "other characters")

    @classmethod
    def of_fields(cls, values: Mapping[str, str]) -> Self:
        """Makes collateral of the fields of its JSON form.

        Raises:
            EvidenceRefused: They are not the fields of this kind (check ``collateral_format``).
        """
        names = {field.name for field in fields(cls)}
        count = {1: "one field", 9: "nine fields"}[len(names)]
        if missing := names - values.keys():
            raise _refused("collateral", count, f"without {', '.join(sorted(missing))}")
        if unknown := values.keys() - names:
            raise _refused("collateral", count, f"also {', '.join(sorted(unknown))[:200]}")
        return cls(**{name: cls._field(name, item) for name, item in values.items()})

    def to_json(self) -> str:
        """The JSON form: an object with its fields."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in self.BINARY:
            values[name] = values[name].hex()
        return json.dumps(values, indent=1)

    @classmethod
    def _field(cls, name: str, item: str) -> str | bytes:
        if name not in cls.BINARY:
            return item
        if len(item) % 2 or not all(char in "0123456789abcdefABCDEF" for char in item):
            raise _refused(name, "hex digits", "other text")
        return bytes.fromhex(item)


def read_json(text: str | bytes) -> dict[str, str]:
    """Reads the fields of collateral of any kind, without dcap-qvl's tenth one.

    Args:
        text: At most ``MAX_COLLATERAL_BYTES``.

    Raises:
        EvidenceRefused: The text is no JSON object of texts (check ``collateral_format``).
    """
    if len(text) > MAX_COLLATERAL_BYTES:
        raise _refused("collateral", f"<= {MAX_COLLATERAL_BYTES} bytes", f"{len(text)} bytes")
    try:
        text = text if isinstance(text, str) else text.decode()
        if not _OF_TEXTS.fullmatch(text):
            raise _refused("collateral", "a JSON object of texts", "something else")
        value: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused("collateral", "a JSON object", "no JSON") from error
    if not isinstance(value, dict):
        raise _refused("collateral", "a JSON object", type(value).__name__)
    value.pop(_READ_OVER, None)
    for name, item in value.items():
        if not isinstance(item, str):
            raise _refused(name, "a string", type(item).__name__)
    return value


def _refused(name: str, expected: str, seen: str) -> EvidenceRefused:
    return collateral_refused(
        "collateral_format", f"the collateral's {name} is malformed", expected, seen
    )
