"""How the gradients of a push travel: one coding per ``exchange`` of the contract.

A coding follows from the contract and the step, never from the message. Whatever a worker sends is
checked before it is decoded: its length, and then every value. A coding has no state.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from coterie.arrays import FloatArray
from coterie.contract import Contract
from coterie.errors import MessageRefused
from coterie.plane.packing import pack_zeros, unpack_zeros
from coterie.ps.wire.frames import Octets, octets_of

DENSE = "push.dense_gradient"
ROWS = "push.row_gradients"
_REMEDY = "run the same version of Coterie under the same contract on both sides"


class PushCoding(Protocol):
    """Codes the gradients of a push, and bounds and decodes them."""

    def encode_dense(self, dense_p: FloatArray) -> Octets:
        """Codes the dense gradient, float32 [P], or [P + sums] with a local optimizer's sums."""
        ...

    def decode_dense(self, octets: Octets) -> FloatArray:
        """Decodes the dense gradient; [0] on shards that hold no dense parameters.

        Raises:
            MessageRefused: Its length, a place or a value is out of bounds.
        """
        ...

    def encode_rows(self, rows_ud: FloatArray) -> Octets:
        """Codes the gradients of rows, float32 [u, dim + width], each row for itself."""
        ...

    def decode_rows(self, octets: Octets, count: int) -> FloatArray:
        """Decodes the gradients of ``count`` rows.

        Raises:
            MessageRefused: Its length or a value is out of bounds.
        """
        ...


class Float32Coding:
    """Every value as it is: little-endian float32, the dense gradient without its zeros.

    Args:
        dense: Values of the dense gradient; 0 on shards that hold no dense parameters.
        width: Values of a row.
    """

    def __init__(self, dense: int, width: int) -> None:
        self._dense = dense
        self._width = width

    def encode_dense(self, dense_p: FloatArray) -> Octets:
        """Codes the dense gradient; plain where packing it would not make it shorter."""
        return pack_zeros(dense_p) or octets_of(dense_p)

    def decode_dense(self, octets: Octets) -> FloatArray:
        """Decodes the dense gradient."""
        if len(octets) < 4 * self._dense:
            return finite(unpack_zeros(octets, self._dense, DENSE), DENSE)
        return finite_floats(octets, self._dense, DENSE)

    def encode_rows(self, rows_ud: FloatArray) -> Octets:
        """Codes the gradients of rows."""
        return octets_of(rows_ud)

    def decode_rows(self, octets: Octets, count: int) -> FloatArray:
        """Decodes the gradients of ``count`` rows."""
        return finite_floats(octets, count * self._width, ROWS).reshape(count, self._width)


def push_coding(contract: Contract, *, dense: bool = True, flush: bool = False) -> PushCoding:
    """The coding of a contract's pushes.

    Args:
        contract: Gives the coding and the numbers of values.
        dense: Whether the shard holds dense parameters.
        flush: Whether the push is one that leaves nothing behind: see ``ps/core/flushes.py``.
    """
    training, width = contract.training, contract.exchanged_width
    exchanged = contract.exchanged_dense if dense else 0
    if training.exchange == "float32":
        return Float32Coding(exchanged, width)
    from coterie.ps.wire import lossy_coding as lossy

    if training.exchange == "bfloat16":
        return lossy.Bfloat16Coding(exchanged, width)
    sums = contract.exchanged_sums if dense else 0
    dim = contract.model.embedding_dim
    sizes = (exchanged - sums, sums, dim, width - dim)
    if training.exchange_share is None or flush:
        return lossy.Int8Coding(*sizes)
    return lossy.TopCoding(*sizes, share=training.exchange_share)


def finite_floats(octets: Octets, count: int, name: str) -> FloatArray:
    """Reads float32 values.

    Args:
        octets: Little-endian.
        count: How many are expected.
        name: Name of the field, for errors.

    Raises:
        MessageRefused: Wrong length, or a value that is not finite.
    """
    if len(octets) != 4 * count:
        raise refused(name, f"{count} float32 values ({4 * count} bytes)", f"{len(octets)} bytes")
    return finite(np.frombuffer(octets, "<f4"), name)


def finite(values: FloatArray, name: str) -> FloatArray:
    """The values of a field, all of which are finite.

    Raises:
        MessageRefused: A value is not.
    """
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise MessageRefused(
            f"{name} holds values that are not finite",
            expected="finite float32 values",
            seen=f"{bad} of {values.size} are NaN or infinite",
            remedy="training diverged or the sender is faulty: lower the learning rate in the "
            "contract, or look at the sender's data",
        )
    return values


def refused(name: str, expected: str, seen: str) -> MessageRefused:
    """The error of a field that breaks its bound."""
    return MessageRefused(f"{name} is out of bounds", expected, seen, remedy=_REMEDY)
