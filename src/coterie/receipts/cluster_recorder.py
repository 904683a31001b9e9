"""Writes the receipt of a TensorFlow cluster at one of its nodes: who took part, under which program.

TensorFlow's own servers report no steps, results or data, so the receipt has none. Every entry is on
the disk before anything else happens: the program may end the process, and often never returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from typing_extensions import override

from coterie.contract.signatures import ContractSignature
from coterie.ratls.peer import Peer
from coterie.ratls.trust import TrustContext
from coterie.receipts.entry_types import Body, Ending, ProgramBegun, ProgramEnded
from coterie.receipts.entry_writer import EntryWriter
from coterie.receipts.from_events import body_of
from coterie.runs import events


class ClusterRecorder(EntryWriter):
    """Keeps a cluster's receipt. As ``EntryWriter``; ``end`` says if it could not be written.

    Args:
        folder: As for ``EntryWriter``.
        trust: As for ``EntryWriter``.
        signatures: As for ``EntryWriter``.
        refused_calls: Number of refused calls of attested nodes; None where calls are not inspected.
    """

    def __init__(
        self,
        folder: Path,
        trust: TrustContext,
        signatures: Iterable[ContractSignature] = (),
        *,
        refused_calls: Callable[[], int | None],
    ) -> None:
        self._refused_calls = refused_calls
        self._ended = False
        super().__init__(folder, trust, signatures)

    def begin(self, program: str, wheel: str) -> None:
        """Records that the program begins; both digests are hex, and measured by this process."""
        with self._lock:
            if not self._closed:
                self._guarded(lambda: self._append(ProgramBegun(program=program, wheel=wheel)))

    def end(self, how: Ending) -> None:
        """Writes this process's last entry. Later calls do nothing.

        Raises:
            EnvironmentUnfit: The receipt cannot be written, or could not be written earlier.
        """
        with self._lock:
            if not self._closed:
                self._guarded(lambda: self._append_end(how))
            if self._failure is not None:
                raise self._failure

    # --- inside the lock -----------------------------------------------------------------------

    @property
    @override
    def _closed(self) -> bool:
        return self._ended or super()._closed

    @override
    def _take_proved(self, peer: Peer) -> None:
        self._keep_peer(peer)

    @override
    def _take(self, event: events.Event) -> None:
        match event:
            case events.Refused():
                self._take_refusal(event)
            case events.Failed():
                self._append(body_of(event))
                self._ended = True
            case _:
                pass

    def _append_end(self, how: Ending) -> None:
        self._append(
            ProgramEnded(how=how, refused_calls=self._refused_calls(), not_kept=self._counted_only)
        )
        self._ended = True

    @override
    def _append(self, body: Body, *, durably: bool = True) -> None:
        super()._append(body, durably=True)
