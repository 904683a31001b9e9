"""The interface between a node's program and the transport that connects it to the others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from coterie.contract import Contract, Node
from coterie.errors import CoterieError, KeyRefused
from coterie.ps.wire.checkpoint_messages import KeptReceipt, NoReceiptKept
from coterie.runs.events import Event, EventSink
from coterie.spans import Tracer, untraced

if TYPE_CHECKING:  # for types only: every node imports this module, but only its own role's code
    from coterie.contract.rollback import RollbackConsent
    from coterie.data.dataset import DataSet
    from coterie.ps.ports import DataReceiverPort, ParameterServerPort
    from coterie.ps.service import ParameterService
    from coterie.runs.outcome import RunEnd, RunOutcome
    from coterie.runs.result import RunResult
    from coterie.trained.model_file import Target
    from coterie.training.evaluation import ScoreSink
    from coterie.training.start_giver import StartFiles
    from coterie.training.step import StepMaker


class Service(Protocol):
    """A service of calls; its methods are marked with the entries of a table that they serve."""

    def fail(self, error: CoterieError) -> None:
        """Ends waiting and later calls with ``error``."""
        ...


class RunReceipt(KeptReceipt, Protocol):
    """Keeps the signed account of a run."""

    def on_event(self, event: Event) -> None:
        """Records an event."""
        ...

    def finish(self, result: RunResult, end: RunEnd) -> None:
        """Writes the outcome of a run and checkpoint; raises if the receipt could not be kept."""
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


class NoReceipt(NoReceiptKept):
    """No receipt: for runs without attestation, and for nodes that keep no files."""

    def on_event(self, event: Event) -> None:
        """Does nothing."""

    def finish(self, result: RunResult, end: RunEnd) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class Fabric(Protocol):
    """Connects one node with the others: serves calls and makes them. Raises CoterieErrors."""

    @property
    def proves_nothing(self) -> bool:
        """Whether it has no attestation; then nothing is sealed either.

        True for the in-memory fabric and the plaintext transport, which are not for confidential
        data. Only they may go without a key.
        """
        ...

    def serve_parameter_server(self, service: ParameterService) -> AbstractContextManager[object]:
        """Serves the parameter server's calls while the context is open."""
        ...

    def serve_data_receiver(self, service: Service) -> AbstractContextManager[object]:
        """Serves an SDT worker's call while the context is open."""
        ...

    def parameter_server(
        self, shard: int, patience_seconds: float | None = None
    ) -> ParameterServerPort:
        """Connects to a parameter server shard within a time; None: ``limits.join_seconds``."""
        ...

    def data_receiver(self, worker: str, patience_seconds: float) -> DataReceiverPort:
        """Connects to an SDT worker within a time."""
        ...

    def data_key(self, set_id: bytes) -> bytes:
        """Fetches the key of the party's sealed data set, 32 bytes."""
        ...

    def model_key(self) -> tuple[bytes, bytes] | None:
        """Fetches id and key, 32 bytes each, for sealing the party's trained model.

        None: the model may be kept open, because the party allows it or nothing is attested.
        """
        ...

    def checkpoint_key(self) -> bytes:
        """Makes the key of sealed checkpoints, 32 bytes, from the shares of all parties.

        Raises:
            KeyRefused: There is no such key over this fabric, or a share is refused.
        """
        ...

    def open_receipt(self, folder: Path) -> RunReceipt:
        """Opens the run's receipt in shard 0's folder."""
        ...

    def close(self) -> None:
        """Closes every connection."""
        ...


class UnattestedFabric(Fabric):
    """What fabrics without attestation share: they give no key and keep no receipt.

    Args:
        node: The node that it connects.
    """

    proves_nothing = True

    def __init__(self, node: Node) -> None:
        self._node = node

    @override
    def data_key(self, set_id: bytes) -> bytes:
        raise no_key(
            self._node.name, f"a run without attestation, and data set {set_id.hex()[:16]}"
        )

    @override
    def model_key(self) -> tuple[bytes, bytes] | None:
        return None

    @override
    def checkpoint_key(self) -> bytes:
        raise nothing_sealed(self._node.name)

    @override
    def open_receipt(self, folder: Path) -> NoReceipt:
        return NoReceipt()


class ModelKeeper(Protocol):
    """The file of the trained model, or of its optimizers' state, at a node."""

    @property
    def path(self) -> Path:
        """The file's path."""
        ...

    def writing(self, size: int) -> AbstractContextManager[Target]:
        """Opens the file for ``size`` bytes; it appears if the context ends without an error."""
        ...


@dataclass(frozen=True)
class NodeContext:
    """The inputs of a node's program.

    Attributes:
        contract: The contract.
        node: This node's entry in it.
        fabric: Connects it to the other nodes.
        incarnation: Number of this process, larger than that of any earlier process of this node.
        on_event: Receives its events.
        monotonic: Monotonic clock, in seconds.
        open_data: Opens the party's prepared data set; only for nodes that own data.
        out: Folder for checkpoints and the trained model; if absent, nothing is kept.
        memory: Folder for remembered checkpoints; if absent, they are not kept.
        consent: Consent of all parties to continue from an older checkpoint, if given.
        receipt: The run's receipt, on shard 0.
        keep_model: Opens the file of the trained model, given its size in bytes; only at nodes of
            receiving parties.
        keep_state: Likewise for the optimizers' state, if the contract gives it out.
        start: Files that the run starts from, at the node that sends them.
        on_outcome: Called with the run's outcome on shard 0, once it is kept.
        on_scores: Receives the scores of this node's own held-out rows, for comparisons on its own
            machine; they are never sent.
        discloses_everything: For runs in one process: shard 0 reports every step, and data owners
            count every score by itself.
        make_step: Makes a worker's step in place of that of the contract's model: for benchmarks.
        tracer: Takes the spans of the node's work.
    """

    contract: Contract
    node: Node
    fabric: Fabric
    incarnation: int
    on_event: EventSink
    monotonic: Callable[[], float]
    open_data: Callable[[], DataSet] | None = None
    out: Path | None = None
    memory: Path | None = None
    consent: RollbackConsent | None = None
    receipt: KeptReceipt | None = None
    keep_model: ModelKeeper | None = None
    keep_state: ModelKeeper | None = None
    start: StartFiles | None = None
    on_outcome: Callable[[RunOutcome], None] = lambda _: None
    on_scores: ScoreSink | None = None
    discloses_everything: bool = False
    make_step: StepMaker | None = None
    tracer: Tracer = untraced


def nothing_sealed(node: str) -> KeyRefused:
    """The error of requesting the key of sealed checkpoints in a run without attestation."""
    return KeyRefused(
        f"there is no key for the checkpoints of node {node}",
        expected="an attested run",
        seen="a run without attestation",
        remedy="run it with coterie node or coterie run",
    )


def no_key(node: str, seen: str) -> KeyRefused:
    """The error of a node without a key server for its sealed data."""
    return KeyRefused(
        f"nobody gives node {node} the key of its sealed data",
        expected="its party's key server, and an attested run",
        seen=seen,
        remedy="give --key-server HOST:PORT, or --data a data set that is not sealed",
    )
