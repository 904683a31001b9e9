"""The counted scores that a run released, as a file beside its result: curves are drawn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from coterie.files import write_whole, writing
from coterie.models.metrics import HISTOGRAM_BINS, LOGIT_BOUND, ScoreHistogram
from coterie.ps.outcome import RunOutcome
from coterie.training.beside import read_beside

FILE = "evaluation.json"
MAX_FILE_BYTES = 4 << 20

Count = Annotated[int, Field(ge=0, lt=2**53)]


class CountedScores(BaseModel):
    """A ``ScoreHistogram`` without the empty bins at its ends.

    Attributes:
        first: Bin of the first counts.
        positives: Examples with label 1, by bin.
        negatives: Examples with label 0, by bin.
        loss_sum: Sum of the binary cross-entropies, in nats.
        prediction_sum: Sum of the predicted probabilities.
        correct: Examples on the right side of probability one half.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    first: Annotated[int, Field(ge=0, lt=HISTOGRAM_BINS)]
    positives: tuple[Count, ...]
    negatives: tuple[Count, ...]
    loss_sum: Annotated[float, Field(ge=0)]
    prediction_sum: Annotated[float, Field(ge=0)]
    correct: Count

    @model_validator(mode="after")
    def _bins_are_there(self) -> Self:
        if len(self.positives) != len(self.negatives):
            raise ValueError("positives and negatives must have as many bins")
        if self.first + len(self.positives) > HISTOGRAM_BINS:
            raise ValueError(f"there are {HISTOGRAM_BINS} bins")
        return self

    @classmethod
    def of(cls, histogram: ScoreHistogram) -> Self:
        """Drops the empty ends."""
        filled = np.flatnonzero(histogram.positives + histogram.negatives)
        start, stop = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, 0)
        return cls(
            first=start,
            positives=tuple(histogram.positives[start:stop].tolist()),
            negatives=tuple(histogram.negatives[start:stop].tolist()),
            loss_sum=histogram.loss_sum,
            prediction_sum=histogram.prediction_sum,
            correct=histogram.correct,
        )

    def histogram(self) -> ScoreHistogram:
        """The histogram that it was made of."""
        counts = np.zeros((2, HISTOGRAM_BINS), np.int64)
        counts[:, self.first : self.first + len(self.positives)] = (self.positives, self.negatives)
        return ScoreHistogram(
            counts[0], counts[1], self.loss_sum, self.prediction_sum, self.correct
        )


class Evaluation(BaseModel):
    """Sums over all data owners; a split that had too few examples is absent.

    Attributes:
        format: Version of this file.
        bins: Equally wide bins of logits from ``-logit_bound`` to ``logit_bound``.
        logit_bound: See ``bins``.
        validation: Counts over the validation part.
        test: Counts over the test part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    bins: Literal[8192] = 8192
    logit_bound: Annotated[float, Field(ge=LOGIT_BOUND, le=LOGIT_BOUND)] = LOGIT_BOUND
    validation: CountedScores | None = None
    test: CountedScores | None = None

    @classmethod
    def of(cls, outcome: RunOutcome) -> Self:
        """The released totals of a finished run."""
        counts = {total.split: CountedScores.of(total.histogram) for total in outcome.totals}
        return cls(validation=counts.get("validation"), test=counts.get("test"))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Reads a run's file; None where there is none.

        Raises:
            DataError: It is no such file.
        """
        return read_beside(
            folder / FILE, cls, max_bytes=MAX_FILE_BYTES, holds="counted scores", without="curves"
        )

    def write(self, folder: Path) -> None:
        """Writes the file, durably.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        with writing(folder / FILE):
            write_whole(folder / FILE, self.model_dump_json().encode() + b"\n")
