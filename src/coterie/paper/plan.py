"""Which runs the experiment consists of: schemes, engines and settings, and each run's contract.

Pure: neither files nor processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from coterie.contract import Contract, parse_contract
from coterie.kinds import Mode

Engine = Literal["coterie", "tensorflow"]
SettingName = Literal["paper", "tuned"]

PAPER_ROWS: Final = 4_584_061
"""One tenth of Criteo Kaggle's rows: the paper's data."""
HASH_SEED: Final = 2022
_MANY_ROWS = 1_000_000
_COMPANIES = ("acme", "bolt", "corn", "dune")
_SDT_WORKERS = 2

# What the graphs of dlrm_between_graph.py run on another party's parameter server, as in the contracts beside it.
_OPERATIONS_TEXT = """
    AccumulatorSetGlobalStep AddV2 AssignAddVariableOp AssignVariableOp Cast Const FIFOQueueV2 Fill Identity Mul Neg
    NoOp QueueCloseV2 QueueDequeueV2 QueueEnqueueManyV2 RandomUniform ReadVariableOp
    ResourceAccumulatorApplyGradient ResourceAccumulatorSetGlobalStep ResourceAccumulatorTakeGradient ResourceApplyAdagrad
    ResourceApplyGradientDescent ResourceConditionalAccumulator ResourceGather ResourceScatterAdd ResourceSparseApplyAdagrad
    Shape SparseAccumulatorApplyGradient SparseAccumulatorTakeGradient SparseConditionalAccumulator StridedSlice Switch
    TruncatedNormal Unique UnsortedSegmentSum VarHandleOp VarIsInitializedOp _Recv _Send
    """
_OPERATIONS: Final = tuple(_OPERATIONS_TEXT.split())


@dataclass(frozen=True)
class Setting:
    """Hyperparameters.

    Attributes:
        optimizer: ``sgd`` or ``adagrad``.
        batch: Examples per worker and step.
        dense_rate: Learning rate of the dense parameters.
        row_rate: Learning rate of the embedding rows.
        min_count: Rarer ids share a row, by scheme.
        decay: Share of the steps, at the end, over which rates fall to 0.
    """

    optimizer: Literal["sgd", "adagrad"]
    batch: int
    dense_rate: float
    row_rate: float
    min_count: dict[Mode, int]
    decay: float


SETTINGS: Final[dict[SettingName, Setting]] = {
    "paper": Setting("sgd", 128, 0.1, 0.1, {"hfl": 1, "sdt": 1}, 0.0),
    # As in examples/criteo-hfl.toml and criteo-sdt.toml: docs/benchmarks.md, "Quality".
    "tuned": Setting("adagrad", 64, 0.01, 0.02, {"hfl": 2, "sdt": 4}, 0.15),
}


@dataclass(frozen=True, order=True)
class Case:
    """One experiment, which runs natively and attested.

    Attributes:
        scheme: ``hfl`` or ``sdt``.
        setting: The hyperparameters.
        engine: Whose parameter server.
        synchronous: Whether an update waits for all workers.
    """

    scheme: Mode
    setting: SettingName
    engine: Engine
    synchronous: bool

    @property
    def name(self) -> str:
        """A name for folders and figures."""
        how = "sync" if self.synchronous else "async"
        return f"{self.scheme}-{self.engine}-{how}-{self.setting}"

    @property
    def label(self) -> str:
        """A name for people, within its scheme and setting."""
        engine = "Coterie" if self.engine == "coterie" else "TensorFlow"
        return f"{engine}, {'synchronous' if self.synchronous else 'asynchronous'}"

    @property
    def workers(self) -> int:
        """How many workers train."""
        return len(_COMPANIES) if self.scheme == "hfl" else _SDT_WORKERS


def cases() -> tuple[Case, ...]:
    """All experiments, those of a figure together.

    The paper's HFL is asynchronous (its published program has no `SyncReplicasOptimizer`); Coterie's
    own server is always synchronous, and so is one function that spans a cluster.
    """
    return (
        Case("hfl", "paper", "coterie", synchronous=True),
        Case("hfl", "paper", "tensorflow", synchronous=False),
        Case("hfl", "paper", "tensorflow", synchronous=True),
        Case("hfl", "tuned", "coterie", synchronous=True),
        Case("hfl", "tuned", "tensorflow", synchronous=False),
        Case("sdt", "paper", "coterie", synchronous=True),
        Case("sdt", "paper", "tensorflow", synchronous=True),
        Case("sdt", "tuned", "coterie", synchronous=True),
        Case("sdt", "tuned", "tensorflow", synchronous=True),
    )


def table_rows(raw_rows: int) -> int:
    """Rows of each column's embedding table: many more than trained ids, as `coterie init` has it."""
    return 100_000 if raw_rows < _MANY_ROWS else 1_000_000


