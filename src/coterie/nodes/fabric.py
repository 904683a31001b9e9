"""The seam between a node's program and whatever connects it to the others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from coterie.contract import Contract, Node
from coterie.errors import CoterieError, KeyRefused
from coterie.ps.wire.checkpoint_messages import KeptReceipt, NoReceiptKept
from coterie.runs.events import Event, EventSink

if TYPE_CHECKING:  # every node loads this module, and of these only what its own role needs
    from coterie.contract.rollback import RollbackConsent
    from coterie.data.dataset import DataSet
    from coterie.parameters.model_file import Target
    from coterie.ps.ports import DataReceiverPort, ParameterServerPort
    from coterie.ps.service import ParameterService
    from coterie.runs.outcome import RunEnd, RunOutcome
    from coterie.runs.result import RunResult
    from coterie.training.evaluation import ScoreSink
    from coterie.training.start_giver import StartFiles


class Service(Protocol):
    """Serves calls; its methods are marked with the entries of a table that they serve."""

    def fail(self, error: CoterieError) -> None:
        """Ends waiting and later calls with ``error``."""
        ...


class RunReceipt(KeptReceipt, Protocol):
    """Keeps the signed account of a run."""

    def hear(self, event: Event) -> None:
        """Takes note of an event."""
        ...

    def finish(self, result: RunResult, end: RunEnd) -> None:
        """Writes the outcome, of a run and checkpoint; raises why the receipt could not be kept."""
        ...

    def close(self) -> None:
        """Closes the file."""
        ...


class NoReceipt(NoReceiptKept):
    """Of runs in which nobody proves anything, and of nodes that keep nothing."""

    def hear(self, event: Event) -> None:
        """Does nothing."""

    def finish(self, result: RunResult, end: RunEnd) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


class Fabric(Protocol):
    """How one node serves and reaches others. Errors are of the tree."""

    @property
    def proves_nothing(self) -> bool:
        """Whether nobody proves anything over it: then nothing is sealed either.

        Of the in-memory fabric and the plaintext twin, which are not for data that matter. Nothing
        else makes up for a key that is missing.
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
        """Dials a parameter server shard, waiting for it at most so long; None: ``limits.join_seconds``."""
        ...

    def data_receiver(self, worker: str, patience_seconds: float) -> DataReceiverPort:
        """Dials an SDT worker, waiting for it at most so long."""
        ...

    def data_key(self, set_id: bytes) -> bytes:
        """Fetches the key of the party's sealed data set, 32 bytes."""
        ...

    def model_key(self) -> tuple[bytes, bytes] | None:
        """Fetches id and key, 32 bytes each, that the party's trained model is to be sealed under.

        None: the model may be kept open, since the party says so, or since nothing is attested.
        """
        ...

    def checkpoint_key(self) -> bytes:
        """Puts the key of sealed checkpoints together, 32 bytes, from the shares of all parties.

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


class ModelKeeper(Protocol):
    """Where a node keeps the trained model, or its optimizers' state."""

    @property
    def path(self) -> Path:
        """The file, once it is there."""
        ...

    def writing(self, size: int) -> AbstractContextManager[Target]:
        """Opens the file, of so many bytes; it is there, whole, if the context ends well."""
        ...


@dataclass(frozen=True)
class NodeContext:
    """Everything that a node's program gets from outside.

    Attributes:
        contract: What is trained, by whom.
        node: This node's entry in it.
        fabric: Connects it.
        incarnation: Of this process; larger than that of any earlier one of this node.
        on_event: Hears what happens.
        monotonic: Seconds of a clock that only goes forward.
        open_data: Opens the party's prepared data set; only for nodes that own data.
        out: Where checkpoints and the trained model go; nothing is kept where it is absent.
        memory: Where a node remembers announced checkpoints; nowhere if absent.
        consent: To go on from an older checkpoint, if all parties gave it.
        receipt: Of the run, on shard 0.
        keep_model: Opens what the trained model is written to, given its size in bytes; used at
            nodes of parties that get it only.
        keep_state: Likewise for what the optimizers keep, where the contract gives it out.
        start: What the run goes on from, at the node that gives it.
        on_outcome: Hears of the run's outcome on shard 0, when it is kept.
        on_scores: Hears the scores of this node's own held-out rows, for comparisons on its own
            machine; they are never sent.
        discloses_everything: Of runs in one process: shard 0 tells of every step, and data owners count
            every score by itself.
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


def nothing_sealed(node: str) -> KeyRefused:
    """The error of asking for the key of sealed checkpoints where nobody proves anything."""
    return KeyRefused(
        f"there is no key for the checkpoints of node {node}",
        expected="an attested run",
        seen="a run in which nobody proves anything",
        remedy="run it with coterie node or coterie run",
    )


def no_key(node: str, seen: str) -> KeyRefused:
    """The error of a node that has nobody to ask for the key of its sealed data."""
    return KeyRefused(
        f"nobody gives node {node} the key of its sealed data",
        expected="its party's key server, and an attested run",
        seen=seen,
        remedy="give --key-server HOST:PORT, or --data a data set that is not sealed",
    )
