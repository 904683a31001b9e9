"""Messages as pydantic models over deterministic CBOR: one encoding for each meaning.

`coterie.ratls.cbor` bounds the bytes, counts their items and checks their encoding before any
object is made. Then a model validates the map: every key must be present, no other key may be, and
no value is converted. Last, the model is encoded again and compared with the bytes. This refuses
what pydantic
accepts: for ``Literal[1]`` also ``True`` and ``1.0``, and for a field with a default also a map
    without its
key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.errors import MessageRefused
from coterie.ratls import cbor
from coterie.text import printable

ITEMS = 16  # only the answer of a status has more
NONCE_BYTES = 32
SIGNATURE_BYTES = 64
_LAST_SECOND = 253_402_300_799  # end of the year 9999

Element = TypeVar("Element")
Nonce = Annotated[bytes, Field(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
Digest = Annotated[bytes, Field(min_length=32, max_length=32)]
Signature = Annotated[bytes, Field(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
Name = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,63}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Incarnation = Annotated[int, Field(ge=0, lt=2**64)]
UnixSeconds = Annotated[int, Field(ge=0, le=_LAST_SECOND)]


class Record(BaseModel):
    """A map on the wire. Its keys are the names of the fields, or their aliases."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=False,
        hide_input_in_errors=True,
    )

    def to_map(self) -> dict[str, object]:
        """The map to encode."""
        return self.model_dump(by_alias=True)

    def to_cbor(self) -> bytes:
        """The canonical encoding."""
        return cbor.encode(self.to_map())

    @classmethod
    def of_map(cls, value: Mapping[str, cbor.CborValue], data: bytes) -> Self:
        """Validates a map.

        Args:
            value: The map, as decoded.
            data: The encoding that the record must have.

        Raises:
            CborInvalid: A key is missing or unknown, a value is of another type or out of bounds, or
                the record has another encoding.
        """
        try:
            record = cls.model_validate(value, by_alias=True, by_name=False)
        except ValidationError as error:
            raise cbor.CborInvalid(problem_of(error)) from error
        if record.to_cbor() != data:
            raise cbor.CborInvalid("not canonical: encoded again, it gives other bytes")
        return record

    @classmethod
    def of_cbor(cls, data: bytes, *, max_bytes: int, max_items: int) -> Self:
        """Decodes a record that fills ``data`` exactly.

        Raises:
            CborInvalid: As for `of_map`, or the bytes are not canonical CBOR within the bounds.
        """
        return cls.of_map(cbor.decode_map(data, max_bytes=max_bytes, max_items=max_items), data)


class Message(Record):
    """A record that names its message.

    Attributes:
        KIND: Value of the key ``kind``.
        VERSION: Value of the key ``version`` in messages that open an exchange; None in others.
    """

    KIND: ClassVar[str]
    VERSION: ClassVar[int | None] = None

    def to_map(self) -> dict[str, object]:
        """The map to encode."""
        version = {} if self.VERSION is None else {"version": self.VERSION}
        return {"kind": self.KIND, **version, **super().to_map()}


class Codec:
    """Encodes and decodes the messages of one protocol.

    Args:
        messages: Models of the messages.
        between: The two ends of the protocol, for errors.
    """

    def __init__(self, *messages: type[Message], between: str) -> None:
        self._messages = {message.KIND: message for message in messages}
        self._between = between

    def decode(self, data: bytes, *, max_bytes: int, max_items: int = ITEMS) -> Message:
        """Decodes a message that fills ``data`` exactly.

        Args:
            data: The encoding.
            max_bytes: Longest accepted encoding.
            max_items: Largest number of items.

        Raises:
            MessageRefused: The bytes are not the canonical encoding of a message of this version.
        """
        try:
            value = cbor.decode_map(data, max_bytes=max_bytes, max_items=max_items)
            return self._model(value).of_map(value, data)
        except cbor.CborInvalid as error:
            raise MessageRefused(
                f"a message between {self._between} cannot be read",
                expected="canonical CBOR of a message of this version",
                seen=printable(str(error)),
            ) from error

    def _model(self, value: dict[str, cbor.CborValue]) -> type[Message]:
        """The model for a map; removes kind and version from the map."""
        kind = value.pop("kind", None)
        model = self._messages.get(kind) if isinstance(kind, str) else None
        if model is None:
            raise cbor.CborInvalid(f"kind must be one of {', '.join(self._messages)}")
        if model.VERSION is not None:
            version = value.pop("version", None)
            # Compare types too, since True == 1.
            if type(version) is not int or version != model.VERSION:
                raise cbor.CborInvalid(f"version must be {model.VERSION}, not {version!r:.40}")
        return model


def problem_of(error: ValidationError) -> str:
    """The fault of a map, without its values, which may be secret or long."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    for kind, title in (("extra_forbidden", "unknown keys"), ("missing", "missing keys")):
        if keys := [_place(one["loc"]) for one in found if one["type"] == kind]:
            return f"{title}: {printable(', '.join(sorted(keys)), 200)}"
    return f"{printable(_place(found[0]['loc']), 100)}: {printable(found[0]['msg'], 300)}"


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the map"