def steps_of(case: Case, examples: int, epochs: int) -> int:
    """Steps of a run: rounds of one batch per worker.

    Args:
        case: The experiment.
        examples: Training examples of all parties.
        epochs: Passes over them.
    """
    return -(-examples // (SETTINGS[case.setting].batch * case.workers)) * epochs


def contract_of(
    case: Case, *, rows: int, tables: int, examples: int | None = None, epochs: int = 1
) -> Contract:
    """The contract of an experiment.

    Args:
        case: The experiment.
        rows: Raw rows that are used at most.
        tables: Rows of each embedding table.
        examples: Training examples of all parties; None before they are prepared: the data section,
            by which data are prepared, does not depend on it.
        epochs: Passes over the data.
    """
    setting = SETTINGS[case.setting]
    lines = [*_parties(case), *_data(setting, case.scheme, rows, tables)]
    lines += ["[training]", f"batch = {setting.batch}", f"epochs = {epochs}", "seed = 0"]
    for part, rate in (("dense", setting.dense_rate), ("rows", setting.row_rate)):
        lines += [f"[training.{part}]", f'kind = "{setting.optimizer}"', f"learning_rate = {rate}"]
    if setting.decay and examples is not None:
        steps = steps_of(case, examples, epochs)
        decay = max(1, round(setting.decay * steps))
        lines += ["[training.schedule]", f"decay_start = {steps - decay}", f"decay_steps = {decay}"]
    if case.engine == "tensorflow":
        operations = ", ".join(f'"{name}"' for name in _OPERATIONS)
        lines += ["[tensorflow]", *([f"operations = [{operations}]"] * (case.scheme == "hfl"))]
    lines += ["[trust]", 'tee = "simulated"']
    for role in ("ps", "worker", "chief")[: 2 if case.scheme == "hfl" else 3]:
        lines += [f"[trust.roles.{role}]", 'measurement = "own"']
        lines.append('accepted_tcb_statuses = ["UpToDate"]')
    return parse_contract("\n".join(lines).encode(), case.name)


def program_of(case: Case) -> str:
    """File name of the program that TensorFlow's nodes run."""
    return "dlrm_between_graph.py" if case.scheme == "hfl" else "dlrm_in_graph.py"


def arguments_of(case: Case, examples: int, epochs: int, scores: str) -> list[str]:
    """The program's arguments.

    Args:
        case: An experiment on TensorFlow's engine.
        examples: Training examples of all parties.
        epochs: Passes over them.
        scores: Directory for scores.
    """
    setting, steps = SETTINGS[case.setting], steps_of(case, examples, epochs)
    # A worker of the asynchronous program counts the updates of all workers.
    counted = steps if case.synchronous else steps * case.workers
    found = ["--steps", str(counted), "--batch", str(setting.batch)]
    found += ["--optimizer", setting.optimizer, "--rate", str(setting.dense_rate)]
    found += ["--scores", scores]
    if case.scheme == "hfl" and case.synchronous:
        found.append("--sync")
    return found


def _parties(case: Case) -> Iterator[str]:
    yield from ("format = 1", f'name = "paper-{case.name}"', f'mode = "{case.scheme}"')
    hfl = case.scheme == "hfl"
    host, owners = ("operator", _COMPANIES) if hfl else ("owner", ("owner",))
    for party in dict.fromkeys((host, *owners)):
        yield from ("[[parties]]", f'name = "{party}"')
    nodes = [("ps0", "ps", host, 7440)]
    if hfl:
        nodes += [(f"{owner}-worker", "worker", owner, 0) for owner in owners]
    else:
        nodes += [("chief", "chief", host, 0)]
        nodes += [(f"worker{i}", "worker", host, 7450 + 10 * i) for i in range(case.workers)]
    for name, role, party, port in nodes:
        yield from ("[[nodes]]", f'name = "{name}"', f'role = "{role}"', f'party = "{party}"')
        if port:  # `coterie paper` gives nodes free ports; the contract must name one all the same
            yield f'address = "127.0.0.1:{port}"'


def _data(setting: Setting, scheme: Mode, rows: int, tables: int) -> Iterator[str]:
    yield from ("[data]", f"row_limit = {rows}", f"rows = {tables}")
    yield from (f"min_count = {setting.min_count[scheme]}", f"hash_seed = {HASH_SEED}")
