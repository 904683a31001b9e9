"""What a receipt consists of: one entry a line, each canonical JSON with a strict body per kind.

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
from coterie.attestation.collateral import Collateral
from coterie.errors import ReceiptRefused
from coterie.receipts.entry_types import KINDS, Body, Count, Hex32, Hex64, Moment

MAX_LINE_BYTES = 4 << 20
GENESIS = hashlib.sha256(b"coterie receipt 1\0").hexdigest()
_ENTRY_LABEL = b"coterie receipt entry 1\0"
_LINE_LABEL = b"coterie receipt line 1\0"
_KEYS = {"at", "body", "index", "kind", "previous", "signature"}
_REMEDY = "do not trust this file: get the receipt from the parameter server's folder again"


@dataclass(frozen=True)
class Entry:
    """One line of a receipt, well-formed; nothing of it is checked against the others.

    Attributes:
        line: Its number in the file, from 1.
        index: Its number, from 0, as it says.
        at: When it was written, UTC.
        body: What it says.
        previous: Hash of the entry before it, as it says.
        signature: r and s, 32 bytes each.
        signed: What the signature is over.
        digest: Its own hash, which the next entry names; hex.
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
        """Where it is, for people."""
        return f"line {self.line} ({self.body.kind})"


def canonical(value: object) -> bytes:
    """The one spelling of a value in a receipt: canonical JSON, in ASCII."""
    return canonical_json.canonical(value, ascii_only=True)


def statement(*, index: int, at: datetime, body: Body, previous: str) -> dict[str, object]:
    """An entry before it is signed."""
    return {
        "at": at.isoformat(),
        "body": body.model_dump(mode="json"),
        "index": index,
        "kind": body.kind,
        "previous": previous,
    }


def signed_bytes(fields: dict[str, object]) -> bytes:
    """What the signature of an entry is over."""
    return _ENTRY_LABEL + canonical(fields)


def line_digest(line: bytes) -> str:
    """Hash of an entry, hex; over the line without its end."""
    return chained_log.line_digest(line, _LINE_LABEL)


def decode_line(line: bytes, number: int) -> Entry:
    """Reads one line strictly.

    Args:
        line: Without its end.
        number: Its number in the file, from 1.

    Raises:
        ReceiptRefused: It is no entry in the one spelling that entries have.
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
    """What every entry has."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    at: Moment
    index: Count
    previous: Hex32
    signature: Hex64


def collateral_fields(collateral: Collateral) -> dict[str, str]:
    """Collateral as an entry holds it."""
    fields: dict[str, str] = json.loads(collateral.to_json())
    return fields


def collateral_digest(fields: dict[str, str]) -> str:
    """SHA-256 of collateral as an entry holds it, hex."""
    return hashlib.sha256(b"coterie collateral 1\0" + canonical(fields)).hexdigest()


def json_of(data: bytes) -> dict[str, JsonValue]:
    """A JSON object as an entry holds it."""
    value: dict[str, JsonValue] = json.loads(data)
    return value


def octets(text: str) -> bytes:
    """What base64 stands for."""
    return base64.b64decode(text)


def text(data: bytes) -> str:
    """Base64 of some bytes."""
    return base64.b64encode(data).decode()


def refused(what: str, place: str, expected: str, seen: str) -> ReceiptRefused:
    """The error for a receipt that was altered."""
    return ReceiptRefused(
        f"the receipt is refused: {what}",
        place=place,
        expected=expected,
        seen=seen,
        remedy=_REMEDY,
    )
