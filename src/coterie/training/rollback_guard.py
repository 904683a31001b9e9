"""Refuses a server that went back: remembers a run's newest checkpoint and checks each server.

A node remembers the newest announced checkpoint and its run, how far the run's receipt was, which
consents to a rollback it has used (each is valid once), and whether it has done its part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.contract import Contract, contract_digest
from coterie.contract.rollback import RollbackConsent
from coterie.errors import CheckpointDamaged, RollbackRefused
from coterie.files import make_folder, read_bounded, reading, write_whole, writing
from coterie.ps.checkpoints.lineage import Announced, Lineage
from coterie.ps.checkpoints.records import MAX_CONSENTS, DurableCheckpoint
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.checkpoint_messages import ReceiptHead, receipt_cut, receipt_to_wire
from coterie.ps.wire.shard_messages import checkpoint_to_wire
from coterie.text import format_of

_FORMAT = 2
_MAX_FILE_BYTES = 4096
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _StoredCheckpoint(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    run_id: _Digest
    step: Annotated[int, Field(ge=0)]
    digest: _Digest

    @classmethod
    def of(cls, newest: Announced | None) -> _StoredCheckpoint | None:
        if newest is None:
            return None
        found = newest.checkpoint
        return cls(run_id=newest.run_id, step=found.step, digest=found.digest.hex())

    def announced(self) -> Announced:
        return Announced(self.run_id, DurableCheckpoint(self.step, bytes.fromhex(self.digest)))


class _StoredReceipt(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    entries: Annotated[int, Field(ge=1)]
    digest: _Digest

    @classmethod
    def of(cls, head: ReceiptHead | None) -> _StoredReceipt | None:
        return cls(entries=head.entries, digest=head.digest.hex()) if head is not None else None

    def head(self) -> ReceiptHead:
        return ReceiptHead(self.entries, bytes.fromhex(self.digest))


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[2]
    contract_digest: _Digest
    newest: _StoredCheckpoint | None
    receipt: _StoredReceipt | None
    taken: Annotated[tuple[_Digest, ...], Field(strict=False, max_length=MAX_CONSENTS)]
    done: bool = False


@dataclass(frozen=True)
class _Known:
    """The remembered state: newest checkpoint, receipt, names of used consents, the end."""

    newest: Announced | None = None
    receipt: ReceiptHead | None = None
    taken: tuple[str, ...] = ()
    done: bool = False

    def later(self, announced: Announced | None, receipt: ReceiptHead | None) -> _Known:
        """The state after a report of an accepted server; older values in it are ignored."""
        newest, head = self.newest, self.receipt
        if announced is not None and (
            newest is None or announced.checkpoint.step > newest.checkpoint.step
        ):
            newest = announced
        if receipt is not None and (head is None or receipt.entries > head.entries):
            head = receipt
        return replace(self, newest=newest, receipt=head)


class RollbackGuard:
    """Remembers what a node has seen of a run, in a file if it has one.

    Args:
        path: The file; if absent, nothing is remembered beyond the process.
        contract: The run's contract; state of another contract is ignored.

    Raises:
        CheckpointDamaged: The file is damaged or of another version.
        EnvironmentUnfit: The file cannot be read.
    """

    def __init__(self, path: Path | None, contract: Contract) -> None:
        self._path = path
        self._contract = contract
        self._contract_digest = contract_digest(contract).hex()
        self._known = self._read()

    @property
    def newest(self) -> Announced | None:
        """The newest announced checkpoint."""
        return self._known.newest

    def message(self) -> pb.Remembered | None:
        """The remembered state as a message; None if there is none."""
        newest, receipt = self._known.newest, receipt_to_wire(self._known.receipt)
        if newest is None:
            return pb.Remembered(receipt=receipt) if receipt is not None else None
        return pb.Remembered(
            run_id=newest.run_id, checkpoint=checkpoint_to_wire(newest.checkpoint), receipt=receipt
        )

    def remember(self, announced: Announced | None, receipt: ReceiptHead | None = None) -> None:
        """Remembers what an accepted server reports; older values are ignored.

        Args:
            announced: A checkpoint.
            receipt: The last entry of the run's receipt.
        """
        self._keep(self._known.later(announced, receipt))

    @property
    def done(self) -> bool:
        """Whether this node needs nothing more of the run; a server's rollback resets that."""
        return self._known.done

    def conclude(self) -> None:
        """Remembers that this node has done its part and needs nothing more of the run."""
        self._keep(replace(self._known, done=True))

    def follow(self, lineage: Lineage) -> None:
        """Checks a server without a receipt, as ``join`` does."""
        self.join(lineage, None, kept=True)

    def join(self, lineage: Lineage, receipt: ReceiptHead | None, *, kept: bool) -> None:
        """Checks a server that is joined, and remembers its position.

        Args:
            lineage: The server's run, announced checkpoints, and consents.
            receipt: The last entry of its receipt.
            kept: Whether, by its own statement, its receipt contains the remembered entry.

        Raises:
            RollbackRefused: It continues another run than the remembered one, or an older or
                another checkpoint, without an unused consent to that.
            ReceiptRefused: The receipt was cut, without a consent that the server lost something.
            SignatureRefused: The consent is not signed by every party.
        """
        known = self._known
        consents = lineage.check(known.newest) if known.newest is not None else ()
        if known.receipt is not None and not kept and not consents:
            # The backup that all parties agreed to restore may hold an older receipt.
            consents = lineage.consents_for(known.newest) if known.newest is not None else ()
            if not consents:
                raise receipt_cut(known.receipt, receipt)
        newest = lineage.newest
        offered = Announced(lineage.run_id, newest) if newest is not None else None
        taken = (*known.taken, *self._use(lineage, consents))
        if consents:
            self._keep(_Known(offered, receipt, taken))
        else:
            self._keep(replace(known, taken=taken).later(offered, receipt))

    def _use(self, lineage: Lineage, needed: tuple[RollbackConsent, ...]) -> list[str]:
        """Names of the consents that are used up now: all in the lineage, needed or not.

        Args:
            lineage: Holds the consents.
            needed: One unused consent of these is needed; none if nothing was lost.
        """
        taken = self._known.taken
        fresh = [consent for consent in needed if consent.name not in taken]
        if needed and not fresh:
            raise RollbackRefused(
                "the consent to roll back was used before: it is for one time",
                expected="a consent of all parties that this node has not taken yet",
                seen=needed[0].words,
                remedy="restore the server's newest checkpoint; if it is lost again, let all parties "
                "sign again what is given up now (coterie contract rollback)",
            )
        if fresh:
            fresh[0].verify(self._contract)
        names = [consent.name for consent in lineage.consents if consent.name not in taken]
        if len(taken) + len(names) > MAX_CONSENTS:
            raise RollbackRefused(
                "the run went back by consent too often",
                expected=f"at most {MAX_CONSENTS} times",
                seen=f"{len(taken) + len(names)}",
                remedy="start a new run",
            )
        return names

    def _keep(self, known: _Known) -> None:
        if known == self._known:
            return
        if self._path is not None:
            stored = _Stored(
                format=2,
                contract_digest=self._contract_digest,
                newest=_StoredCheckpoint.of(known.newest),
                receipt=_StoredReceipt.of(known.receipt),
                taken=known.taken,
                done=known.done,
            )
            with writing(f"what this node remembers of the run, {self._path},"):
                make_folder(self._path.parent)
                write_whole(self._path, stored.model_dump_json().encode())
        self._known = known

    def _read(self) -> _Known:
        if self._path is None:
            return _Known()
        with reading(self._path):
            try:
                text = read_bounded(self._path, _MAX_FILE_BYTES)
            except FileNotFoundError:
                return _Known()
        try:
            stored = _Stored.model_validate_json(text)
        except ValidationError as error:
            first = _FirstFormat.of(text)
            if first is not None and first.contract_digest != self._contract_digest:
                return _Known()
            raise self._damaged(text, 1 if first is not None else format_of(text)) from error
        if stored.contract_digest != self._contract_digest:
            return _Known()
        newest = stored.newest.announced() if stored.newest is not None else None
        receipt = stored.receipt.head() if stored.receipt is not None else None
        return _Known(newest, receipt, stored.taken, stored.done)

    def _damaged(self, text: bytes, found: int | None) -> CheckpointDamaged:
        if found not in {None, _FORMAT}:
            return CheckpointDamaged(
                f"what this node remembers in {self._path} was written by another version of Coterie",
                expected=f"format {_FORMAT}, which names the run",
                seen=f"format {found}",
                remedy="finish the run with the version that it was begun with, or start a new run with "
                "empty folders",
            )
        return CheckpointDamaged(
            f"what this node remembers in {self._path} is damaged",
            expected="a run's name, a checkpoint's step and digest",
            seen=f"{len(text)} bytes of something else",
            remedy="restore the file from a copy; without it a rollback goes undetected here",
        )


class _FirstFormat(BaseModel):
    """The format of earlier versions, which named neither a run nor a format."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    contract_digest: _Digest
    step: Annotated[int, Field(ge=0)]
    digest: _Digest

    @classmethod
    def of(cls, text: bytes) -> _FirstFormat | None:
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None
