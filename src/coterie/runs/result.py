"""The result of a run: one record, the same for every command and transport."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from coterie.canonical import canonical
from coterie.contract import Contract, StartSection, contract_digest, data_digest
from coterie.kinds import Mode, Stamp
from coterie.runs.events import Event, OwnQuality, ServerTimes, WorkerTimes
from coterie.runs.outcome import RunOutcome
from coterie.runs.records import Validated, WorkerAbsence

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
TransportName = Literal["ra-tls", "memory", "PLAINTEXT"]
Hyperparameter = bool | int | float | str
TeeStamp = Stamp | Literal["none"]


class PartyQuality(BaseModel):
    """Quality of the trained model on a party's own test rows, as its own node reports it.

    Attributes:
        examples: Number of rows.
        auc: Area under the ROC curve; absent if a class has too few rows to disclose it.
        log_loss: Mean log loss; absent if there are too few rows to disclose it.
        calibration: Mean prediction over mean label; absent likewise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    examples: int
    auc: float | None
    log_loss: float | None
    calibration: float | None


class PartyRows(BaseModel):
    """Number of rows of a party, by part."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    train: int
    validation: int
    test: int


class OwnQualities:
    """Collects what parties' nodes report of their own rows, on a machine that runs all nodes."""

    def __init__(self) -> None:
        self._told: dict[str, PartyQuality] = {}

    def on_event(self, event: Event) -> None:
        """Adds an event; a later report replaces an earlier one."""
        if isinstance(event, OwnQuality):
            self._told[event.party] = PartyQuality(
                examples=event.examples,
                auc=event.auc,
                log_loss=event.log_loss,
                calibration=event.calibration,
            )

    def of(self, contract: Contract) -> dict[str, PartyQuality]:
        """The qualities by party, in contract order."""
        return {party: self._told[party] for party in contract.party_names if party in self._told}


