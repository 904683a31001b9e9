"""Digests cover everything that they name, and are the documented ones."""

from __future__ import annotations

import hashlib

import numpy as np

from coterie.parameters.digest import model_digest, optimizer_digest
from tests.ps.conftest import small_contract

DENSE = np.arange(15, dtype=np.float32)
SLICES = [bytes([i]) * 32 for i in range(256)]


def test_a_models_digest_is_the_documented_one() -> None:
    expected = hashlib.sha256(
        b"coterie model 2\0"
        + b"".join(n.to_bytes(8, "little") for n in (7, 3, 15, 15, 2))
        + DENSE.astype("<f4").tobytes()
        + b"".join(SLICES)
    ).digest()
    assert model_digest(small_contract(seed=7), 3, DENSE, SLICES) == expected


def test_a_models_digest_tells_seed_step_dense_parameters_and_slices_apart() -> None:
    contract, other = small_contract(seed=7), DENSE.copy()
    other[14] += 1
    digests = {
        model_digest(contract, 3, DENSE, SLICES),
        model_digest(small_contract(seed=8), 3, DENSE, SLICES),
        model_digest(contract, 4, DENSE, SLICES),
        model_digest(contract, 3, other, SLICES),
        model_digest(contract, 3, DENSE, [*SLICES[:-1], bytes(32)]),
    }
    assert len(digests) == 5


def test_the_digest_of_a_state_tells_its_model_and_its_parts_apart() -> None:
    other = DENSE.copy()
    other[0] += 1
    digests = {
        optimizer_digest(bytes(32), 3, 1, DENSE, SLICES),
        optimizer_digest(bytes(31) + b"\1", 3, 1, DENSE, SLICES),
        optimizer_digest(bytes(32), 4, 1, DENSE, SLICES),
        optimizer_digest(bytes(32), 3, 2, DENSE, SLICES),
        optimizer_digest(bytes(32), 3, 1, other, SLICES),
        optimizer_digest(bytes(32), 3, 1, DENSE, [*SLICES[:-1], bytes(32)]),
    }
    assert len(digests) == 6
