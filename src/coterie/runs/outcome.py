"""The outcome of a finished run on the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from coterie.errors import CheckpointDamaged
from coterie.metrics.released import ReleasedScores
from coterie.runs.events import ServerTimes, WorkerTimes
from coterie.runs.records import Validated, WorkerAbsence


@dataclass(frozen=True)
class RunEnd:
    """The run and the checkpoint that an outcome belongs to.

    Attributes:
        run_id: Random name of the run, 64 hex digits.
        checkpoint: Digest of the last step's checkpoint, of all shards together, 64 hex digits;
            empty if no checkpoints are kept.
    """

    run_id: str
    checkpoint: str


@dataclass(frozen=True)
class RunOutcome:
    """A finished run.

    Attributes:
        steps: Updates applied.
        model_step: The step after which the model was taken: the last, or that of the best
            validation.
        examples: Examples trained, all epochs.
        seconds: Training time from the last join to the last update, summed over the server's
            incarnations. Steps that were trained again count once, with their last time.
        train_loss: Mean loss over the last epoch; None if it must not be disclosed.
        totals: Released evaluation counts, by split.
        model_digest: Digest of the model; 32 bytes.
        end: The run and checkpoint that it belongs to.
        absences: Workers that were left out, and in which steps.
        validations: Validations during training.
        optimizer_state: Digest of the optimizers' state, 32 bytes; None if no party receives it.
        times: Times of shard 0 and of the workers by kind of work; not kept between restarts.
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
        """The outcome as the server stores it for restarts."""
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
        """Reads the output of ``to_json``. The store has verified its digest.

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
