"""The parties' consent to go on from an older checkpoint than the server had announced.

A server that lost its newest checkpoint looks like one that was rolled back by its host, so nodes
refuse it. Only all parties together may say that it was an accident: each signs (contract, step,
digest of the checkpoint) with its Ed25519 key; the server shows the consent to every node.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.contract.digest import contract_digest
from coterie.contract.schema import Contract
from coterie.contract.signatures import sign_statement, verify_statement
from coterie.errors import SignatureRefused
from coterie.files import write_whole, writing

_LABEL = b"coterie rollback consent 1\0"
_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class RollbackConsent:
    """Parties' signatures that a run may go on from a checkpoint, whatever was announced.

    Attributes:
        contract_digest: Of the run's contract; 32 bytes.
        step: The checkpoint's step.
        digest: The checkpoint's digest as it was announced; 32 bytes.
        signatures: Ed25519 signatures by party.
    """

    contract_digest: bytes
    step: int
    digest: bytes
    signatures: Mapping[str, bytes]

    def signed_by(self, contract: Contract, key: Ed25519PrivateKey, party: str) -> RollbackConsent:
        """This consent with one more signature.

        Raises:
            SignatureRefused: The contract has no such party, or names another key for it.
        """
        signature = sign_statement(contract, key, party, self._statement())
        return RollbackConsent(
            self.contract_digest,
            self.step,
            self.digest,
            {**self.signatures, party: signature},
        )

    def verify(self, contract: Contract) -> None:
        """Checks that every party of the contract has signed.

        Raises:
            SignatureRefused: For another contract, or a signature is wrong or missing.
        """
        if not hmac.compare_digest(self.contract_digest, contract_digest(contract)):
            raise SignatureRefused(
                "the consent to roll back is for another contract",
                expected=f"contract {contract_digest(contract).hex()}",
                seen=f"contract {self.contract_digest.hex()[:64]}",
                remedy="let the parties sign for this contract",
            )
        missing = [p.name for p in contract.parties if p.name not in self.signatures]
        if missing:
            raise SignatureRefused(
                "not all parties have consented to roll back",
                expected=f"signatures of {', '.join(p.name for p in contract.parties)}"[:500],
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
        stored = _Stored(
            contract_digest=self.contract_digest.hex(),
            step=self.step,
            digest=self.digest.hex(),
            signatures={party: value.hex() for party, value in self.signatures.items()},
        )
        with writing(path):
            write_whole(path, stored.model_dump_json(indent=1).encode() + b"\n")

    @staticmethod
    def read(path: Path) -> RollbackConsent:
        """Reads a consent file.

        Raises:
            SignatureRefused: It cannot be read, or is none.
        """
        try:
            with path.open("rb") as file:
                stored = _Stored.model_validate_json(file.read(_MAX_FILE_BYTES))
        except (OSError, ValidationError) as error:
            raise SignatureRefused(
                f"{path} is no consent to roll back",
                expected="what `coterie contract rollback` writes",
                seen=error.strerror or "no file" if isinstance(error, OSError) else "another form",
                remedy="let the parties sign again",
            ) from error
        return RollbackConsent(
            bytes.fromhex(stored.contract_digest),
            stored.step,
            bytes.fromhex(stored.digest),
            {party: bytes.fromhex(value) for party, value in stored.signatures.items()},
        )

    def _statement(self) -> bytes:
        return _LABEL + self.contract_digest + self.step.to_bytes(8, "little") + self.digest


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = 1
    contract_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    step: Annotated[int, Field(ge=0, lt=2**63)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    signatures: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]]
