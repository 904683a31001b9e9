"""The records of a checkpoint beside the model, and the interface of a checkpoint store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from coterie.contract.rollback import StoredConsent
from coterie.errors import EnvironmentUnfit
from coterie.ps.core.membership import TrainingData
from coterie.ps.core.state import ModelState, Snapshot
from coterie.ps.core.validations import MOST_VALIDATIONS
from coterie.runs.records import Validated, WorkerAbsence

MAX_NOTE_BYTES = 8 << 20
MAX_PASSED = 128
MAX_CONSENTS = 16
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RunId = Digest


@dataclass(frozen=True)
class DurableCheckpoint:
    """A complete and verified checkpoint on disk.

    Attributes:
        step: Number of updates that it holds.
        digest: SHA-256 of its manifest, and so of everything that it refers to; 32 bytes.
    """

    step: int
    digest: bytes


class PassedCheckpoint(BaseModel):
    """A checkpoint that was announced before."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    step: Annotated[int, Field(ge=0)]
    digest: Digest


class RunRecord(BaseModel):
    """A server's record of a run beside the model.

    Attributes:
        run_id: Random name, made when the run began from nothing; 64 hex digits. It distinguishes
            the files of a contract's runs, which share contract and keys.
        data_sets: Training data of each worker, by node name; they fix the schedule.
        absences: Workers that were left out, and in which steps.
        passed: The newest checkpoints that were announced before this one, oldest first; on shard 0.
        consents: Consents by which the run went back to an older checkpoint; on shard 0.
        validations: Validations before the checkpoint; on shard 0.
        kept_step: Step of the best of their models, if the contract keeps it; otherwise 0.
        seconds: Training time of the steps that the checkpoint holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    run_id: RunId
    data_sets: dict[str, TrainingData]
    absences: Annotated[tuple[WorkerAbsence, ...], Field(strict=False)] = ()
    passed: Annotated[tuple[PassedCheckpoint, ...], Field(strict=False, max_length=MAX_PASSED)] = ()
    consents: Annotated[
        tuple[StoredConsent, ...], Field(strict=False, max_length=MAX_CONSENTS)
    ] = ()
    validations: Annotated[
        tuple[Validated, ...], Field(strict=False, max_length=2 * MOST_VALIDATIONS)
    ] = ()
    kept_step: Annotated[int, Field(ge=0)] = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Checkpoints(Protocol):
    """A store of a shard's state: ``CheckpointStore`` on disk, ``NoCheckpoints`` in memory."""

    @property
    def persistent(self) -> bool:
        """Whether checkpoints outlive this process."""
        ...

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is still being written."""
        ...

    @property
    def run_id(self) -> str:
        """Name of the run whose checkpoints these are, or empty."""
        ...

    def begin(self, run_id: str) -> None:
        """Begins a run from nothing; checkpoints of another run are no longer used."""
        ...

    @property
    def others(self) -> bool:
        """Whether checkpoints of another run are still there, which do not count any more."""
        ...

    def drop_others(self) -> None:
        """Removes checkpoints of another run."""
        ...

    def available(self) -> tuple[DurableCheckpoint, ...]:
        """The checkpoints of this run that can be restored, oldest first."""
        ...

    def record(self, step: int) -> RunRecord:
        """The record of the run in the checkpoint of a step."""
        ...

    def restore(self, step: int, state: ModelState) -> RunRecord:
        """Fills a new state from the checkpoint of a step; removes newer checkpoints."""
        ...

    def load(self, step: int, state: ModelState) -> None:
        """Fills a new state from the checkpoint of a step; keeps newer checkpoints."""
        ...

    def save(self, snapshot: Snapshot, record: RunRecord) -> None:
        """Starts to make a snapshot durable; returns at once."""
        ...

    @property
    def trouble(self) -> EnvironmentUnfit | None:
        """Why checkpoints cannot be written at present; None if they can."""
        ...

    def flush(self, seconds: float | None = None) -> bool:
        """Waits at most ``seconds`` until nothing is being written; False if that took too long."""
        ...

    def settle(self) -> None:
        """Waits until nothing is being written; gives up what cannot be written."""
        ...

    def retire(self, step: int) -> None:
        """Allows the removal of checkpoints older than this."""
        ...

    def put_note(self, name: str, octets: bytes) -> None:
        """Writes a small record of this run's end durably, with the newest checkpoint."""
        ...

    def notes(self) -> dict[str, bytes]:
        """The small records that belong to the present checkpoints."""
        ...

    def close(self) -> None:
        """Finishes pending writes, unless they fail."""
        ...


class NoCheckpoints(Checkpoints):
    """Keeps nothing beyond this process; for runs in one process."""

    persistent = False
    others = False

    def __init__(self) -> None:
        self._notes: dict[str, bytes] = {}
        self._run_id = ""

    @property
    def writing(self) -> bool:
        """Never."""
        return False

    @property
    @override
    def run_id(self) -> str:
        return self._run_id

    @override
    def begin(self, run_id: str) -> None:
        self._run_id = run_id
        self._notes.clear()

    def drop_others(self) -> None:
        """There are none."""

    def available(self) -> tuple[DurableCheckpoint, ...]:
        """None."""
        return ()

    def record(self, step: int) -> RunRecord:
        """There is nothing: ``available`` says so."""
        raise AssertionError(step)

    def restore(self, step: int, state: ModelState) -> RunRecord:
        """There is nothing to restore: ``available`` says so."""
        raise AssertionError((step, state.step))

    def load(self, step: int, state: ModelState) -> None:
        """There is nothing to load: ``available`` says so."""
        raise AssertionError((step, state.step))

    def save(self, _snapshot: Snapshot, _record: RunRecord) -> None:
        """Does nothing."""

    trouble = None

    def flush(self, _seconds: float | None = None) -> bool:
        """Nothing is ever being written."""
        return True

    def settle(self) -> None:
        """Does nothing."""

    def retire(self, _step: int) -> None:
        """Does nothing."""

    @override
    def put_note(self, name: str, octets: bytes) -> None:
        self._notes[name] = octets

    @override
    def notes(self) -> dict[str, bytes]:
        return dict(self._notes)

    def close(self) -> None:
        """Does nothing."""
