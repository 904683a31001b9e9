"""The events of a run as values. They are shown, written to its log, and kept in its receipt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Event:
    """Base class of events."""

    def to_dict(self) -> dict[str, object]:
        """The event as flat values, with its class's name."""
        return {"event": type(self).__name__, **asdict(self)}


@dataclass(frozen=True)
class Started(Event):
    """A node's process has begun; loading TensorFlow takes it some seconds."""

    node: str
    role: str
    party: str


@dataclass(frozen=True)
class RecordLayer(Event):
    """What seals and opens the connections of a TensorFlow program.

    ``openssl`` is its name and version, ``aes`` names the instructions in use, and ``hint`` says
    what would be faster on this processor; it is empty if nothing would.
    """

    node: str
    openssl: str
    aes: str
    hint: str


@dataclass(frozen=True)
class Listening(Event):
    """A node accepts connections."""

    node: str
    address: str


@dataclass(frozen=True)
class Joined(Event):
    """A node joined the run; ``missing`` names the nodes that have yet to join.

    A worker brings ``examples`` examples; ``data_set`` is the SHA-256 of its training rows, hex.
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
    examples. They come only with the steps at which such a window ends (``ps.core.disclosure``),
    and are None, over 0 examples, at all others. No two windows share a step.
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

    ``auc``, ``log_loss`` and ``calibration`` are None if too few rows, or not all owners, took
    part. ``best`` says whether no earlier validation was better. ``train_loss`` is the mean
    reported loss of the steps since the last validation.
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
    """Quality of the trained model on a party's own test rows, reported by its node to its host.

    ``auc`` is None if a class has too few of the ``examples`` rows. All three are None if there are
    too few rows altogether.
    """

    node: str
    party: str
    examples: int
    auc: float | None
    log_loss: float | None
    calibration: float | None


@dataclass(frozen=True)
class Overfitting(Event):
    """Since the best validation, training loss has fallen and validation loss has risen."""

    step: int


@dataclass(frozen=True)
class StoppedEarly(Event):
    """Training ends early after ``step`` steps; the best validation was that of ``best_step``."""

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
    """The server holds the model that the run starts from, as the contract names it.

    ``node`` gave it. ``model`` is its digest; ``step`` counts the updates that it holds.
    ``optimizer_state`` is the digest of its optimizers' state, ``new`` if their state starts again,
    or empty if they have none. ``changes`` says what this run adds: larger tables, new columns.
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
    """A peer was attested."""

    node: str
    peer: str
    role: str
    party: str
    tcb_status: str
    measurement: str


@dataclass(frozen=True)
class Refused(Event):
    """A peer or call was refused, ``count`` times since the same refusal was last reported."""

    node: str
    error: str
    reason: str
    count: int = 1


@dataclass(frozen=True)
class LeftOut(Event):
    """A worker was absent longer than its grace; the run does not wait for it from ``step`` on."""

    node: str
    step: int


@dataclass(frozen=True)
class Returned(Event):
    """A worker that had been left out takes part again, from ``step`` on."""

    node: str
    step: int


@dataclass(frozen=True)
class Restarted(Event):
    """The server went back to a checkpoint because a shard was lost; step 0 is the beginning."""

    node: str
    step: int


@dataclass(frozen=True)
class WorkerTimes(Event):
    """Where a worker's training time went, in seconds.

    ``prepare`` is the time for which computation waited for the next batch. ``transport`` is the
    time between this node and the server that the server does not count: serialization, gRPC, TLS,
    network.
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
    """Where a server's training time went, in seconds of its own threads, except ``wait``.

    ``wait`` is the sum of the times for which a worker's complete push waited for the last
    worker's.
    """

    node: str
    steps: int
    decode: float
    apply: float
    read: float
    wait: float


@dataclass(frozen=True)
class ModelKept(Event):
    """The node of a party that gets the trained model has written it; ``digest`` is the model's."""

    node: str
    path: str
    digest: str


@dataclass(frozen=True)
class OptimizerStateKept(Event):
    """A node has written the optimizers' state, from which another run can go on."""

    node: str
    path: str
    digest: str


@dataclass(frozen=True)
class ModelNotKept(Event):
    """A node of a party that receives the trained model was given no place to write it to."""

    node: str


@dataclass(frozen=True)
class DoneBefore(Event):
    """A node was started again after it had done its part; no server needs it any more."""

    node: str


@dataclass(frozen=True)
class WorkerProgress(Event):
    """A worker reports its progress to its own host.

    ``loss`` is the mean over its own examples since the last report. It is None if these are too
    few or are not its host's. ``examples_per_second`` counts its own examples.
    """

    node: str
    step: int
    steps: int
    loss: float | None
    examples_per_second: float | None


@dataclass(frozen=True)
class ServerLost(Event):
    """A node has lost the parameter server and tries for at most so many seconds to reconnect."""

    node: str
    reason: str
    seconds_left: float


@dataclass(frozen=True)
class ServerBack(Event):
    """A node has reconnected to the parameter server and goes on after so many steps of the run."""

    node: str
    step: int


@dataclass(frozen=True)
class StoodStill(Event):
    """A node's process did not run for so many seconds: it or its machine was paused."""

    node: str
    seconds: float


@dataclass(frozen=True)
class Waiting(Event):
    """A node waits: for whom or what, and since when. Reported again at growing intervals.

    ``reason`` says why, as far as known. ``seconds_left`` is the time after which the wait ends the
    run.
    """

    node: str
    names: tuple[str, ...]
    seconds: float
    seconds_left: float
    reason: str = ""


@dataclass(frozen=True)
class Ended(Event):
    """A node reported to the server that it ends or pauses, with its error's class and text."""

    node: str
    error: str
    reason: str = ""
    goes_on: bool = False


@dataclass(frozen=True)
class Stopped(Event):
    """A node was asked to end (SIGTERM) before its work was done; the same command resumes it."""

    node: str


@dataclass(frozen=True)
class Failed(Event):
    """A node ends with an error: the fields of the error, and the process's exit code."""

    node: str
    exit_code: int
    error: dict[str, str]


@dataclass(frozen=True)
class Finished(Event):
    """The run is done: the fields of ``training.results.RunResult``."""

    result: dict[str, object]


EventSink = Callable[[Event], None]
