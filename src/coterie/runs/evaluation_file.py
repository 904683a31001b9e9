"""The file of counted scores that a run released. Reports draw curves from it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from coterie.files import write_whole, writing
from coterie.metrics.released import ReleasedScores
from coterie.runs.outcome import RunOutcome
from coterie.runs.run_files import read_beside

FILE = "evaluation.json"
MAX_FILE_BYTES = 1 << 20


class Evaluation(BaseModel):
    """Counts over all data owners. Every bin holds enough examples.

    A split with too few examples is absent.

    Attributes:
        format: Version of this file.
        validation: Counts over the validation part.
        test: Counts over the test part.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[3] = 3
    validation: ReleasedScores | None = None
    test: ReleasedScores | None = None

    @classmethod
    def of(cls, outcome: RunOutcome) -> Self:
        """Makes the file's content from the released totals of a finished run."""
        return cls(validation=outcome.totals.get("validation"), test=outcome.totals.get("test"))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Reads a run's file; None if it is absent.

        Raises:
            DataError: It is not an evaluation file of this version.
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
