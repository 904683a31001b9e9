"""The counted scores that a run released, as a file beside its result: curves are drawn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from coterie.models.metrics import LOGIT_BOUND
from coterie.models.released import ReleasedScores
from coterie.ps.outcome import RunOutcome
from coterie.training.beside import read_beside

FILE = "evaluation.json"
MAX_FILE_BYTES = 4 << 20


class Evaluation(BaseModel):
    """Counts over all data owners, merged until each bin is over enough examples.

    A split that had too few is absent.

    Attributes:
        format: Version of this file.
        bins: Equally wide bins of logits from ``-logit_bound`` to ``logit_bound``, which edges count.
        logit_bound: See ``bins``.
        validation: Counts over the validation part.
        test: Counts over the test part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[2] = 2
    bins: Literal[8192] = 8192
    logit_bound: Annotated[float, Field(ge=LOGIT_BOUND, le=LOGIT_BOUND)] = LOGIT_BOUND
    validation: ReleasedScores | None = None
    test: ReleasedScores | None = None

    @classmethod
    def of(cls, outcome: RunOutcome) -> Self:
        """The released totals of a finished run."""
        return cls(validation=outcome.totals.get("validation"), test=outcome.totals.get("test"))

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
        """Writes the file."""
        (folder / FILE).write_text(self.model_dump_json() + "\n")
