"""The file of a trained model's optimizer state, with which a later run continues seamlessly.

All little-endian; every part but the last two begins at a multiple of 64 bytes:

========  ====================================================================================
part      what
========  ====================================================================================
header    128 bytes: magic ``COTOPTIM``; format version, 1, and scalars of state per row, uint32
          each; scalars of the dense parameters' state, rows, and updates that the state has seen,
          uint64 each; 24 zero bytes; the model's digest; zero
dense     state of the dense parameters' optimizer, float32; zero bytes
rows      records of the rows that were ever updated: global row, int32, ascending; its state,
          float32; none where the rows' optimizer keeps nothing
trailer   32 bytes: digest of the optimizer state (``parameters.digest.optimizer_digest``)
========  ====================================================================================

The contract in the model's file says which optimizers it belongs to.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass
from pathlib import Path

from coterie.arrays import FloatArray, IdArray
from coterie.errors import ModelDamaged
from coterie.parameters.digest import optimizer_digest
from coterie.trained.model_file import RowsWriter, Target, padded, zero_padded
from coterie.trained.model_reader import damaged
from coterie.trained.model_stream import PIECE_BYTES, Octets, Rows, floats, zeros

STATE_NAME = "optimizer.coterie"
MAGIC = b"COTOPTIM"
FORMAT_VERSION = 1
HEADER = struct.Struct("<8sIIQQQ24s32s32s")
_DIGEST = 32
_MOST_ROWS = 2**31 - 1
_MOST_DENSE = 1 << 30
_MOST_WIDTH = 2048  # two moments of the widest row


def state_file_bytes(dense: int, rows: int, width: int) -> int:
    """Size of the whole file.

    Args:
        dense: Scalars of the dense parameters' state.
        rows: Number of rows.
        width: Scalars of state per row.
    """
    return HEADER.size + padded(4 * dense) + rows * (4 + 4 * width) + _DIGEST


class StateWriter:
    """Writes an optimizer state's file piece by piece.

    Args:
        target: Gets ``state_file_bytes`` bytes.
        model: Digest of the model, 32 bytes.
        updates: Updates that the state has seen.
        dense_state: float32 [S].
        width: Scalars of state per row.
        rows: How many rows will follow.
    """

    def __init__(
        self,
        target: Target,
        model: bytes,
        *,
        updates: int,
        dense_state: FloatArray,
        width: int,
        rows: int,
    ) -> None:
        self._target = target
        self._head = (model, updates, width, dense_state)
        target.write(
            HEADER.pack(
                *(MAGIC, FORMAT_VERSION, width, dense_state.size, rows, updates),
                *(bytes(24), model, bytes(32)),
            )
        )
        target.write(zero_padded(dense_state.astype("<f4", copy=False).tobytes()))
        self._rows = RowsWriter(target, width, rows)

    def append(self, row_ids: IdArray, state: FloatArray) -> None:
        """Writes rows; see ``RowsWriter.append``."""
        self._rows.append(row_ids, state)

    def finish(self) -> bytes:
        """Writes the trailer; returns the optimizer state's digest, 32 bytes."""
        digest = optimizer_digest(*self._head, self._rows.finish()[1])
        self._target.write(digest)
        return digest


class StateStream:
    """Reads an optimizer state's file in order: header at construction, ``rows``, then ``finish``.

    Args:
        octets: The file.
        dense: Scalars that the dense parameters' state must have; None: any number.
        width: Scalars of state that each row must have; None: any number.
        total_rows: Of the whole table.

    Attributes:
        width: Scalars of state per row.
        updates: Updates that the state has seen.
        model: Digest of the model, 32 bytes.
        dense_state: float32 [S].
        rows: State of the rows that were ever updated.

    Raises:
        ModelDamaged: It is not such a file, is cut, or has other sizes.
    """

    def __init__(
        self,
        octets: Octets,
        *,
        dense: int | None = None,
        width: int | None = None,
        total_rows: int = _MOST_ROWS,
    ) -> None:
        self._octets = octets
        name, head = octets.name, octets.take(HEADER.size)
        magic, version, wide, count, rows, updates, zero, model, more = HEADER.unpack(head)
        if magic != MAGIC:
            raise damaged(name, "magic", repr(MAGIC), repr(magic))
        if version != FORMAT_VERSION:
            raise damaged(name, "format version", str(FORMAT_VERSION), str(version))
        if any(zero) or any(more):
            raise damaged(name, "header", "zero bytes at its end", "others")
        for what, seen, expected, most in (
            ("dense values", count, dense, _MOST_DENSE),
            ("values a row", wide, width, _MOST_WIDTH),
        ):
            if seen > most or expected not in {None, seen}:
                least = f"at most {most}" if expected is None else f"{expected}"
                raise damaged(name, "header", f"{least} {what}", f"{seen}")
        self.width: int = wide
        self.updates: int = updates
        self.model: bytes = model
        self.dense_state = floats(octets, count, "dense part")
        zeros(octets, padded(4 * count) - 4 * count, "dense part")
        self.rows = Rows(octets, self.width, rows, total_rows)

    def finish(self) -> bytes:
        """Checks the digest, and that the file ends; returns the state's digest, 32 bytes.

        Raises:
            ModelDamaged: A byte was altered, cut or added.
        """
        said = self._octets.take(_DIGEST)
        self._octets.end()
        slices = self.rows.digests()[1]
        digest = optimizer_digest(self.model, self.updates, self.width, self.dense_state, slices)
        if not hmac.compare_digest(said, digest):
            raise damaged(self._octets.name, "digest", said.hex(), digest.hex())
        return digest


@dataclass(frozen=True)
class StateSummary:
    """The header values of a completely checked optimizer state's file.

    Attributes:
        digest: Digest of the state, 32 bytes.
        model: Digest of the model that it belongs to, 32 bytes.
        updates: Number of updates that it has seen.
    """

    digest: bytes
    model: bytes
    updates: int


def read_state(path: Path) -> StateSummary:
    """Checks every byte of an optimizer state's file.

    Raises:
        ModelDamaged: It cannot be read, is not such a file, or a byte was altered.
    """
    try:
        with path.open("rb") as file:
            pieces = iter(lambda: file.read(PIECE_BYTES), b"")
            stream = StateStream(Octets(pieces, str(path)))
            for _ in stream.rows.pieces():
                pass
            return StateSummary(stream.finish(), stream.model, stream.updates)
    except OSError as error:
        raise ModelDamaged.unreadable(
            f"the optimizer state {path}",
            error,
            "a file that a run wrote",
            "check the path; a run leaves it beside the model as optimizer.coterie",
        ) from error
