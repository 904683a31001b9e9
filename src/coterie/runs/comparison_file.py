"""What joining is worth: AUCs, on the same test rows, of models trained on different data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from coterie.files import write_whole, writing
from coterie.metrics.groups import Floats
from coterie.metrics.intervals import Interval, paired_aucs
from coterie.runs.run_files import read_beside

FILE = "comparison.json"
MAX_FILE_BYTES = 1 << 20

METHOD = "score intervals and DeLong's covariance on the models' scores of the same test rows"

Scope = Literal["everybody", "own"]
Kind = Literal["joint", "pooled", "alone"]


@dataclass(frozen=True, eq=False)
class Scored:
    """A model's scores of the test rows that all models are compared on.

    Attributes:
        name: For people.
        kind: ``joint``: trained by all parties together; ``pooled``: with all data in one place;
            ``alone``: by one party on its own data.
        examples: Examples trained, all epochs; None if they count others' rows, which this party
            may not know.
        logits: float32 [n].
    """

    name: str
    kind: Kind
    examples: int | None
    logits: Floats


class ComparedModel(BaseModel):
    """A model's AUC, and the joint model's gain over it.

    Attributes:
        name: For people.
        kind: As in ``Scored``.
        examples: As in ``Scored``.
        auc: AUC on the common test rows.
        auc_low: Lower end of its 95 % confidence interval.
        auc_high: Upper end.
        gain: AUC of the joint model minus this one's; None for the joint model itself.
        gain_low: Lower end of the gain's 95 % confidence interval.
        gain_high: Upper end.
        p_value: Two-sided p-value of the gain, against the hypothesis of no gain.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    kind: Kind
    examples: int | None
    auc: float
    auc_low: float
    auc_high: float
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    p_value: float | None = None


class Comparison(BaseModel):
    """Models compared on the same test rows.

    Attributes:
        format: Version of this file.
        scope: ``everybody``: all parties' test rows, in the clear; ``own``: one party's, by itself.
        party: The party whose rows they are, with scope ``own``.
        test_examples: Number of rows.
        method: How the intervals were made.
        models: The joint model first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    scope: Scope
    party: str | None = None
    test_examples: int
    method: str = METHOD
    models: tuple[ComparedModel, ...]

    @classmethod
    def of(
        cls, scored: Sequence[Scored], labels: Floats, *, scope: Scope, party: str | None = None
    ) -> Self | None:
        """Compares models; the first is the joint one.

        Returns:
            None unless the labels hold each class at least twice.

        Raises:
            DataError: The numbers of scores and labels differ.
        """
        paired = paired_aucs([model.logits for model in scored], labels)
        if paired is None:
            return None
        gains: tuple[Interval | None, ...] = (None, *paired.gains)
        p_values = (None, *paired.p_values)
        models = tuple(
            ComparedModel(
                name=model.name,
                kind=model.kind,
                examples=model.examples,
                auc=auc.value,
                auc_low=auc.low,
                auc_high=auc.high,
                gain=gain.value if gain else None,
                gain_low=gain.low if gain else None,
                gain_high=gain.high if gain else None,
                p_value=p_value,
            )
            for model, auc, gain, p_value in zip(scored, paired.aucs, gains, p_values, strict=True)
        )
        return cls(scope=scope, party=party, test_examples=len(labels), models=models)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Reads the file of a folder; None if it is absent.

        Raises:
            DataError: It is not a comparison file of this version.
        """
        return read_beside(
            folder / FILE, cls, max_bytes=MAX_FILE_BYTES, holds="comparison", without="it"
        )

    def write(self, folder: Path) -> None:
        """Writes the file, durably.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        with writing(folder / FILE):
            write_whole(folder / FILE, self.model_dump_json(indent=2).encode() + b"\n")
