"""A shard's checkpoints on disk: manifests that list segments, and one thread that writes them.

A checkpoint is a manifest, which lists its segments' SHA-256, oldest first. Its digest is its
SHA-256; its file's name follows from that, with a key if sealed. Each manifest names the one before
it by digest; the first names the run. The manifests in a folder must be one piece of one chain, or
they are refused. The only exception is the checkpoint of the best model, which stays as long as a
newer one names it by digest. Segments are merged so that their sizes at least double from newer to
older. So their number, and how often a row is rewritten, grow with the logarithm of the table.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.errors import CheckpointDamaged, CoterieError, EnvironmentUnfit, SealBroken
from coterie.files import make_folder, sync_folder, writing
from coterie.ps.checkpoints.codec import FileCodec, PlainFileCodec
from coterie.ps.checkpoints.end_records import EndRecords
from coterie.ps.checkpoints.files import SmallFiles
from coterie.ps.checkpoints.records import (
    Digest,
    DurableCheckpoint,
    PassedCheckpoint,
    RunRecord,
)
from coterie.ps.checkpoints.segment_files import Segment, SegmentFolder
from coterie.ps.checkpoints.segments import merge_segments, restore_segment, write_segment
from coterie.ps.checkpoints.writer import Writer
from coterie.ps.core.state import ModelState, Snapshot
from coterie.text import format_of

_NAME = re.compile(r"^step-([0-9]{12})-([0-9a-f]{64})\.json$")
_MAX_MANIFEST_BYTES = 64 << 20
_FORMAT = 5


class _ListedSegment(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    digest: Digest
    rows: Annotated[int, Field(ge=0)]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[5] = 5
    contract_digest: Digest
    previous: Digest
    shard: Annotated[int, Field(ge=0)]
    shards: Annotated[int, Field(ge=1)]
    step: Annotated[int, Field(ge=0)]
    segments: Annotated[tuple[_ListedSegment, ...], Field(strict=False, min_length=1)]
    kept: PassedCheckpoint | None = None
    record: RunRecord


class CheckpointStore:
    """The checkpoints of one shard of one run.

    Args:
        directory: Their folder; made if absent.
        contract_digest: Digest of the contract; checkpoints of other contracts are refused.
        shard: Number of the shard.
        shards: Number of shards.
        casing: Encoding of the files, plain or sealed; files of the other kind are refused.
        on_durable: Called for every durable and verified checkpoint, on the writer's thread.
        on_failure: Called for a checkpoint that is damaged or cannot be read back.

    Raises:
        CheckpointDamaged: A checkpoint is incomplete, altered, or of another contract, shard or
            format, or they are not one piece of one run's chain. An older one is not used instead,
            since that would be a rollback.
        EnvironmentUnfit: The folder cannot be written or read.
    """

    persistent = True

    def __init__(
        self,
        directory: Path,
        contract_digest: bytes,
        *,
        shard: int = 0,
        shards: int = 1,
        casing: FileCodec | None = None,
        on_durable: Callable[[DurableCheckpoint], None],
        on_failure: Callable[[CoterieError], None],
    ) -> None:
        self._directory = directory
        casing = casing or PlainFileCodec()
        self._folder = SegmentFolder(directory, casing)
        self._files = SmallFiles(casing)
        self._contract_digest = contract_digest.hex()
        self._place = (shard, shards)
        self._on_durable = on_durable
        with writing(f"the folder of checkpoints {directory}"):
            make_folder(directory)
            for torn in directory.glob("*.partial"):
                torn.unlink()
        self._notes = EndRecords(directory, contract_digest, self._files)
        # Guards the manifests, the run and the tip, which the writer's thread changes. `_segments`
        # is the writer's alone while it has work. No file is written under the lock except when
        # manifests are removed.
        self._lock = threading.Lock()
        self._manifests: dict[int, tuple[bytes, _Manifest]] = self._present()
        self._lost: dict[int, bytes] = {}  # another run's, by step, until they are removed
        self._run_id = next((m.record.run_id for _, m in self._manifests.values()), "")
        self._tip = self._run_id  # what the next manifest names as the one before it
        self._segments: list[Segment] = []
        self._retired = -1
        self._writer = Writer(on_failure)

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is still being written."""
        return self._writer.writing

    @property
    def trouble(self) -> EnvironmentUnfit | None:
        """Why the disk takes no checkpoint at present; None while it does."""
        return self._writer.trouble

    @property
    def run_id(self) -> str:
        """Name of the run whose checkpoints these are, or empty."""
        with self._lock:
            return self._run_id

    def begin(self, run_id: str) -> None:
        """Begins a run from nothing.

        What is here of another run does not count any more; it is removed by ``drop_others``, or when
        the first checkpoint of this one is written, not before: nodes may yet refuse to begin anew.
        """
        with self._lock:
            self._lost |= {step: digest for step, (digest, _) in self._manifests.items()}
            self._manifests.clear()
            self._run_id = self._tip = run_id
        self._segments = []
        with writing(self._directory):
            self._notes.forget()

    @property
    def others(self) -> bool:
        """Whether checkpoints of another run are still there, which do not count any more."""
        with self._lock:
            return bool(self._lost)

    def drop_others(self) -> None:
        """Removes checkpoints of another run.

        Raises:
            EnvironmentUnfit: The folder cannot be written.
        """
        with writing(self._directory):
            self._drop_others()

    def available(self) -> tuple[DurableCheckpoint, ...]:
        """The checkpoints of this run that can be restored, oldest first."""
        with self._lock:
            return tuple(
                DurableCheckpoint(step, digest)
                for step, (digest, _) in sorted(self._manifests.items())
            )

    def record(self, step: int) -> RunRecord:
        """The record of the run in the checkpoint of a step."""
        with self._lock:
            return self._manifests[step][1].record

    def restore(self, step: int, state: ModelState) -> RunRecord:
        """Fills a new state from the checkpoint of a step; removes newer checkpoints.

        Raises:
            CheckpointDamaged: A segment is incomplete or altered.
            EnvironmentUnfit: It cannot be read, or the disk cannot be written.
        """
        with writing(self._directory):
            with self._lock:
                self._forget(sorted((s for s in self._manifests if s > step), reverse=True))
                digest, manifest = self._manifests[step]
                self._tip = digest.hex()
            self._notes.forget(but=self.available())
        self._segments = [
            restore_segment(self._folder, bytes.fromhex(listed.digest), state)
            for listed in manifest.segments
        ]
        if state.step != step:
            raise self._damaged(f"step {step}", f"step {state.step}")
        with writing(self._directory):
            self._sweep()
        return manifest.record

    def load(self, step: int, state: ModelState) -> None:
        """Fills a new state from the checkpoint of a step; keeps newer checkpoints.

        Raises:
            CheckpointDamaged: A segment is incomplete or altered.
            EnvironmentUnfit: It cannot be read.
        """
        with self._lock:
            _, manifest = self._manifests[step]
        for listed in manifest.segments:
            restore_segment(self._folder, bytes.fromhex(listed.digest), state)
        if state.step != step:
            raise self._damaged(f"step {step}", f"step {state.step}")

    def save(self, snapshot: Snapshot, record: RunRecord) -> None:
        """Starts to make a snapshot durable; returns at once.

        Args:
            snapshot: The changes since the last snapshot that was saved or restored.
            record: The record of the run.
        """
        self._writer.add(
            f"the checkpoint of step {snapshot.step} in {self._directory}",
            (lambda: self._write(snapshot, record), self._merge, self._sweep),
        )

    def flush(self, seconds: float | None = None) -> bool:
        """Waits at most ``seconds`` until nothing is being written; False if that took too long."""
        return self._writer.flush(seconds)

    def settle(self) -> None:
        """Waits until nothing is being written; gives up what cannot be written."""
        self._writer.settle()

    def retire(self, step: int) -> None:
        """Lets the writer remove checkpoints older than this."""
        with self._lock:
            self._retired = max(self._retired, step)

    def put_note(self, name: str, octets: bytes) -> None:
        """Writes a small record of this run's end durably, with the newest checkpoint.

        Raises:
            OSError: It cannot be written.
        """
        newest = self.available()[-1]
        self._notes.put(name, octets, run_id=self.run_id, checkpoint=newest.digest)

    def notes(self) -> dict[str, bytes]:
        """The small records that belong to the present checkpoints.

        Raises:
            CheckpointDamaged: One is torn, altered, or of another run or checkpoint.
        """
        return self._notes.all(self.run_id, self.available())

    def close(self) -> None:
        """Finishes pending writes, unless they fail."""
        self._writer.close()

    def _drop_others(self) -> None:
        for step in sorted(self._lost, reverse=True):
            self._manifest_path(step, self._lost[step]).unlink(missing_ok=True)
            sync_folder(self._directory)
        with self._lock:
            self._lost.clear()

    # --- on the writer's thread: all of it can be repeated --------------------------------------

    def _write(self, snapshot: Snapshot, record: RunRecord) -> None:
        self._drop_others()  # wherever this is interrupted, the folder never holds two runs' checkpoints
        segments = [*self._segments, write_segment(self._folder, snapshot)]
        shard, shards = self._place
        with self._lock:
            kept, _ = self._manifests.get(record.kept_step, (None, None))
        if record.kept_step and kept is None:
            raise self._damaged(f"the best model's checkpoint, step {record.kept_step}", "none")
        manifest = _Manifest(
            contract_digest=self._contract_digest,
            previous=self._tip,
            shard=shard,
            shards=shards,
            step=snapshot.step,
            segments=tuple(_ListedSegment(digest=s.digest.hex(), rows=s.rows) for s in segments),
            kept=PassedCheckpoint(step=record.kept_step, digest=kept.hex()) if kept else None,
            record=record,
        )
        text = manifest.model_dump_json().encode()
        digest = hashlib.sha256(text).digest()
        self._files.write(self._manifest_path(snapshot.step, digest), text)
        self._segments = segments
        with self._lock:
            self._manifests[snapshot.step] = (digest, manifest)
            self._tip = digest.hex()
        self._on_durable(DurableCheckpoint(snapshot.step, digest))

    def _merge(self) -> None:
        """Merges segments while one is at least half as large as the one before it."""
        segments = self._segments
        while len(segments) > 1 and 2 * segments[-1].rows >= segments[-2].rows:
            segments[-2:] = [merge_segments(self._folder, *segments[-2:])]
            sync_folder(self._directory)

    def _sweep(self) -> None:
        """Removes retired checkpoints, and segments that nothing refers to."""
        with self._lock:
            oldest = min(self._retired, max(self._manifests, default=-1))
            wanted = {step for step in self._manifests if step >= oldest}
            wanted |= {
                manifest.kept.step
                for step, (_, manifest) in self._manifests.items()
                if step in wanted and manifest.kept is not None
            }
            self._forget(sorted(self._manifests.keys() - wanted))
            needed = {s.digest for s in self._segments} | {
                bytes.fromhex(listed.digest)
                for _, manifest in self._manifests.values()
                for listed in manifest.segments
            }
        for path in self._directory.glob("segment-*.bin"):
            if path not in {self._folder.path(digest) for digest in needed}:
                path.unlink(missing_ok=True)

    # --- manifests -----------------------------------------------------------------------------

    def _forget(self, steps: Iterable[int]) -> None:
        """Removes manifests one by one, so that the rest is one piece of the chain at any time."""
        for step in steps:
            digest, _ = self._manifests[step]
            self._manifest_path(step, digest).unlink(missing_ok=True)
            sync_folder(self._directory)
            del self._manifests[step]

    def _manifest_path(self, step: int, digest: bytes) -> Path:
        return self._directory / f"step-{step:012d}-{self._files.casing.name_of(digest)}.json"

    def _present(self) -> dict[int, tuple[bytes, _Manifest]]:
        found: dict[int, tuple[bytes, _Manifest]] = {}
        for path in self._directory.glob("step-*"):
            match = _NAME.match(path.name)
            if match is None:
                raise self._damaged("names of manifests", path.name[:100])
            step = int(match[1])
            digest, manifest = self._read(path)
            if manifest.step != step or step in found:
                raise self._damaged(f"one checkpoint of step {step}", path.name)
            found[step] = (digest, manifest)
        runs = sorted({manifest.record.run_id for _, manifest in found.values()})
        if len(runs) > 1:
            raise self._damaged("checkpoints of one run", f"of the runs {', '.join(runs)}")
        self._check_chain(found)
        return found

    def _check_chain(self, found: Mapping[int, tuple[bytes, _Manifest]]) -> None:
        """Checks that the manifests are one piece of a chain, apart from the kept best model's."""
        steps = sorted(found)
        named = {(m.kept.step, m.kept.digest) for _, m in found.values() if m.kept is not None}
        for older, newer in itertools.pairwise(steps):
            digest, previous = found[older][0].hex(), found[newer][1].previous
            if previous != digest and (older, digest) not in named:
                raise self._damaged(
                    f"before step {newer} the checkpoint that it follows, SHA-256 {previous}",
                    f"one of step {older}, SHA-256 {digest}: one is missing, or they are of two incarnations",
                )

    def _read(self, path: Path) -> tuple[bytes, _Manifest]:
        try:
            text = self._files.read(path, _MAX_MANIFEST_BYTES)
        except SealBroken as error:
            raise self._damaged(f"{path.name}: {error.expected}", error.seen) from error
        digest = hashlib.sha256(text).digest()
        if not path.name.endswith(f"-{self._files.casing.name_of(digest)}.json"):
            raise self._damaged(f"{path.name}: what its name says", "another")
        try:
            manifest = _Manifest.model_validate_json(text)
        except ValidationError as error:
            raise self._damaged(
                f"{path.name}: a manifest, format {_FORMAT}", _form_of(text)
            ) from error
        expected = (self._contract_digest, *self._place)
        seen = (manifest.contract_digest, manifest.shard, manifest.shards)
        if seen != expected:
            raise self._damaged(
                "contract {}, shard {} of {}".format(*expected),
                "contract {}, shard {} of {}".format(*seen),
            )
        for listed in manifest.segments:
            if not self._folder.path(bytes.fromhex(listed.digest)).exists():
                raise self._damaged(f"segment {listed.digest}", "none")
        return digest, manifest

    def _damaged(self, expected: str, seen: str) -> CheckpointDamaged:
        return CheckpointDamaged(
            f"a checkpoint in {self._directory} is damaged or of another run",
            expected,
            seen,
        )


def _form_of(text: bytes) -> str:
    """The format that an unreadable manifest states, if any."""
    found = format_of(text)
    if found in {None, _FORMAT}:
        return "something else"
    return f"format {found}, of another version of Coterie: finish the run with that version"
