"""What happens in a run, as values: shown while it runs, written to its log, kept in its receipt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Event:
    """Something that happened. Subclasses name it."""

    def to_dict(self) -> dict[str, object]:
        """The event as flat values under its class's name."""
        return {"event": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class Started(Event):
    """A node's process has begun; loading TensorFlow takes it some seconds."""

    node: str
    role: str
    party: str


@dataclass(frozen=True)
class Listening(Event):
    """A node accepts connections."""

    node: str
    address: str


@dataclass(frozen=True)
class Joined(Event):
    """A node joined the run; ``missing`` are those still awaited.

    ``examples`` and ``data_set`` (SHA-256 of its training shard, hex) are what a worker brings.
    """

    node: str
    missing: tuple[str, ...]
    incarnation: int = 0
    examples: int = 0
    data_set: str = ""


@dataclass(frozen=True)
class StepDone(Event):
    """A step was applied, to ``examples`` examples.

    ``loss`` and ``accuracy`` (the share of labels that the prediction agreed with before the update)
    are means over the last ``over_steps`` steps, this one included, and their ``over_examples``
    examples. They come only with the steps at which such a window ends (``ps.disclosure``), and are
    None, over 0 examples, at all others. No two windows share a step.
    """

    step: int
    steps: int
    examples: int
    loss: float | None
    seconds: float
    accuracy: float | None = None
    over_steps: int = 0
    over_examples: int = 0


@dataclass(frozen=True)
class ValidationDone(Event):
    """The model was validated after ``step`` steps, on ``examples`` rows of all owners.

    ``auc``, ``log_loss`` and ``calibration`` are None where too few rows, or not all owners, took
    part. ``best``: none before was better. ``train_loss`` is the mean loss of the steps since the last
    validation, as far as it was told.
    """

    step: int
    examples: int
    auc: float | None
    log_loss: float | None
    calibration: float | None
    best: bool
    train_loss: float | None


@dataclass(frozen=True)
class OwnQuality(Event):
    """How good the trained model is on one party's own test rows: told by its own node, to its own host.

    ``auc`` is None where a class has too few of the ``examples`` rows to tell, all three where there
    are too few at all.
    """

    node: str
    party: str
    examples: int
    auc: float | None
    log_loss: float | None
    calibration: float | None


@dataclass(frozen=True)
class Overfitting(Event):
    """At ``step`` training loss has fallen since the best validation, and validation loss has risen."""

    step: int


@dataclass(frozen=True)
class StoppedEarly(Event):
    """Training ends after ``step`` steps: no validation was better than ``best_step``'s for too long."""

    step: int
    best_step: int


@dataclass(frozen=True)
class CheckpointWritten(Event):
    """A checkpoint is durable."""

    step: int
    digest: str


@dataclass(frozen=True)
class Begun(Event):
    """The server begins a run from nothing; ``run`` is its random name, 64 hex digits."""

    run: str


@dataclass(frozen=True)
class StartTaken(Event):
    """The server holds the model that the run goes on from, as the contract names it.

    ``node`` gave it; ``model`` is its digest, ``step`` the updates that it holds; ``optimizer_state`` the
    digest of what its optimizers kept, ``new`` where theirs begins anew, empty where they keep none;
    ``changes`` says what this run has more of: tables that grew, columns that came.
    """

    node: str
    model: str
    step: int
    optimizer_state: str
    changes: str = ""


@dataclass(frozen=True)
class Resumed(Event):
    """The server goes on from a checkpoint of a run."""

    step: int
    digest: str
    run: str = ""


@dataclass(frozen=True)
class ExamplesDelivered(Event):
    """SDT: a worker holds its part of the data."""

    node: str
    examples: int


@dataclass(frozen=True)
class Attested(Event):
    """A peer proved itself."""

    node: str
    peer: str
    role: str
    party: str
    tcb_status: str
    measurement: str


@dataclass(frozen=True)
class Refused(Event):
    """A peer or call was refused, ``count`` times since the same was told last."""

    node: str
    error: str
    reason: str
    count: int = 1


@dataclass(frozen=True)
class LeftOut(Event):
    """A worker stayed away longer than its grace: from ``step`` on the run does not wait for it."""

    node: str
    step: int


@dataclass(frozen=True)
class Returned(Event):
    """A worker that had been left out takes part again, from ``step`` on."""

    node: str
    step: int


@dataclass(frozen=True)
class Restarted(Event):
    """The server went back to a checkpoint (step 0: the beginning) since a shard of it was lost."""

    node: str
    step: int


@dataclass(frozen=True)
class WorkerTimes(Event):
    """Where a worker's training time went, in seconds.

    ``prepare`` is what computing waited for the next batch; ``transport`` is everything between
    this node and the server that the server does not account for: serialization, gRPC, TLS, network.
    """

    node: str
    steps: int
    prepare: float
    compute: float
    transport: float
    server: float
    wait: float


@dataclass(frozen=True)
class ServerTimes(Event):
    """Where a server's training time went, in seconds of its own threads, but for ``wait``.

    ``wait`` is how long complete pushes of a worker waited for the last worker's, summed.
    """

    node: str
    steps: int
    decode: float
    apply: float
    read: float
    wait: float


@dataclass(frozen=True)
class ModelKept(Event):
    """A node of a party that gets the trained model has written it; ``digest`` is the model's."""

    node: str
    path: str
    digest: str


@dataclass(frozen=True)
class OptimizerStateKept(Event):
    """Likewise what the model's optimizers keep, for a run that goes on from it."""

    node: str
    path: str
    digest: str


@dataclass(frozen=True)
class ModelNotKept(Event):
    """A node of a party that gets the trained model was not told where to write it."""

    node: str


@dataclass(frozen=True)
class DoneBefore(Event):
    """A node that was started again had done its part before, and finds no server that wants it."""

    node: str


@dataclass(frozen=True)
class WorkerProgress(Event):
    """A worker tells its own host how far it is.

    ``loss`` is the mean over its own examples since it was told last, None where these are too few or
    not its host's; ``examples_per_second`` counts its own examples.
    """

    node: str
    step: int
    steps: int
    loss: float | None
    examples_per_second: float | None


@dataclass(frozen=True)
class ServerLost(Event):
    """A node has lost the parameter server, and goes on trying for so many seconds at most."""

    node: str
    reason: str
    seconds_left: float


@dataclass(frozen=True)
class ServerBack(Event):
    """A node has found the parameter server again, and goes on after so many steps of the run."""

    node: str
    step: int


@dataclass(frozen=True)
class StoodStill(Event):
    """A node's process did not run for so many seconds: it was paused, or its machine was."""

    node: str
    seconds: float


@dataclass(frozen=True)
class Waiting(Event):
    """A node waits: for whom, or what, since when; said again at growing intervals.

    ``reason`` is what is known of why, and ``seconds_left`` when the wait ends the run at the latest.
    """

    node: str
    names: tuple[str, ...]
    seconds: float
    seconds_left: float
    reason: str = ""


@dataclass(frozen=True)
class Ended(Event):
    """A node told the server that it ends, or pauses, and why: its error's class and words."""

    node: str
    error: str
    reason: str = ""
    goes_on: bool = False


@dataclass(frozen=True)
class Stopped(Event):
    """A node was told to end (SIGTERM) before its work was done; the same command goes on."""

    node: str


@dataclass(frozen=True)
class Failed(Event):
    """A node ends with an error of the tree: its fields, and the process's exit code."""

    node: str
    exit_code: int
    error: dict[str, str]


@dataclass(frozen=True)
class Finished(Event):
    """The run is done: the fields of ``training.results.RunResult``."""

    result: dict[str, object]


EventSink = Callable[[Event], None]
