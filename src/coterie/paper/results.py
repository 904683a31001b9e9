"""What the experiment gave: ``paper.json``."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from coterie.files import write_whole, writing
from coterie.kinds import Mode
from coterie.paper.plan import Case, Engine, SettingName
from coterie.runs.run_files import read_beside

FILE: Final = "paper.json"
_MOST_BYTES = 1 << 26

Environment = Literal["native", "simulated", "gramine-direct", "sgx"]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class CurvePoint(_Record):
    """A piece of a training curve.

    Attributes:
        examples: Examples trained up to its end, of all workers.
        loss: Mean binary cross-entropy of its own examples before their update, nats.
        accuracy: Share of them that was predicted right.
    """

    examples: Count
    loss: float
    accuracy: Share | None


class Quality(_Record):
    """The trained model on the test rows of all parties; None: withheld or not defined.

    Attributes:
        auc: Area under the ROC curve.
        auc_low: Lower end of its 95 % confidence interval.
        auc_high: Upper end.
        log_loss: Mean, nats.
        accuracy: Share that is predicted right at probability one half.
    """

    auc: Share | None
    auc_low: Share | None
    auc_high: Share | None
    log_loss: float | None
    accuracy: Share | None


class Measured(_Record):
    """One experiment in one environment.

    Attributes:
        seconds: Training time of every turn.
        curve: Of the last turn.
        quality: Of the last turn.
        model_digest: Of its model; Coterie's own engine only.
    """

    seconds: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(strict=False, min_length=1)]
    curve: Annotated[tuple[CurvePoint, ...], Field(strict=False)]
    quality: Quality
    model_digest: Hex32 | None = None


class CaseResult(_Record):
    """An experiment in all environments; None: it was not run there.

    Attributes:
        scheme: As in ``plan.Case``.
        setting: Likewise.
        engine: Likewise.
        synchronous: Likewise.
        steps: Rounds of one batch per worker.
        native: Plain processes: neither encrypted nor attested.
        simulated: RA-TLS with the simulated TEE.
        gramine_direct: RA-TLS in Gramine without SGX.
        sgx: RA-TLS in SGX enclaves.
    """

    scheme: Mode
    setting: SettingName
    engine: Engine
    synchronous: bool
    steps: Count
    native: Measured | None = None
    simulated: Measured | None = None
    gramine_direct: Measured | None = None
    sgx: Measured | None = None

    @property
    def case(self) -> Case:
        """The experiment."""
        return Case(self.scheme, self.setting, self.engine, synchronous=self.synchronous)

    def measured(self, environment: Environment) -> Measured | None:
        """What an environment gave."""
        found = {
            "native": self.native,
            "simulated": self.simulated,
            "gramine-direct": self.gramine_direct,
            "sgx": self.sgx,
        }
        return found[environment]

    def ratio(self, environment: Environment) -> float | None:
        """Training time over the native one: the median of the turns' ratios."""
        one = self.measured(environment)
        if self.native is None or one is None or environment == "native":
            return None
        return median(a / b for a, b in zip(one.seconds, self.native.seconds, strict=True))


class DataUsed(_Record):
    """The raw data.

    Attributes:
        name: Name of the file.
        sha256: Digest of what was read of it.
        synthetic: Whether it was made here.
        rows: Rows that were used.
        train: Rows that were trained on.
        test: Rows that were tested on.
    """

    name: str
    sha256: Hex32
    synthetic: bool
    rows: Count
    train: Count
    test: Count


class PaperResults(_Record):
    """All that the page shows.

    Attributes:
        format: Version of this file.
        version: Of Coterie.
        finished: When, UTC.
        machine: What it ran on: names and values.
        data: The raw data.
        table_rows: Rows of each embedding table.
        epochs: Passes over the data.
        turns: How often each experiment ran in each environment.
        seconds: Of the whole, preparation included.
        cases: The experiments.
    """

    format: Literal[1] = 1
    version: str
    finished: Annotated[AwareDatetime, Field(strict=False)]
    machine: dict[str, str]
    data: DataUsed
    table_rows: Count
    epochs: Count
    turns: Count
    seconds: float
    cases: Annotated[tuple[CaseResult, ...], Field(strict=False)]

    def of(self, scheme: Mode, setting: SettingName | None = None) -> tuple[CaseResult, ...]:
        """The experiments of a scheme, or of one setting of it."""
        return tuple(
            one for one in self.cases if one.scheme == scheme and setting in (None, one.setting)
        )

    def write(self, folder: Path) -> None:
        """Writes ``paper.json``, durably.

        Raises:
            EnvironmentUnfit: It cannot be written.
        """
        with writing(folder / FILE):
            write_whole(folder / FILE, self.model_dump_json(indent=1).encode() + b"\n")


def read_results(folder: Path) -> PaperResults | None:
    """Reads ``paper.json`` of a folder; None if it is absent.

    Raises:
        DataError: It is not one of this version.
    """
    return read_beside(
        folder / FILE,
        PaperResults,
        max_bytes=_MOST_BYTES,
        holds="experiment",
        without="it",
    )
