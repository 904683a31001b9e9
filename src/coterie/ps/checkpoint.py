"""Checkpoints: one file each, written to the side, synced, renamed, and read back by digest.

Layout: magic, length of the header (4 bytes, little-endian), header (JSON), the arrays that the
header lists, SHA-256 over all of that. The digest of a checkpoint is that SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coterie.errors import CheckpointDamaged
from coterie.ps.membership import TrainingData
from coterie.ps.state import ModelState

_MAGIC = b"coterie checkpoint 1\n"
_MAX_HEADER_BYTES = 1 << 20
_NAME = re.compile(r"^step-([0-9]{12})\.ckpt$")
_KEPT = 2

FloatArray = npt.NDArray[np.float32]
DataSets = dict[str, TrainingData]


@dataclass(frozen=True)
class DurableCheckpoint:
    """A checkpoint that lies on disk, whole.

    Attributes:
        step: Updates that it holds.
        digest: SHA-256 of its content; 32 bytes.
    """

    step: int
    digest: bytes


class Checkpoints(Protocol):
    """Where a server keeps its state: ``CheckpointStore`` on disk, ``NoCheckpoints`` in memory."""

    def save(self, state: ModelState, data_sets: DataSets) -> DurableCheckpoint | None:
        """Makes the state durable."""
        ...

    def restore_newest(self, state: ModelState) -> tuple[DurableCheckpoint, DataSets] | None:
        """Restores the newest durable state into ``state``."""
        ...


class NoCheckpoints:
    """Keeps nothing: for runs in one process."""

    def save(self, _state: ModelState, _data_sets: DataSets) -> None:
        """Does nothing."""

    def restore_newest(self, _state: ModelState) -> None:
        """Finds nothing."""


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    contract_digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    step: Annotated[int, Field(ge=0)]
    epoch_loss: float
    epoch_examples: Annotated[int, Field(ge=0)]
    dense: Annotated[int, Field(ge=0)]
    dense_state: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]
    dim: Annotated[int, Field(ge=0)]
    row_state_width: Annotated[int, Field(ge=0)]
    data_sets: dict[str, TrainingData]

    def payload_bytes(self) -> int:
        per_row = 4 * (1 + self.dim + self.row_state_width)
        return 4 * (self.dense + self.dense_state) + self.rows * per_row


class CheckpointStore:
    """The checkpoints of one run of one contract.

    Args:
        directory: Where they lie; made if absent.
        contract_digest: Checkpoints of other contracts are refused.
    """

    def __init__(self, directory: Path, contract_digest: bytes) -> None:
        self._directory = directory
        self._contract_digest = contract_digest.hex()
        directory.mkdir(parents=True, exist_ok=True)
        for torn in directory.glob("*.partial"):
            torn.unlink()

    def save(self, state: ModelState, data_sets: DataSets) -> DurableCheckpoint:
        """Writes a checkpoint and returns once it is durable. The two newest are kept.

        Args:
            state: What to save.
            data_sets: Of each worker, by node name; they fix the schedule.

        Raises:
            OSError: It cannot be written.
        """
        target = self._directory / f"step-{state.step:012d}.ckpt"
        partial = target.with_suffix(".partial")
        digest = hashlib.sha256()
        with partial.open("wb") as file:
            for part in _parts(state, self._contract_digest, data_sets):
                digest.update(part)
                file.write(part)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target)
        _sync_directory(self._directory)
        for _, path in self._present()[:-_KEPT]:
            path.unlink()
        return DurableCheckpoint(state.step, digest.digest())

    def restore_newest(self, state: ModelState) -> tuple[DurableCheckpoint, DataSets] | None:
        """Restores the newest checkpoint into a fresh state.

        Args:
            state: Filled in; made from the same contract.

        Returns:
            The checkpoint and the workers' training data, or None where there is none.

        Raises:
            CheckpointDamaged: It is torn, altered, or of another contract. Nothing older is taken
                in its place: that would be a rollback.
        """
        present = self._present()
        if not present:
            return None
        step, path = present[-1]
        return _read(path, step, self._contract_digest, state)

    def _present(self) -> list[tuple[int, Path]]:
        found = [(_NAME.match(path.name), path) for path in self._directory.iterdir()]
        return sorted((int(match[1]), path) for match, path in found if match)


def _parts(state: ModelState, contract_digest: str, data_sets: DataSets) -> Iterator[bytes]:
    table = state.table
    rows = table.trained_rows()
    row_state = table.state_of(rows)
    header = _Header(
        contract_digest=contract_digest,
        step=state.step,
        epoch_loss=state.epoch_loss,
        epoch_examples=state.epoch_examples,
        dense=state.dense.size,
        dense_state=state.optimizer.state.size,
        rows=rows.size,
        dim=table.dim,
        row_state_width=row_state.shape[1] if row_state.ndim == 2 else 0,
        data_sets=data_sets,
    )
    text = header.model_dump_json().encode()
    yield _MAGIC + len(text).to_bytes(4, "little") + text
    yield state.dense.astype("<f4", copy=False).tobytes()
    yield state.optimizer.state.astype("<f4", copy=False).tobytes()
    yield rows.astype("<i4", copy=False).tobytes()
    yield row_state.astype("<f4", copy=False).tobytes()
    for start in range(0, rows.size, 65_536):
        yield table.read(rows[start : start + 65_536]).astype("<f4", copy=False).tobytes()


def _read(
    path: Path, step: int, contract_digest: str, state: ModelState
) -> tuple[DurableCheckpoint, DataSets]:
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
        size = int.from_bytes(file.read(4), "little")
        text = file.read(min(size, _MAX_HEADER_BYTES))
        try:
            header = _Header.model_validate_json(text)
        except ValidationError as error:
            raise _damaged(path, "a readable header", "something else") from error
        if magic != _MAGIC:
            raise _damaged(path, "a Coterie checkpoint, version 1", repr(magic))
        if header.contract_digest != contract_digest:
            raise _damaged(path, f"contract {contract_digest}", header.contract_digest)
        whole = len(_MAGIC) + 4 + size + header.payload_bytes() + 32
        if path.stat().st_size != whole:
            raise _damaged(path, f"{whole} bytes", f"{path.stat().st_size} bytes")
        payload = file.read(header.payload_bytes())
        trailer = file.read(32)
    digest = hashlib.sha256(magic + size.to_bytes(4, "little") + text + payload).digest()
    if digest != trailer:
        raise _damaged(path, f"SHA-256 {trailer.hex()}", digest.hex())
    _check_shape(path, step, header, state)
    _fill(path, header, payload, state)
    return DurableCheckpoint(step, digest), header.data_sets


def _check_shape(path: Path, step: int, header: _Header, state: ModelState) -> None:
    table, optimizer = state.table, state.optimizer
    width = table.state_of(np.zeros(1, np.int32)).size
    expected = (step, state.dense.size, optimizer.state.size, table.dim, width)
    seen = (header.step, header.dense, header.dense_state, header.dim, header.row_state_width)
    if seen != expected:
        raise _damaged(path, f"sizes {expected}", f"sizes {seen}")


def _fill(path: Path, header: _Header, payload: bytes, state: ModelState) -> None:
    floats = np.frombuffer(payload, "<f4")
    dense, rest = np.split(floats, [header.dense])
    dense_state, rest = np.split(rest, [header.dense_state])
    ids, rest = np.split(rest, [header.rows])
    row_state, values = np.split(rest, [header.rows * header.row_state_width])
    rows = ids.view("<i4")
    # Whoever writes the disk can make a right digest of wrong values.
    if not (np.all(rows[1:] > rows[:-1]) and np.all((rows >= 0) & (rows < state.table.rows))):
        raise _damaged(path, "ascending rows of the table", "others")
    if not all(np.isfinite(part).all() for part in (dense, dense_state, row_state, values)):
        raise _damaged(path, "finite values", "values that are not")
    state.step = header.step
    state.epoch_loss = header.epoch_loss
    state.epoch_examples = header.epoch_examples
    state.dense[:] = dense
    state.optimizer.state[:] = dense_state
    state.table.restore(
        rows,
        values.reshape(header.rows, header.dim),
        row_state.reshape(header.rows, header.row_state_width),
    )


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(path: Path, expected: str, seen: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"the checkpoint {path} is damaged or of another run",
        expected=expected,
        seen=seen,
        remedy="restore the file from a copy, or start anew in an empty output directory",
    )