class RunResult(BaseModel):
    """A finished run.

    Attributes:
        mode: ``hfl`` or ``sdt``.
        transport: ``ra-tls``, ``memory`` or ``PLAINTEXT``.
        tee: ``SIMULATED``, ``sgx``, ``tdx``, ``snp``, ``azure-snp``, ``azure-tdx``, ``mixed`` or ``none`` for transports without attestation.
        nodes: Number of nodes.
        steps: Updates applied in this run; the model also holds those of its start.
        examples: Examples trained, all epochs.
        seconds: Training time, without set-up and evaluation.
        samples_per_second: Examples per second of training.
        train_loss: Mean loss over the last epoch; absent if an epoch has too few examples or a
            worker was left out in it (``ps.core.disclosure``).
        validation_auc: Area under the ROC curve; absent if a class has too few examples.
        test_auc: Likewise, on the test part.
        test_logloss: Mean log loss on the test part.
        test_accuracy: Share of test examples on whose label the prediction agrees.
        test_calibration: Mean prediction over mean label on the test part.
        test_auc_low: Lower end of the 95 % confidence interval of ``test_auc``.
        test_auc_high: Upper end.
        test_auc_error: Largest distance of ``test_auc`` from the AUC of unbinned scores; 0 if it is
            exact.
        test_auc_note: Why there is no AUC or why it is not reliable, in words; otherwise empty.
        validation_auc_note: Likewise, for the validation part.
        model_digest: Digest of the model.
        model_step: The step after which the model was taken: the last, or that of the best
            validation.
        contract_digest: Digest of the contract that the nodes ran under.
        absences: Workers that were left out, and in which steps.
        validations: Validations during training.
        by_party: Quality on each party's own test rows, if all nodes ran on one machine.
        optimizer_state: Digest of the optimizers' state; absent if no party receives it.
        start: What the run started from, as its contract says; absent if it started from nothing.
        times: Times of the first shard and of every worker: by node, its steps, and seconds by kind
            of work (``runs.events.ServerTimes``, ``WorkerTimes``).
        name: Name of the contract.
        finished: Time at which the result was made, UTC, by the clock of its host.
        hyperparameters: What the contract sets for model and training, by dotted name, as
            ``training.dense.learning_rate``.
        rows: Rows that every data owner prepared, if all nodes ran on one machine.
        path: The run's directory; in memory only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    mode: Mode
    transport: TransportName
    tee: TeeStamp
    nodes: int
    steps: int
    examples: int
    seconds: float
    samples_per_second: float
    train_loss: float | None
    validation_auc: float | None
    test_auc: float | None
    test_logloss: float | None
    test_accuracy: float | None
    test_calibration: float | None
    model_digest: Hex32
    model_step: int
    contract_digest: Hex32
    test_auc_low: float | None = None
    test_auc_high: float | None = None
    test_auc_error: float | None = None
    test_auc_note: str = ""
    validation_auc_note: str = ""
    absences: Annotated[tuple[WorkerAbsence, ...], Field(strict=False)] = ()
    validations: Annotated[tuple[Validated, ...], Field(strict=False)] = ()
    by_party: dict[str, PartyQuality] = {}
    optimizer_state: Hex32 | None = None
    start: StartSection | None = None
    times: dict[str, dict[str, float]] = {}
    name: str = ""
    finished: Annotated[AwareDatetime | None, Field(strict=False)] = None
    hyperparameters: dict[str, Hyperparameter] = {}
    rows: dict[str, PartyRows] = {}
    path: Annotated[str, Field(exclude=True)] = ""

    def absence(self, key: str) -> str:
        """Why a number of this result is None: undefined, or withheld by the contract."""
        notes = {"test_auc": self.test_auc_note, "validation_auc": self.validation_auc_note}
        undefined = notes.get(key, "").startswith("no ")  # a class has no examples
        if key == "test_calibration":
            undefined = self.test_logloss is not None  # no example is positive
        return "not defined" if undefined else "withheld"


def result_of(outcome: RunOutcome, contract: Contract, transport: TransportName) -> RunResult:
    """Makes the result from a run's outcome and circumstances."""
    metrics = {split: scores.metrics() for split, scores in outcome.totals.items()}
    validation, test = metrics.get("validation"), metrics.get("test")
    return RunResult(
        mode=contract.mode,
        transport=transport,
        tee=contract.trust.stamp if transport == "ra-tls" else "none",
        nodes=len(contract.nodes),
        steps=outcome.steps,
        examples=outcome.examples,
        seconds=outcome.seconds,
        samples_per_second=outcome.examples / outcome.seconds if outcome.seconds > 0 else 0.0,
        train_loss=outcome.train_loss,
        validation_auc=validation.auc if validation else None,
        test_auc=test.auc if test else None,
        test_logloss=test.log_loss if test else None,
        test_accuracy=test.accuracy if test else None,
        test_calibration=test.calibration if test else None,
        test_auc_low=test.auc_low if test else None,
        test_auc_high=test.auc_high if test else None,
        test_auc_error=test.auc_error if test else None,
        test_auc_note=test.note if test else _withheld(contract),
        validation_auc_note=validation.note if validation else _withheld(contract),
        model_digest=outcome.model_digest.hex(),
        model_step=outcome.model_step,
        contract_digest=contract_digest(contract).hex(),
        absences=outcome.absences,
        validations=outcome.validations,
        optimizer_state=outcome.optimizer_state.hex() if outcome.optimizer_state else None,
        start=contract.start,
        times={times.node: seconds_of(times) for times in outcome.times},
        name=contract.name,
        hyperparameters=hyperparameters_of(contract),
    )


def _withheld(contract: Contract) -> str:
    """Why a part's numbers are withheld."""
    several = len({node.party for node in contract.data_owners()}) > 1
    why = f"there are fewer than {contract.limits.evaluation_minimum} (limits.evaluation_minimum)"
    return f"withheld, because {why} examples{', or all are of one party' if several else ''}"


def hyperparameters_of(contract: Contract) -> dict[str, Hyperparameter]:
    """The settings of a contract by dotted name; data section and own layers by their digests."""
    model = contract.model.model_dump(mode="json")
    if contract.model.kind == "keras":
        layers = canonical([model.pop("layers"), model.pop("parameters")])
        model["layers"] = hashlib.sha256(layers).hexdigest()[:16]
    settings = {
        "data": {"digest": data_digest(contract.data).hex()[:16]},
        "model": model,
        "training": contract.training.model_dump(mode="json"),
    }
    return dict(_flat("", settings))


def _flat(prefix: str, value: object) -> Iterator[tuple[str, Hyperparameter]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else name, item)
    elif isinstance(value, list):
        yield prefix, ", ".join(map(str, value))
    elif isinstance(value, bool | int | float | str):
        yield prefix, value


def seconds_of(times: ServerTimes | WorkerTimes) -> dict[str, float]:
    """A node's steps, and its seconds by kind of work."""
    fields = times.to_dict()
    return {name: value for name, value in fields.items() if isinstance(value, int | float)}
