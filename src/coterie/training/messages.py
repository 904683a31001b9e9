"""A worker's side of the server's messages: pushes out, parameters in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coterie.arrays import FloatArray
from coterie.errors import ProtocolError
from coterie.plane.packing import unpack_differences
from coterie.ps.core.aggregation import Gradients
from coterie.ps.wire.frames import ExchangeReply, Octets, Push, octets_of
from coterie.ps.wire.push_coding import PushCoding
from coterie.training.sharded_client import Places, part_of


@dataclass(frozen=True)
class Parameters:
    """The part of the model that a batch needs.

    Attributes:
        step: Number of updates that it holds.
        dense_p: Dense parameters, float32 [P].
        sums_s: Sums that the workers' own dense optimizer keeps, float32 [sums]; [0] if it has none.
        rows_ud: Rows of the asked ids, float32 [u, dim].
        state_us: Their state of the workers' own optimizer, float32 [u, width]; width 0 if it has
            none.
    """

    step: int
    dense_p: FloatArray
    sums_s: FloatArray
    rows_ud: FloatArray
    state_us: FloatArray


def push_of(gradients: Gradients, dense: Octets, place: Places, coding: PushCoding) -> Push:
    """A push's message for one shard.

    Args:
        gradients: The whole push.
        dense: Its coded dense gradient for shard 0, nothing for others.
        place: Places of the shard's rows.
        coding: Codes the rows.
    """
    return Push(
        examples=gradients.examples,
        loss_sum=gradients.loss_sum,
        dense_gradient=dense,
        row_ids=octets_of(part_of(gradients.row_ids_u, place)),
        row_gradients=coding.encode_rows(part_of(gradients.rows_ud, place)),
        correct=gradients.correct,
    )


@dataclass(frozen=True, eq=False)
class HeldDense:
    """The dense parameters that a node holds, of the server's present incarnation.

    Attributes:
        step: The number of updates that they hold.
        dense: They, and the sums of the workers' own optimizer, float32 [P + sums]; read only.
    """

    step: int
    dense: FloatArray


def held_after(reply: ExchangeReply, held: HeldDense | None) -> HeldDense:
    """What a node holds after a reply.

    Args:
        reply: The reply.
        held: What it held, and said that it did.

    Raises:
        ProtocolError: The reply's dense parameters are not float32 values, or not differences from
            what is held.
    """
    octets = reply.dense_parameters
    if not reply.differences:
        dense = dense_of(octets)
    elif held is None:
        raise wrong_size("dense parameters", "whole ones, since none are held", len(octets))
    else:
        dense = unpack_differences(octets, held.dense, "reply.dense_parameters")
    dense.setflags(write=False)  # the next differences are from these
    return HeldDense(reply.step, dense)


def dense_of(octets: Octets) -> FloatArray:
    """Decodes dense parameters, float32 [P].

    Raises:
        ProtocolError: The bytes are not float32 values.
    """
    if len(octets) % 4:
        raise wrong_size("dense parameters", "float32 values", len(octets))
    return np.frombuffer(octets, "<f4")


def wrong_size(what: str, expected: str, seen: int) -> ProtocolError:
    """The error of a message of a wrong size."""
    return ProtocolError(
        f"the parameter server sent {what} of a wrong size", expected=expected, seen=f"{seen} bytes"
    )
