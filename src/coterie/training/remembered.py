"""What a node remembers of announced checkpoints, and how it judges a server that comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.contract import Contract, contract_digest
from coterie.contract.rollback import RollbackConsent
from coterie.errors import CheckpointDamaged, RollbackRefused
from coterie.files import make_folder, reading, write_whole, writing
from coterie.ps.checkpoints import DurableCheckpoint

_MAX_FILE_BYTES = 4096


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    contract_digest: str
    step: Annotated[int, Field(ge=0)]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CheckpointMemory:
    """The newest announced checkpoint that a node has seen, kept beyond its process where it may.

    Args:
        path: The file; nothing outlives the process where it is absent.
        contract: Of the run; what was remembered under another contract does not count.

    Raises:
        CheckpointDamaged: The file is not what was written.
        EnvironmentUnfit: The disk does not give it.
    """

    def __init__(self, path: Path | None, contract: Contract) -> None:
        self._path = path
        self._contract_digest = contract_digest(contract).hex()
        self._newest = self._read()

    @property
    def newest(self) -> DurableCheckpoint | None:
        """The newest announced checkpoint."""
        return self._newest

    def remember(self, step: int, digest: bytes) -> None:
        """Takes note of an announced checkpoint; an older one is ignored.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        if self._newest is None or step > self._newest.step:
            self.replace(DurableCheckpoint(step, digest))

    def replace(self, checkpoint: DurableCheckpoint) -> None:
        """Takes note of a checkpoint that all parties agreed to go on from.

        Raises:
            EnvironmentUnfit: It cannot be written: what is not kept would be forgotten at a restart.
        """
        if self._path is not None:
            stored = _Stored(
                contract_digest=self._contract_digest,
                step=checkpoint.step,
                digest=checkpoint.digest.hex(),
            )
            with writing(f"the checkpoint that this node remembers, {self._path},"):
                make_folder(self._path.parent)
                write_whole(self._path, stored.model_dump_json().encode())
        self._newest = checkpoint

    def _read(self) -> DurableCheckpoint | None:
        if self._path is None:
            return None
        with reading(self._path):
            try:
                with self._path.open("rb") as file:
                    text = file.read(_MAX_FILE_BYTES)
            except FileNotFoundError:
                return None
        try:
            stored = _Stored.model_validate_json(text)
        except ValidationError as error:
            raise CheckpointDamaged(
                f"what this node remembers in {self._path} is damaged",
                expected="a checkpoint's step and digest",
                seen=f"{len(text)} bytes of something else",
                remedy="restore the file from a copy; without it a rollback goes undetected here",
            ) from error
        if stored.contract_digest != self._contract_digest:
            return None
        return DurableCheckpoint(stored.step, bytes.fromhex(stored.digest))


def check_rollback(
    memory: CheckpointMemory,
    offered: DurableCheckpoint | None,
    consent: RollbackConsent | None,
    contract: Contract,
) -> None:
    """Refuses a server that is older than what this node remembers, unless all parties agreed.

    Args:
        memory: What this node has seen announced.
        offered: The newest checkpoint that the server announces now.
        consent: To go on from an older one, if the server has it.
        contract: Names the parties.

    Raises:
        RollbackRefused: The server fell behind, or has another checkpoint of the same step.
        SignatureRefused: The consent is not every party's.
    """
    remembered = memory.newest
    if remembered is None or offered == remembered:
        return
    if offered is not None and offered.step > remembered.step:
        return
    if consent is not None and offered == DurableCheckpoint(consent.step, consent.digest):
        consent.verify(contract)
        memory.replace(offered)
        return
    seen = "none" if offered is None else f"step {offered.step} (SHA-256 {offered.digest.hex()})"
    raise RollbackRefused(
        "the parameter server was restored from an older checkpoint than it had announced, "
        "or from another one",
        expected=f"step {remembered.step} or later (SHA-256 {remembered.digest.hex()})",
        seen=seen,
        remedy="restore the server's newest checkpoint; if it is lost, all parties may consent to "
        "go on from this one (coterie contract rollback), or start a new run",
    )
