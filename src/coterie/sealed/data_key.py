"""The key of a sealed data set, and its owner's key file."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.contract.signatures import write_key_file
from coterie.errors import KeyFileRefused
from coterie.files import read_bounded
from coterie.sealed.sealed_file import ID_BYTES, KEY_BYTES

_MAX_BYTES = 4096
_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    format: Literal[1]
    kind: Literal["coterie data key"]
    party: str
    set_id: _Hex32
    key: _Hex32


@dataclass(frozen=True)
class DataKey:
    """The key of one sealed data set.

    Attributes:
        party: The owner of the data.
        set_id: Id of the data set, 32 bytes.
        key: The key, 32 bytes; ``repr`` leaves it out.
    """

    party: str
    set_id: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"DataKey(party={self.party!r}, set_id={self.set_id.hex()})"

    @classmethod
    def generate(cls, party: str) -> DataKey:
        """Makes a new key for a new data set."""
        return cls(party, secrets.token_bytes(ID_BYTES), secrets.token_bytes(KEY_BYTES))

    @classmethod
    def read(cls, path: Path) -> DataKey:
        """Reads a key file.

        Raises:
            KeyFileRefused: It cannot be read or is not a key file.
        """
        try:
            text = read_bounded(path, _MAX_BYTES)
            found = _KeyFile.model_validate_json(text)
        except OSError as error:
            raise _refused(path, error.strerror or type(error).__name__) from error
        except ValidationError:
            # Without the cause, whose text would show the key.
            raise _refused(path, "something else") from None
        return cls(found.party, bytes.fromhex(found.set_id), bytes.fromhex(found.key))

    def write(self, path: Path) -> None:
        """Writes the key, readable by its owner only; never overwrites.

        Raises:
            OutputInUse: The file exists, or cannot be made.
        """
        content = {
            "format": 1,
            "kind": "coterie data key",
            "party": self.party,
            "set_id": self.set_id.hex(),
            "key": self.key.hex(),
        }
        write_key_file(path, (json.dumps(content, indent=1) + "\n").encode())


def _refused(path: Path, seen: str) -> KeyFileRefused:
    return KeyFileRefused(
        f"{path} is no key of a sealed data set",
        expected="the file that `coterie seal --key` wrote",
        seen=seen,
    )
