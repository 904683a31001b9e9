"""Records of a run that its server, checkpoints, result and receipt share."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from coterie.metrics.released import ReleasedScores


class WorkerAbsence(BaseModel):
    """A worker took no part in the run from step ``start`` until ``stop`` (None: to the end)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    worker: str
    start: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(ge=0)] | None = None


class Validated(BaseModel):
    """The model's quality on all owners' validation rows after some step.

    Attributes:
        step: Steps applied.
        examples: Rows counted.
        auc: Area under the ROC curve; None if a class has too few rows to disclose it.
        log_loss: Mean binary cross-entropy in nats; None if there are too few rows to disclose it.
        calibration: Mean prediction over mean label; None likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    step: Annotated[int, Field(ge=1)]
    examples: Annotated[int, Field(ge=0)]
    auc: Annotated[float, Field(ge=0, le=1)] | None
    log_loss: Annotated[float, Field(ge=0)] | None
    calibration: Annotated[float, Field(ge=0)] | None

    @classmethod
    def of(cls, step: int, scores: ReleasedScores | None) -> Self:
        """What may be disclosed of a validation; None if nothing may."""
        if scores is None:
            return cls(step=step, examples=0, auc=None, log_loss=None, calibration=None)
        metrics = scores.metrics()
        return cls(
            step=step,
            examples=metrics.examples,
            auc=metrics.auc,
            log_loss=metrics.log_loss,
            calibration=metrics.calibration,
        )
