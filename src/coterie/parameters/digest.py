"""Digests of a model and of its optimizers' state: over sizes, dense parameters, and slices of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from coterie.arrays import FloatArray
from coterie.contract import Contract


def model_digest(
    contract: Contract, step: int, dense_p: FloatArray, slice_digests: Sequence[bytes]
) -> bytes:
    """SHA-256 over seed, sizes, step, dense parameters and all slices; 32 bytes.

    Args:
        contract: Gives seed and sizes.
        step: Updates that the model holds.
        dense_p: float32 [P].
        slice_digests: Of all slices in order, whichever shard holds them.
    """
    digest = hashlib.sha256(b"coterie model 2\0")
    sizes = (contract.data.total_rows, contract.model.embedding_dim)
    for count in (contract.training.seed, step, dense_p.size, *sizes):
        digest.update(count.to_bytes(8, "little"))
    digest.update(dense_p.astype("<f4", copy=False).tobytes())
    for part in slice_digests:
        digest.update(part)
    return digest.digest()


def optimizer_digest(
    model: bytes, updates: int, width: int, dense_state: FloatArray, slice_digests: Sequence[bytes]
) -> bytes:
    """SHA-256 over a model's digest and all that its optimizers keep; 32 bytes.

    Args:
        model: Digest of the model that the state belongs to.
        updates: That the state has seen.
        width: Scalars of state per row.
        dense_state: Of the dense parameters, float32 [S].
        slice_digests: Of the rows' state, of all slices in order.
    """
    digest = hashlib.sha256(b"coterie optimizer state 1\0" + model)
    for count in (updates, width, dense_state.size):
        digest.update(count.to_bytes(8, "little"))
    digest.update(dense_state.astype("<f4", copy=False).tobytes())
    digest.update(b"".join(slice_digests))
    return digest.digest()
