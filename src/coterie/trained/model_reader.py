"""Reads the file of a trained model strictly: every byte is checked before any is used."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.contract import Contract, contract_from_json
from coterie.contract.loading import MAX_CONTRACT_BYTES
from coterie.errors import ContractInvalid, ModelDamaged
from coterie.parameters.digest import model_digest
from coterie.parameters.sharding import SliceDigests
from coterie.text import first_octets
from coterie.trained.model_file import (
    CHUNK_ROWS,
    FORMAT_VERSION,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    TRAILER_BYTES,
    file_bytes,
    padded,
    record_type,
    text_digest,
)

_SEALED = b"COTSEAL1"
_DIGEST = 32


@dataclass(frozen=True)
class Contents:
    """The checked content of a model file.

    Attributes:
        contract: The contract that the model was trained under.
        contract_text: The contract's original text; a later version of Coterie may fill in more
            defaults.
        contract_digest: Digest of that text.
        steps: Updates applied.
        dense_p: Dense parameters, float32 [P].
        row_ids: Updated rows, int32 [n], ascending.
        row_values: Their values, float32 [n, dim].
        digest: The model's digest.
    """

    contract: Contract
    contract_text: bytes
    contract_digest: bytes
    steps: int
    dense_p: FloatArray
    row_ids: IdArray
    row_values: FloatArray
    digest: bytes


@dataclass(frozen=True)
class Header:
    """The header of a model file: width of a row, sizes of the parts, updates."""

    dim: int
    contract_bytes: int
    dense: int
    rows: int
    steps: int

    @property
    def size(self) -> int:
        """Size of the whole file in bytes."""
        return file_bytes(self.contract_bytes, self.dense, self.rows, self.dim)


def read_contents(octets: memoryview, name: str) -> Contents:
    """Checks and decodes a model file in memory; its arrays are read-only views.

    Args:
        octets: The whole file, read-only.
        name: Its name in errors.

    Raises:
        ModelDamaged: A byte was altered, cut or added; the error names the part.
    """
    if len(octets) < HEADER_BYTES + TRAILER_BYTES:
        least = HEADER_BYTES + TRAILER_BYTES
        raise damaged(name, "size", f"at least {least} bytes", f"{len(octets)} bytes")
    header = header_of(octets, name)
    digests = _trailer(octets, header, name)
    check_part(name, "header", digests[0], hashlib.sha256(octets[:HEADER_BYTES]).digest())
    start = HEADER_BYTES
    text = octets[start : start + header.contract_bytes]
    check_part(name, "contract", digests[1], text_digest(text))
    start += padded(header.contract_bytes)
    if any(octets[HEADER_BYTES + header.contract_bytes : start]):
        raise damaged(name, "padding after the contract", "zero bytes", "others")
    contract = contract_of(bytes(text), header, name)
    end = start + padded(4 * header.dense)
    check_part(name, "dense part", digests[2], hashlib.sha256(octets[start:end]).digest())
    if any(octets[start + 4 * header.dense : end]):
        raise damaged(name, "padding after the dense part", "zero bytes", "others")
    dense_p = np.frombuffer(octets[start : start + 4 * header.dense], "<f4")
    if not np.isfinite(dense_p).all():
        raise damaged(name, "dense part", "finite values", "values that are not")
    records = np.frombuffer(octets[end : len(octets) - TRAILER_BYTES], record_type(header.dim))
    slices = _check_rows(records, contract, digests[3], name)
    seen = model_digest(contract, header.steps, dense_p, slices.digests())
    check_part(name, "model digest", digests[4], seen)
    return Contents(
        contract=contract,
        contract_text=bytes(text),
        contract_digest=digests[1],
        steps=header.steps,
        dense_p=dense_p,
        row_ids=np.ascontiguousarray(records["row"]),
        row_values=records["values"],
        digest=digests[4],
    )


def damaged(name: str, part: str, expected: str, seen: str) -> ModelDamaged:
    """The error of a model file with a damaged part."""
    return ModelDamaged(
        f"the model {name} is damaged: its {part} is wrong",
        expected,
        seen,
        remedy="copy the file again from where it was written; a model that was altered on purpose "
        "is another model",
    )


def header_of(octets: bytes | memoryview, name: str) -> Header:
    """Reads the header of a model file.

    Raises:
        ModelDamaged: The file is sealed, is not a model, or is of another version.
    """
    magic, version, dim, contract_bytes, dense, rows, steps, zero = HEADER.unpack(
        octets[:HEADER_BYTES]
    )
    if magic == _SEALED:
        raise ModelDamaged(
            f"the model {name} is sealed",
            expected="an opened one",
            seen="a sealed file",
            remedy="open it at home first: coterie unseal SEALED OUT --key FILE",
        )
    if magic != MAGIC:
        raise damaged(name, "magic", first_octets(MAGIC), first_octets(magic))
    if version != FORMAT_VERSION:
        raise damaged(name, "format version", str(FORMAT_VERSION), str(version))
    if any(zero):
        raise damaged(name, "header", "zero bytes at its end", "others")
    return Header(dim, contract_bytes, dense, rows, steps)


def _trailer(octets: memoryview, header: Header, name: str) -> list[bytes]:
    trailer = bytes(octets[-TRAILER_BYTES:])
    said, own = trailer[:-_DIGEST], trailer[-_DIGEST:]
    whole = hmac.compare_digest(hashlib.sha256(said).digest(), own)
    digests = [said[start : start + _DIGEST] for start in range(0, len(said), _DIGEST)]
    if header.size != len(octets):
        if whole:  # then the size is right, and the header is altered
            check_part(name, "header", digests[0], hashlib.sha256(octets[:HEADER_BYTES]).digest())
        raise damaged(name, "size", f"{header.size} bytes", f"{len(octets)} bytes")
    if not whole:
        raise damaged(name, "trailer", "SHA-256 of the digests in it", "another")
    return digests


def contract_of(text: bytes, header: Header, name: str) -> Contract:
    """Reads the contract in a model file.

    Raises:
        ModelDamaged: It is too long, has no known schema, or does not fit the model's sizes.
    """
    if len(text) > MAX_CONTRACT_BYTES:
        raise damaged(name, "contract", f"at most {MAX_CONTRACT_BYTES} bytes", f"{len(text)} bytes")
    try:
        contract = contract_from_json(text, f"the model {name}")
    except ContractInvalid as error:
        what = f"the contract in the model {name} cannot be used: {error.what}"
        remedy = "read it with the version of Coterie that trained it, or a later one"
        raise ModelDamaged.because_of(error, what, remedy) from error
    dense = sum(p.size for p in contract.model.dense_parameters(contract.data))
    expected = (contract.model.embedding_dim, dense)
    if (header.dim, header.dense) != expected:
        raise damaged(name, "header", f"sizes {expected}", f"sizes {(header.dim, header.dense)}")
    return contract


def _check_rows(
    records: np.ndarray[tuple[int], np.dtype[np.void]],
    contract: Contract,
    expected: bytes,
    name: str,
) -> SliceDigests:
    """Checks the rows piece by piece; their slices' digests."""
    slices, whole, last, problem = (
        SliceDigests(contract.model.embedding_dim),
        hashlib.sha256(),
        -1,
        "",
    )
    for start in range(0, records.size, CHUNK_ROWS):
        chunk = records[start : start + CHUNK_ROWS]
        whole.update(chunk.data)
        ids, values = chunk["row"].astype(np.int32), chunk["values"]
        if ids[0] <= last or not np.all(ids[1:] > ids[:-1]) or ids[-1] >= contract.data.total_rows:
            problem = problem or "rows in another order, or out of range"
        elif not np.isfinite(values).all():
            problem = problem or "values that are not finite"
        last = int(ids[-1])
        if not problem:
            slices.update(ids, values)
    check_part(name, "rows part", expected, whole.digest())
    if problem:
        raise damaged(name, "rows part", "ascending rows of the table with finite values", problem)
    return slices


def check_part(name: str, part: str, expected: bytes, seen: bytes) -> None:
    """Compares a part's digest with the one in the trailer.

    Raises:
        ModelDamaged: They differ; the error names the part.
    """
    if not hmac.compare_digest(expected, seen):
        raise damaged(name, part, f"digest {expected.hex()}", f"digest {seen.hex()}")
