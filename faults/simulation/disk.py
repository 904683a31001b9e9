"""A shard's disk as the core sees it: what ``CheckpointStore`` does, without files.

What a process remembers and what lies on the disk are two things here, too: a crash leaves the disk.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from coterie.errors import EnvironmentUnfit
from coterie.files import unwritable
from coterie.ps.checkpoints.records import DurableCheckpoint, RunRecord
from coterie.ps.core.effects import DiskState, Restored
from coterie.ps.core.state import ModelState
from faults.simulation.tiny import TinySnapshot


class DiskDamaged(Exception):
    """A server that starts would refuse what lies here."""


@dataclass(frozen=True)
class Manifest:
    """A checkpoint on the disk."""

    digest: bytes
    snapshot: TinySnapshot
    record: RunRecord


@dataclass(frozen=True)
class KeptNote:
    """A note on the disk: it names run and checkpoint."""

    run_id: str
    checkpoint: bytes
    octets: bytes


@dataclass
class Disk:
    """What lies on the disk of one shard.

    Attributes:
        manifests: By step; those of a run before count until the present run's first is written.
        notes: By name.
        full: Whether it takes nothing at present.
    """

    manifests: dict[int, Manifest] = field(default_factory=dict)
    notes: dict[str, KeptNote] = field(default_factory=dict)
    full: bool = False


class Store:
    """A process's view of a disk.

    Args:
        disk: The disk.
        shard: Whose.

    Raises:
        DiskDamaged: What is there is not of one run.
    """

    def __init__(self, disk: Disk, shard: int) -> None:
        self._disk = disk
        self._shard = shard
        self._known = dict(disk.manifests)
        self._lost: tuple[int, ...] = ()
        runs = {manifest.record.run_id for manifest in self._known.values()}
        if len(runs) > 1:
            raise DiskDamaged(f"checkpoints of {len(runs)} runs")
        self._run_id = next(iter(runs), "")
        self._tip = b""
        self._retired = -1
        self._full = unwritable("its disk", OSError(errno.ENOSPC, "No space left on device"))
        self.queue: list[tuple[TinySnapshot, RunRecord]] = []
        self.state = self._look()

    def notes(self) -> Mapping[str, bytes]:
        """As a server that starts reads them.

        Raises:
            DiskDamaged: One is of another run, or of a checkpoint that is not there.
        """
        digests = {manifest.digest for manifest in self._known.values()}
        for name, note in self._disk.notes.items():
            if note.run_id != self._run_id or note.checkpoint not in digests:
                raise DiskDamaged(f"the note {name} is of another run or checkpoint")
        return {name: note.octets for name, note in self._disk.notes.items()}

    def begin(self, run_id: str) -> None:
        """A run from nothing."""
        self._lost = tuple(self._known)
        self._known.clear()
        self._run_id, self._tip = run_id, b""
        self._disk.notes.clear()
        self.state = self._look()

    def restore(self, step: int, state: ModelState) -> Restored:
        """Fills a state; newer checkpoints are forgotten."""
        for newer in sorted((s for s in self._known if s > step), reverse=True):
            del self._known[newer], self._disk.manifests[newer]
        manifest = self._known[step]
        self._tip = manifest.digest
        digests = {kept.digest for kept in self._known.values()}
        for name in [n for n, note in self._disk.notes.items() if note.checkpoint not in digests]:
            del self._disk.notes[name]
        state.restore(manifest.snapshot)
        self.state = self._look()
        return Restored(manifest.record, self.notes())

    def record(self, step: int) -> RunRecord:
        """What is known beside the model."""
        return self._known[step].record

    def load(self, step: int, state: ModelState) -> None:
        """Fills a state."""
        state.restore(self._known[step].snapshot)

    def save(self, snapshot: TinySnapshot, record: RunRecord) -> None:
        """Begins to write."""
        self.queue.append((snapshot, record))
        self.state = self._look()

    def drop_others(self) -> None:
        """Removes checkpoints of another run."""
        for step in self._lost:
            self._disk.manifests.pop(step, None)
        self._lost = ()
        self.state = self._look()

    def write(self) -> DurableCheckpoint:
        """Makes the oldest of what was begun durable."""
        self.drop_others()
        snapshot, record = self.queue.pop(0)
        content = (self._tip, record.run_id, self._shard, snapshot.step, snapshot.value)
        digest = hashlib.sha256(repr((content, record.passed)).encode()).digest()
        manifest = Manifest(digest, snapshot, record)
        self._known[snapshot.step] = self._disk.manifests[snapshot.step] = manifest
        self._tip = digest
        for step in [s for s in self._known if s < min(self._retired, snapshot.step)]:
            del self._known[step], self._disk.manifests[step]
        self.state = self._look()
        return DurableCheckpoint(snapshot.step, digest)

    def give_up(self) -> None:
        """What the disk does not take is given up."""
        self.queue.clear()
        self.state = self._look()

    def retire(self, step: int) -> None:
        """Older ones are needed no more."""
        self._retired = max(self._retired, step)

    def put_note(self, name: str, octets: bytes) -> EnvironmentUnfit | None:
        """Keeps a note; why not, where the disk does not take it."""
        if self._disk.full:
            return self._full
        newest = self._known[max(self._known)]
        self._disk.notes[name] = KeptNote(self._run_id, newest.digest, octets)
        return None

    def look(self) -> DiskState:
        """What it is like at this moment."""
        self.state = self._look()
        return self.state

    def _look(self) -> DiskState:
        return DiskState(
            persistent=True,
            run_id=self._run_id,
            available=tuple(
                DurableCheckpoint(s, self._known[s].digest) for s in sorted(self._known)
            ),
            writing=bool(self.queue),
            trouble=self._full if self.queue and self._disk.full else None,
            others=bool(self._lost),
        )
