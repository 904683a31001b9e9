"""The lines of a receipt: one entry each, as canonical JSON with a strict body per kind.

An entry names its place, its time, the hash of the entry before it, and carries the signature of the
parameter server's TEE key over all of that. It has exactly one spelling: sorted keys, no spaces, ASCII.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from coterie import canonical as canonical_json
from coterie import chained_log
from coterie.attestation.authentic import AnyCollateral
from coterie.errors import ReceiptRefused
from coterie.receipts.entry_types import KINDS, Body, Count, Hex32, Hex64, Moment

MAX_LINE_BYTES = 4 << 20
GENESIS = hashlib.sha256(b"coterie receipt 1\0").hexdigest()
_ENTRY_LABEL = b"coterie receipt entry 1\0"
_LINE_LABEL = b"coterie receipt line 1\0"
_KEYS = {"at", "body", "index", "kind", "previous", "signature"}
_LONGEST_VALUE = 400  # characters of one in an error


@dataclass(frozen=True)
class Entry:
    """One well-formed line of a receipt; not yet checked against the other lines.

    Attributes:
        line: Line number in the file, from 1.
        index: The entry's number, from 0, as the entry states it.
        at: Time of writing, UTC.
        body: Its content.
        previous: Hash of the entry before it, as the entry states it.
        signature: r and s, 32 bytes each.
        signed: The bytes that the signature covers.
        digest: Its own hash, which the next entry repeats; hex.
    """

    line: int
    index: int
    at: datetime
    body: Body
    previous: str
    signature: bytes
    signed: bytes
    digest: str

    @property
    def place(self) -> str:
        """Its place in the file, for error messages."""
        return f"line {self.line} ({self.body.kind})"

    def refused(self, what: str, expected: object, seen: object = "none") -> ReceiptRefused:
        """The error for this entry: what is wrong with it, and both values."""
        words = str(expected)[:_LONGEST_VALUE], str(seen)[:_LONGEST_VALUE]
        return refused(what, self.place, *words)

    def check_same(self, what: str, expected: object, seen: object) -> None:
        """Compares two values.

        Raises:
            ReceiptRefused: They differ.
        """
        if seen != expected:
            raise self.refused(what, expected, seen)


def canonical(value: object) -> bytes:
    """The only valid encoding of a value in a receipt: canonical JSON in ASCII."""
    return canonical_json.canonical(value, ascii_only=True)


def statement(*, index: int, at: datetime, body: Body, previous: str) -> dict[str, object]:
    """The fields of an entry before it is signed."""
    return {
        "at": at.isoformat(),
        "body": body.model_dump(mode="json"),
        "index": index,
        "kind": body.kind,
        "previous": previous,
    }


def signed_bytes(fields: dict[str, object]) -> bytes:
    """The bytes that an entry's signature covers."""
    return _ENTRY_LABEL + canonical(fields)


def line_digest(line: bytes) -> str:
    """Hash of an entry's line without the line's end, hex."""
    return chained_log.line_digest(line, _LINE_LABEL)


def decode_line(line: bytes, number: int) -> Entry:
    """Reads one line strictly.

    Args:
        line: The line, without its end.
        number: Line number in the file, from 1.

    Raises:
        ReceiptRefused: It is not an entry in its only valid encoding.
    """
    place = f"line {number}"
    try:
        value: object = json.loads(line.decode("ascii"))
        again = canonical(value)
    except (ValueError, RecursionError) as error:
        raise refused("it is no JSON", place, "one entry in ASCII", str(error)[:200]) from error
    if again != line:
        raise refused(
            "it is not canonical JSON", place, "sorted keys, no spaces, one spelling", "another one"
        )
    if not isinstance(value, dict) or value.keys() != _KEYS:
        seen = ", ".join(sorted(value))[:200] if isinstance(value, dict) else type(value).__name__
        raise refused("it is no entry", place, f"the keys {', '.join(sorted(_KEYS))}", seen)
    kind = KINDS.get(value["kind"]) if isinstance(value["kind"], str) else None
    if kind is None:
        raise refused(
            "it is of an unknown kind", place, ", ".join(sorted(KINDS)), str(value["kind"])[:80]
        )
    place = f"{place} ({kind.kind})"
    try:
        frame = _Frame.model_validate({key: value[key] for key in _KEYS - {"body", "kind"}})
        body = kind.model_validate(value["body"])
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the body"
        raise refused(
            "a value is not what it must be", place, problem["msg"][:200], f"in {where}"[:200]
        ) from error
    signature = bytes.fromhex(value.pop("signature"))
    return Entry(
        line=number,
        index=frame.index,
        at=datetime.fromisoformat(frame.at),
        body=body,
        previous=frame.previous,
        signature=signature,
        signed=signed_bytes(value),
        digest=line_digest(line),
    )


class _Frame(BaseModel):
    """The fields of every entry."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    at: Moment
    index: Count
    previous: Hex32
    signature: Hex64


def collateral_fields(collateral: AnyCollateral) -> dict[str, str]:
    """Collateral in the form of an entry's field."""
    fields: dict[str, str] = json.loads(collateral.to_json())
    return fields


def collateral_digest(fields: dict[str, str]) -> str:
    """SHA-256 of collateral in the form of an entry's field, hex."""
    return hashlib.sha256(b"coterie collateral 1\0" + canonical(fields)).hexdigest()


def json_of(data: bytes) -> dict[str, JsonValue]:
    """A JSON object in the form of an entry's field."""
    value: dict[str, JsonValue] = json.loads(data)
    return value


def octets(text: str) -> bytes:
    """Decodes base64."""
    return base64.b64decode(text)


def text(data: bytes) -> str:
    """Encodes bytes as base64."""
    return base64.b64encode(data).decode()


def refused(what: str, place: str, expected: str, seen: str) -> ReceiptRefused:
    """The error for a receipt that was altered."""
    return ReceiptRefused(f"the receipt is refused: {what}", expected, seen, place=place)
