"""Writes the receipt of a run on shard 0, from attested peers and events.

Values that grow with the number of steps are summed. Entries that strangers can cause without limit
are only counted after the first few. A node's evidence is written when it joins, so that a peer
that only connects cannot fill the disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from typing_extensions import override

from coterie.contract.signatures import ContractSignature
from coterie.errors import ReceiptRefused
from coterie.ps.wire.checkpoint_messages import ReceiptHead
from coterie.ratls.peer import Peer
from coterie.ratls.trust import TrustContext
from coterie.receipts import entry_types
from coterie.receipts.entry_writer import EntryWriter
from coterie.receipts.from_events import body_of, outcome_of, start_body
from coterie.runs import events
from coterie.runs.outcome import RunEnd
from coterie.runs.result import RunResult


class Recorder(EntryWriter):
    """Keeps a run's receipt. As ``EntryWriter``; ``finish`` says if it could not be written."""

    def __init__(
        self, folder: Path, trust: TrustContext, signatures: Iterable[ContractSignature] = ()
    ) -> None:
        self._proved: dict[str, Peer] = {}  # newest attested peer by node
        self._joined: dict[str, int] = {}  # incarnation that joined by node
        self._examples = self._told = 0
        self._loss = 0.0
        super().__init__(folder, trust, signatures)

    # --- what is recorded ----------------------------------------------------------------------

    @override
    def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.StepDone):
            super().on_event(event)
            return
        with self._lock:
            self._examples += event.examples
            if event.loss is not None:
                self._told += event.over_examples
                self._loss += event.loss * event.over_examples

    def finish(self, result: RunResult, end: RunEnd) -> None:
        """Writes the outcome.

        Args:
            result: The run's result.
            end: The run and its last checkpoint.

        Raises:
            EnvironmentUnfit: The receipt cannot be written, or could not be written earlier.
            ReceiptRefused: It already holds another outcome.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            outcome = outcome_of(result, end, self._counted_only)
            if not self._chain.complete:
                self._append(outcome, durably=True)
                return
            assert self._chain.last is not None
            kept = self._chain.last.body
            if kept.model_copy(update={"not_kept": outcome.not_kept}) != outcome:
                raise ReceiptRefused(
                    "the receipt holds another outcome than this run's",
                    place=self._chain.last.place,
                    expected=str(outcome)[:400],
                    seen=str(kept)[:400],
                    remedy="keep both files and report this",
                )

    def head(self) -> ReceiptHead | None:
        """The last entry. Waits until it is durable, so that no crash removes a reported entry."""
        with self._lock:
            if self._on_disk < len(self._digests) and self._failure is None:
                self._guarded(self._sync)
            if not self._on_disk:
                return None
            return ReceiptHead(self._on_disk, self._digests[self._on_disk - 1])

    def holds(self, head: ReceiptHead) -> bool:
        """Whether the receipt contains that entry."""
        with self._lock:
            known = self._digests[head.entries - 1 : head.entries]
            return known == [head.digest]

    # --- inside the lock -----------------------------------------------------------------------

    @override
    def _take_proved(self, peer: Peer) -> None:
        known = self._proved.get(peer.node)
        if known is None or peer.incarnation >= known.incarnation:
            self._proved[peer.node] = peer
        if peer.role == "ps" or self._joined.get(peer.node) == peer.incarnation:
            self._keep_peer(peer)

    @override
    def _take(self, event: events.Event) -> None:
        match event:
            case events.Joined() as joined:
                self._take_join(joined)
            case events.StartTaken() as taken:
                peer, start = self._proved.get(taken.node), self._trust.contract.start
                if peer is not None:
                    self._keep_peer(peer)
                assert start is not None  # without a start in the contract, no node may send one
                self._append(start_body(taken, start))
            case events.CheckpointWritten(step, digest):
                loss = self._loss / self._told if self._told else None
                self._append(
                    entry_types.Checkpoint(
                        step=step, digest=digest, examples=self._examples, loss=loss
                    )
                )
                self._examples = self._told = 0
                self._loss = 0.0
            case events.Refused():
                self._take_refusal(event)
            case events.Failed():
                self._append(body_of(event), durably=True)
            case _:
                if (body := body_of(event)) is not None:
                    self._append(body)

    def _take_join(self, joined: events.Joined) -> None:
        peer = self._proved.get(joined.node)
        if peer is None or peer.incarnation != joined.incarnation or not self._keep_peer(peer):
            return  # already counted, or replaced by a newer process, which joins itself
        self._joined[joined.node] = joined.incarnation
        self._append(body_of(joined))

    def _sync(self) -> None:
        self._file.sync()
        self._on_disk = len(self._digests)
