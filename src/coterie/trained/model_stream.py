"""Reads files of trained models and optimizer states in pieces, from first byte to last.

A caller may use a piece before the file's digests were read, which come last. The result is valid
only once ``finish`` has returned.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.contract import Contract
from coterie.contract.loading import MAX_CONTRACT_BYTES
from coterie.errors import StartRefused
from coterie.parameters.digest import model_digest
from coterie.parameters.sharding import SliceDigests
from coterie.trained.model_file import (
    HEADER_BYTES,
    TRAILER_BYTES,
    padded,
    record_type,
    text_digest,
)
from coterie.trained.model_reader import check_part, contract_of, damaged, header_of

PIECE_BYTES = 1 << 20
_DIGEST = 32


class Octets:
    """The bytes of a file that come in pieces.

    Args:
        pieces: The pieces, in order.
        name: The file's name in errors.
    """

    def __init__(self, pieces: Iterator[bytes], name: str) -> None:
        self._pieces = pieces
        self._held = b""
        self._taken = 0
        self.name = name

    def take(self, count: int) -> bytes:
        """Takes the next ``count`` bytes.

        Raises:
            ModelDamaged: The file ends before them.
        """
        parts, missing = [], count
        while missing:
            if not self._held:
                piece = next(self._pieces, None)
                if piece is None:
                    seen = self._taken + count - missing
                    raise damaged(
                        self.name, "size", f"{self._taken + count} bytes or more", f"{seen} bytes"
                    )
                self._held = piece
            part, self._held = self._held[:missing], self._held[missing:]
            parts.append(part)
            missing -= len(part)
        self._taken += count
        return b"".join(parts)

    def end(self) -> None:
        """Checks that the file ends here.

        Raises:
            ModelDamaged: More bytes follow.
        """
        if self._held or any(piece for piece in self._pieces):
            raise damaged(self.name, "size", f"{self._taken} bytes", "more")


def zeros(octets: Octets, count: int, part: str) -> bytes:
    """Takes the padding after a part.

    Raises:
        ModelDamaged: A byte of it is not zero.
    """
    padding = octets.take(count)
    if any(padding):
        raise damaged(octets.name, f"padding after the {part}", "zero bytes", "others")
    return padding


def floats(octets: Octets, count: int, part: str) -> FloatArray:
    """Takes float32 values, [count].

    Raises:
        ModelDamaged: One is not finite.
    """
    values = np.frombuffer(octets.take(4 * count), "<f4")
    if not np.isfinite(values).all():
        raise damaged(octets.name, part, "finite values", "values that are not")
    return values


class Rows:
    """Reads and checks the rows of a file: ascending, in range, finite.

    Args:
        octets: The file, positioned at its rows.
        width: Scalars of a row.
        count: Number of rows in the file.
        total_rows: Number of rows of the whole table.
    """

    def __init__(self, octets: Octets, width: int, count: int, total_rows: int) -> None:
        if count > total_rows:
            raise damaged(octets.name, "header", f"at most {total_rows} rows", f"{count}")
        self._octets = octets
        self._record = record_type(width)
        self._count = count
        self._total_rows = total_rows
        self._slices = SliceDigests(width)
        self._whole = hashlib.sha256()

    def pieces(self) -> Iterator[tuple[IdArray, FloatArray]]:
        """Yields the rows, about 1 MiB at once: global rows, int32 [n], and float32 [n, width].

        Raises:
            ModelDamaged: They are in another order, out of range or not finite, or the file ends.
        """
        missing, last = self._count, -1
        while missing:
            count = min(missing, max(1, PIECE_BYTES // self._record.itemsize))
            content = self._octets.take(count * self._record.itemsize)
            records = np.frombuffer(content, self._record)
            ids, values = records["row"].astype(np.int32), records["values"]
            ascending = ids[0] > last and np.all(ids[1:] > ids[:-1]) and ids[-1] < self._total_rows
            if not (ascending and np.isfinite(values).all()):
                expected = "ascending rows of the table with finite values"
                raise damaged(self._octets.name, "rows part", expected, "others")
            self._whole.update(content)
            self._slices.update(ids, values)
            missing, last = missing - count, int(ids[-1])
            yield ids, values

    def digests(self) -> tuple[bytes, list[bytes]]:
        """SHA-256 of all records, and the digests of all slices; valid after all rows were read."""
        return self._whole.digest(), self._slices.digests()


class ModelStream:
    """Reads a model file in order: ``dense_p`` at construction, then ``rows``, then ``finish``.

    Args:
        octets: The file.
        contract_digest: Digest of the contract that it must hold; checked before the text is
            parsed.

    Attributes:
        contract: The contract that the model was trained under.
        steps: Number of updates that the model holds.
        dense_p: Dense parameters, float32 [P].
        rows: Rows that were ever updated.

    Raises:
        StartRefused: It belongs to another contract.
        ModelDamaged: It is not a model file, or is cut.
    """

    def __init__(self, octets: Octets, contract_digest: bytes) -> None:
        self._octets = octets
        name = octets.name
        head = octets.take(HEADER_BYTES)
        header = header_of(head, name)
        if header.contract_bytes > MAX_CONTRACT_BYTES:
            expected = f"at most {MAX_CONTRACT_BYTES} bytes"
            raise damaged(name, "contract", expected, f"{header.contract_bytes} bytes")
        text = octets.take(header.contract_bytes)
        seen = text_digest(text)
        if not hmac.compare_digest(seen, contract_digest):
            what = "the model that the run starts from was trained under another contract"
            raise StartRefused.differs(what, "contract", contract_digest, seen)
        zeros(octets, padded(header.contract_bytes) - header.contract_bytes, "contract")
        self.contract: Contract = contract_of(text, header, name)
        self.steps = header.steps
        self.dense_p = floats(octets, header.dense, "dense part")
        dense_bytes = 4 * header.dense
        dense = self.dense_p.tobytes() + zeros(
            octets, padded(dense_bytes) - dense_bytes, "dense part"
        )
        self.rows = Rows(octets, header.dim, header.rows, self.contract.data.total_rows)
        self._digests = [hashlib.sha256(head).digest(), seen, hashlib.sha256(dense).digest()]

    def finish(self) -> bytes:
        """Checks all digests, and that the file ends; returns the model's digest, 32 bytes.

        Raises:
            ModelDamaged: A byte was altered, cut or added.
        """
        name, trailer = self._octets.name, self._octets.take(TRAILER_BYTES)
        self._octets.end()
        whole, slices = self.rows.digests()
        model = model_digest(self.contract, self.steps, self.dense_p, slices)
        said = trailer[:-_DIGEST]
        if not hmac.compare_digest(hashlib.sha256(said).digest(), trailer[-_DIGEST:]):
            raise damaged(name, "trailer", "SHA-256 of the digests in it", "another")
        parts = ("header", "contract", "dense part", "rows part", "model digest")
        digests = [said[start : start + _DIGEST] for start in range(0, len(said), _DIGEST)]
        for part, expected, seen in zip(
            parts, digests, (*self._digests, whole, model), strict=True
        ):
            check_part(name, part, expected, seen)
        return model
