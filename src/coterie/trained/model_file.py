"""The file format of a trained model, and its writer.

All little-endian; every part but the last two begins at a multiple of 64 bytes:

========  ====================================================================================
part      what
========  ====================================================================================
header    64 bytes: magic ``COTMODEL``; format version, 1, and width of a row, uint32 each;
          bytes of the contract, dense parameters, rows, and steps, uint64 each; zero
contract  canonical JSON (`coterie.contract.canonical_json`), then zero bytes
dense     dense parameters, float32, in the order of ``ModelSection.dense_parameters``; zero bytes
rows      records of the rows that were ever updated: global row, int32, ascending; its values,
          float32
trailer   192 bytes: SHA-256 of the header, contract digest, SHA-256 of the dense part, SHA-256 of
          the rows, model digest, SHA-256 of these 160 bytes
========  ====================================================================================

Rows that are not in the file were never updated. The file can be written in one pass, so that it
can be sealed on the way, and it can be mapped into memory.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Protocol

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.contract import Contract, canonical_json
from coterie.parameters.digest import model_digest
from coterie.parameters.sharding import SliceDigests

MAGIC = b"COTMODEL"
FORMAT_VERSION = 1
HEADER = struct.Struct("<8sIIQQQQ16s")
HEADER_BYTES = HEADER.size
TRAILER_BYTES = 6 * 32
CHUNK_ROWS = 1 << 16
_ALIGNMENT = 64


class Target(Protocol):
    """The object that a file is written to."""

    def write(self, octets: bytes, /) -> object:
        """Takes the next bytes."""
        ...


def padded(size: int) -> int:
    """Bytes of a part with its padding."""
    return size + -size % _ALIGNMENT


def record_type(dim: int) -> np.dtype[np.void]:
    """The record type of a row in the file."""
    return np.dtype([("row", "<i4"), ("values", "<f4", (dim,))])


def file_bytes(contract_bytes: int, dense: int, rows: int, dim: int) -> int:
    """Size of the whole file.

    Args:
        contract_bytes: Size of the canonical contract.
        dense: Number of dense parameters.
        rows: Number of rows.
        dim: Width of a row.
    """
    parts = HEADER_BYTES + padded(contract_bytes) + padded(4 * dense)
    return parts + rows * (4 + 4 * dim) + TRAILER_BYTES


def model_file_bytes(contract: Contract, rows: int) -> int:
    """Size of the file of a contract's model with so many updated rows."""
    dense = sum(p.size for p in contract.model.dense_parameters(contract.data))
    return file_bytes(len(canonical_json(contract)), dense, rows, contract.model.embedding_dim)


class RowsWriter:
    """Writes rows as records, in ascending order, hashing as it goes.

    Args:
        target: Receives the records.
        width: Scalars of a row.
        rows: Number of rows that will be written.
    """

    def __init__(self, target: Target, width: int, rows: int) -> None:
        self._target = target
        self._record = record_type(width)
        self._slices = SliceDigests(width)
        self._whole = hashlib.sha256()
        self._missing = rows
        self._last = -1

    def append(self, row_ids: IdArray, values: FloatArray) -> None:
        """Writes rows.

        Args:
            row_ids: Global rows, int32 [n], ascending, and above all earlier ones.
            values: float32 [n, width].
        """
        for start in range(0, row_ids.size, CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            ids = row_ids[chunk]
            assert ids[0] > self._last
            assert np.all(ids[1:] > ids[:-1])
            records = np.empty(ids.size, self._record)
            records["row"], records["values"] = ids, values[chunk]
            octets = records.tobytes()
            self._whole.update(octets)
            self._slices.update(ids, values[chunk])
            self._target.write(octets)
            self._last = int(ids[-1])
            self._missing -= ids.size

    def finish(self) -> tuple[bytes, list[bytes]]:
        """Returns the SHA-256 of all records, and the digests of all slices."""
        assert not self._missing, f"{self._missing} rows were announced but not written"
        return self._whole.digest(), self._slices.digests()


class ModelWriter:
    """Writes a model file piece by piece, hashing as it goes.

    Args:
        target: Receives ``model_file_bytes`` bytes.
        contract: The contract that the model was trained under.
        steps: Number of updates that the model holds.
        dense_p: Dense parameters, float32 [P].
        rows: Number of rows that will follow.
        text: The contract's original text, if an earlier version of Coterie wrote it.
    """

    def __init__(
        self,
        target: Target,
        contract: Contract,
        *,
        steps: int,
        dense_p: FloatArray,
        rows: int,
        text: bytes | None = None,
    ) -> None:
        self._target = target
        self._contract = contract
        self._steps = steps
        self._dense = dense_p.astype("<f4")
        dim = contract.model.embedding_dim
        text = canonical_json(contract) if text is None else text
        header = HEADER.pack(
            MAGIC, FORMAT_VERSION, dim, len(text), dense_p.size, rows, steps, bytes(16)
        )
        dense = zero_padded(self._dense.tobytes())
        self._digests = [
            hashlib.sha256(header).digest(),
            text_digest(text),
            hashlib.sha256(dense).digest(),
        ]
        target.write(header)
        target.write(zero_padded(text))
        target.write(dense)
        self._rows = RowsWriter(target, dim, rows)

    def append(self, row_ids: IdArray, values: FloatArray) -> None:
        """Writes rows; see ``RowsWriter.append``."""
        self._rows.append(row_ids, values)

    def finish(self) -> bytes:
        """Writes the trailer; returns the model's digest, 32 bytes."""
        rows, slices = self._rows.finish()
        digest = model_digest(self._contract, self._steps, self._dense, slices)
        said = b"".join((*self._digests, rows, digest))
        self._target.write(said + hashlib.sha256(said).digest())
        return digest


def text_digest(text: bytes | memoryview) -> bytes:
    """The digest of a canonical contract, as ``contract_digest``; 32 bytes."""
    digest = hashlib.sha256(b"coterie contract 1\0")
    digest.update(text)
    return digest.digest()


def zero_padded(octets: bytes) -> bytes:
    """A part, padded with zero bytes."""
    return octets + bytes(padded(len(octets)) - len(octets))
