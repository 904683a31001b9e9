"""The parties' consent that a run continues from an older checkpoint than the server had announced.

A server that lost its newest checkpoint looks like one that its host rolled back, so nodes refuse
it. All parties together can consent to the loss. Each signs (contract, run, checkpoint to continue
from, newest announced checkpoint, which is given up) with its Ed25519 key, and the server shows the
consent to every node. A node accepts a consent once, and only if the checkpoint that it remembers
is not newer than the one that is given up.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.contract.digest import contract_digest
from coterie.contract.schema import Contract
from coterie.contract.signatures import sign_statement, verify_statement
from coterie.errors import SignatureRefused
from coterie.files import read_bounded, write_whole, writing
from coterie.text import format_of

_FORMAT = 2
_LABEL = b"coterie rollback consent 2\0"
_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class RollbackConsent:
    """Parties' consent that a run continues from a checkpoint although a newer one was announced.

    Attributes:
        contract_digest: Digest of the run's contract; 32 bytes.
        run_id: Random name of the run, 64 hex digits.
        step: Step of the checkpoint to continue from.
        digest: Announced digest of that checkpoint; 32 bytes.
        given_up_step: Step of the newest announced checkpoint.
        given_up_digest: Digest of that checkpoint; 32 bytes.
        signatures: Ed25519 signatures by party.
    """

    contract_digest: bytes
    run_id: str
    step: int
    digest: bytes
    given_up_step: int
    given_up_digest: bytes
    signatures: Mapping[str, bytes]

    @property
    def name(self) -> str:
        """SHA-256 of the signed statement, hex; nodes remember used consents by it."""
        return hashlib.sha256(self._statement()).hexdigest()

    @property
    def words(self) -> str:
        """The consent in words, for people."""
        return (
            f"contract {self.contract_digest.hex()}, run {self.run_id}: step {self.step}, digest "
            f"{self.digest.hex()}, in place of step {self.given_up_step}, digest "
            f"{self.given_up_digest.hex()}"
        )

    def signed_by(self, contract: Contract, key: Ed25519PrivateKey, party: str) -> RollbackConsent:
        """This consent with one more signature.

        Raises:
            SignatureRefused: The contract has no such party, or names another key for it.
        """
        signature = sign_statement(contract, key, party, self._statement())
        return replace(self, signatures={**self.signatures, party: signature})

    def verify(self, contract: Contract) -> None:
        """Checks that every party of the contract has signed.

        Raises:
            SignatureRefused: It is for another contract, or a signature is wrong or missing.
        """
        if not hmac.compare_digest(self.contract_digest, contract_digest(contract)):
            what, agreed = (
                "the consent to roll back is for another contract",
                contract_digest(contract),
            )
            raise SignatureRefused.differs(what, "contract", agreed, self.contract_digest)
        missing = [name for name in contract.party_names if name not in self.signatures]
        if missing:
            raise SignatureRefused(
                "not all parties have consented to roll back",
                expected=f"signatures of {', '.join(contract.party_names)}"[:500],
                seen=f"none of {', '.join(missing)}"[:500],
                remedy="let them run `coterie contract rollback`",
            )
        for party, signature in self.signatures.items():
            verify_statement(contract, party, self._statement(), signature)

    def write(self, path: Path) -> None:
        """Writes the consent file, durably.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        with writing(path):
            write_whole(path, self.stored().model_dump_json(indent=1).encode() + b"\n")

    def stored(self) -> StoredConsent:
        """The consent in the form of its file."""
        return StoredConsent(
            contract_digest=self.contract_digest.hex(),
            run_id=self.run_id,
            step=self.step,
            digest=self.digest.hex(),
            given_up_step=self.given_up_step,
            given_up_digest=self.given_up_digest.hex(),
            signatures={party: value.hex() for party, value in self.signatures.items()},
        )

    @staticmethod
    def read(path: Path) -> RollbackConsent:
        """Reads a consent file.

        Raises:
            SignatureRefused: It cannot be read, or is not a consent.
        """
        try:
            text = read_bounded(path, _MAX_FILE_BYTES)
            stored = StoredConsent.model_validate_json(text)
        except (OSError, ValidationError) as error:
            raise SignatureRefused(
                f"{path} is no consent to roll back",
                expected=f"what `coterie contract rollback` writes, format {_FORMAT}",
                seen=error.strerror or "no file" if isinstance(error, OSError) else _form_of(text),
            ) from error
        return stored.opened()

    def _statement(self) -> bytes:
        return b"".join(
            (
                _LABEL,
                self.contract_digest,
                bytes.fromhex(self.run_id),
                self.step.to_bytes(8, "little"),
                self.digest,
                self.given_up_step.to_bytes(8, "little"),
                self.given_up_digest,
            )
        )


def _form_of(text: bytes) -> str:
    """The format that a file states, if it is not a consent of this format."""
    found = format_of(text)
    return "another form" if found in {None, _FORMAT} else f"format {found}"


_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Step = Annotated[int, Field(ge=0, lt=2**63)]


class StoredConsent(BaseModel):
    """A consent in the form of its file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[2] = 2
    contract_digest: _Digest
    run_id: _Digest
    step: _Step
    digest: _Digest
    given_up_step: _Step
    given_up_digest: _Digest
    signatures: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]]

    def opened(self) -> RollbackConsent:
        """The consent."""
        return RollbackConsent(
            bytes.fromhex(self.contract_digest),
            self.run_id,
            self.step,
            bytes.fromhex(self.digest),
            self.given_up_step,
            bytes.fromhex(self.given_up_digest),
            {party: bytes.fromhex(value) for party, value in self.signatures.items()},
        )
