"""What a node tells of its cluster: events, and from the same sources receipt, metrics and status."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from coterie.contract import Node
from coterie.contract.signatures import ContractSignature
from coterie.errors import CoterieError
from coterie.nodes.options import NodeOptions
from coterie.ratls.peer import Peer
from coterie.ratls.trust import TrustContext
from coterie.runs.events import Attested, Event, EventSink, Refused, Stopped
from coterie.tensorflow.calls.counts import CallCounts

if TYPE_CHECKING:  # imported only by nodes that keep a receipt, have metrics, or answer parties
    from coterie.receipts.cluster_recorder import ClusterRecorder
    from coterie.receipts.entry_types import Ending
    from coterie.status.messages import SeenCluster

_log = logging.getLogger(__name__)


class Account:
    """A node's account of its cluster. Thread-safe.

    Args:
        node: This node.
        program: Digest of the program, which this process has measured; hex.
        on_event: Receives its events.

    Attributes:
        counts: Numbers of inspected calls; None if they are not inspected.
    """

    def __init__(self, node: Node, program: str, on_event: EventSink) -> None:
        self._node = node
        self._program = program
        self._on_event = on_event
        self._on_metrics: EventSink = lambda _event: None
        self._receipt: ClusterRecorder | None = None
        self._running = False
        self._lock = threading.Lock()  # guards the count
        self._refusals = 0
        self.counts: CallCounts | None = None

    def report(self, event: Event) -> None:
        """Tells an event."""
        if isinstance(event, Stopped):
            self.stop()
        if self._receipt is not None:
            self._receipt.on_event(event)
        self._on_metrics(event)
        self._on_event(event)

    # --- receipt and metrics -------------------------------------------------------------------

    def keep_receipt(
        self, options: NodeOptions, trust: TrustContext, signatures: Iterable[ContractSignature]
    ) -> None:
        """Begins the receipt, or continues it, if this node keeps one and has a folder.

        Args:
            options: Names the folder.
            trust: This node's trust.
            signatures: The parties' signatures beside the contract.

        Raises:
            CoterieError: As ``EntryWriter``.
        """
        if options.out is None or self._node != trust.contract.receipt_keeper():
            return
        from coterie.receipts.cluster_recorder import ClusterRecorder

        self._receipt = ClusterRecorder(
            options.out, trust, signatures, refused_calls=self._refused_calls
        )

    def serving_metrics(
        self, port: int | None, peers: Callable[[], tuple[Peer, ...]]
    ) -> AbstractContextManager[object]:
        """Serves metrics while the context is open; nothing without a port.

        Args:
            port: The port on loopback.
            peers: The peers that are attested at present.

        Raises:
            AddressInUse: The port cannot be bound.
        """
        if port is None:
            return nullcontext()
        from coterie.nodes.prometheus_exporter import serving_metrics
        from coterie.tensorflow.metrics import ClusterMetrics

        def attested() -> int:
            return len({peer.node for peer in peers()})

        metrics = ClusterMetrics(self._node, attested, self.counts)
        self._on_metrics = metrics.on_event
        return serving_metrics(metrics.registry, port)

    # --- what happens --------------------------------------------------------------------------

    def admitted(self, peer: Peer) -> None:
        """A peer is admitted; called before it is told so."""
        if self._receipt is not None:
            self._receipt.attested(peer)

    def attested(self, peer: Peer) -> None:
        """A handshake with a peer is done."""
        self.report(
            Attested(
                node=self._node.name,
                peer=peer.node,
                role=peer.role,
                party=peer.party,
                tcb_status=peer.verdict.tcb_status,
                measurement=next(iter(dict(peer.verdict.measurements).values()), ""),
            )
        )

    def refused(self, address: str, error: CoterieError, count: int) -> None:
        """A peer or its call was refused, as ``Tally`` reports it."""
        with self._lock:
            self._refusals += count
        reason = f"{error} (from {address})"
        self.report(Refused(self._node.name, type(error).__name__, reason[:1000], count))

    def begin(self, wheel: str) -> None:
        """All nodes were attested, and the program begins.

        Args:
            wheel: Digest of the installed TensorFlow's code, which this process has measured; hex.
        """
        self._running = True
        if self._receipt is not None:
            self._receipt.begin(self._program, wheel)

    def end(self, how: Ending) -> None:
        """The process ends.

        Raises:
            EnvironmentUnfit: The receipt could not be written.
        """
        if self._receipt is not None:
            self._receipt.end(how)

    def stop(self) -> None:
        """The process is told to end, and will not wait for anything."""
        try:
            self.end("stopped")
        except CoterieError as error:
            _log.error("the receipt is incomplete: %s", error)

    def overview(self, missing: Iterable[str]) -> SeenCluster:
        """What parties may know.

        Args:
            missing: Nodes for which this one waits.
        """
        from coterie.status.messages import SeenCluster

        return SeenCluster(
            phase="running" if self._running else "waiting",
            missing=tuple(missing),
            program=bytes.fromhex(self._program),
            refusals=self._refusals,
            refused_calls=self._refused_calls(),
        )

    def _refused_calls(self) -> int | None:
        return None if self.counts is None else sum(self.counts.refused().values())
