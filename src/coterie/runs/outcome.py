"""What a finished run amounts to on the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from coterie.errors import CheckpointDamaged
from coterie.models.released import ReleasedScores
from coterie.runs.events import ServerTimes, WorkerTimes
from coterie.runs.records import Validated, WorkerAbsence


@dataclass(frozen=True)
class RunEnd:
    """Which run an outcome is of, and which checkpoint of it.

    Attributes:
        run_id: Random name of the run, 64 hex digits.
        checkpoint: Digest of the last step's checkpoint, of all shards together, 64 hex digits;
            empty where none are kept.
    """

    run_id: str
    checkpoint: str


@dataclass(frozen=True)
class RunOutcome:
    """A finished run.

    Attributes:
        steps: Updates applied.
        model_step: The step that the model is of: the last one, or that of the best validation.
        examples: Examples trained, all epochs.
        seconds: Training time: from the last join to the last update, in every life of the server; of steps that
            were lost and trained again, the last time alone.
        train_loss: Mean loss over the last epoch; None where it may not be told.
        totals: Released evaluation counts, by split.
        model_digest: Digest of the model; 32 bytes.
        end: The run and checkpoint that it is of.
        absences: Who was left out when.
        validations: While the model was trained.
        optimizer_state: Digest of what the optimizers keep, 32 bytes; None where nobody gets it.
        times: Where the time of shard 0 and of the workers went; not kept between restarts.
    """

    steps: int
    model_step: int
    examples: int
    seconds: float
    train_loss: float | None
    totals: Mapping[str, ReleasedScores]
    model_digest: bytes
    end: RunEnd
    absences: tuple[WorkerAbsence, ...] = ()
    validations: tuple[Validated, ...] = ()
    optimizer_state: bytes | None = None
    times: tuple[ServerTimes | WorkerTimes, ...] = ()

    def to_json(self) -> bytes:
        """The outcome as it is kept between restarts of the server."""
        return (
            _Stored(
                steps=self.steps,
                model_step=self.model_step,
                examples=self.examples,
                seconds=self.seconds,
                train_loss=self.train_loss,
                totals=dict(self.totals),
                model_digest=self.model_digest.hex(),
                run_id=self.end.run_id,
                checkpoint=self.end.checkpoint,
                absences=self.absences,
                validations=self.validations,
                optimizer_state=self.optimizer_state.hex() if self.optimizer_state else None,
            )
            .model_dump_json()
            .encode()
        )

    @staticmethod
    def from_json(octets: bytes) -> RunOutcome:
        """Reads what ``to_json`` wrote; the store has checked that it is whole.

        Raises:
            CheckpointDamaged: Another version wrote it.
        """
        try:
            stored = _Stored.model_validate_json(octets)
        except ValidationError as error:
            raise CheckpointDamaged(
                "the kept outcome of the run is none of this version",
                expected="what this version keeps",
                seen=str(error.errors(include_input=False)[0])[:300],
                remedy="let the version that finished the run end it",
            ) from error
        return RunOutcome(
            steps=stored.steps,
            model_step=stored.model_step,
            examples=stored.examples,
            seconds=stored.seconds,
            train_loss=stored.train_loss,
            totals=stored.totals,
            model_digest=bytes.fromhex(stored.model_digest),
            end=RunEnd(stored.run_id, stored.checkpoint),
            absences=stored.absences,
            validations=stored.validations,
            optimizer_state=bytes.fromhex(stored.optimizer_state or "") or None,
        )


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int
    model_step: int
    examples: int
    seconds: float
    train_loss: float | None
    totals: dict[str, ReleasedScores]
    model_digest: str
    run_id: str
    checkpoint: str
    absences: tuple[WorkerAbsence, ...]
    validations: tuple[Validated, ...]
    optimizer_state: str | None
