"""Packing without loss: the bits that come out are those that went in.

Two forms, each shorter than the plain numbers, or not used. Both end with a mask: a bit for each
number from the lowest of the first byte, zeros behind the last; so the arrays before it are aligned.

    without zeros   kept         uint32 [k]   the numbers whose bits are not all 0
                    mask         uint8        where they are; minus zero is kept
    differences     wide         int32 [w]    differences that do not fit 16 bits, or are -2^15
                    narrow       int16 [n]    all that are not 0; -2^15 means the next wide one
                    mask         uint8        where they are

A gradient has zeros where units are dead. A difference is of the bits of a float32, as an integer
that wraps around: a small step changes a number's last bits only. There is one packed form of the
same numbers; another is refused. The lengths follow from the mask, so a form needs no head.
"""

from __future__ import annotations

import numpy as np

from coterie.arrays import ByteArray, FloatArray
from coterie.errors import MessageRefused
from coterie.plane.choice import kernels
from coterie.plane.kernels import Differences, NotCanonical

Octets = bytes | memoryview


def pack_zeros(numbers: FloatArray) -> bytes | None:
    """Packs numbers without their zeros; None where that is not shorter, or costs more than it saves.

    Args:
        numbers: float32 [n].
    """
    compute = kernels()
    if not compute.packs:
        return None
    kept, mask = compute.pack_zeros(numbers)
    return b"".join((kept.data, mask.data)) if kept.nbytes + mask.nbytes < numbers.nbytes else None


def unpack_zeros(octets: Octets, size: int, name: str) -> FloatArray:
    """Undoes ``pack_zeros``.

    Args:
        octets: What a stranger sent.
        size: Numbers, n.
        name: Name of the field, for errors.

    Returns:
        float32 [n].

    Raises:
        MessageRefused: Packing does not make this of so many numbers.
    """
    body, mask = _split(octets, size, name)
    if len(body) % 4:
        raise _other(octets, size, name)
    try:
        return kernels().unpack_zeros(np.frombuffer(body, "<u4"), mask, size)
    except NotCanonical:
        raise _other(octets, size, name) from None


def pack_differences(old: FloatArray, new: FloatArray) -> bytes | None:
    """Packs numbers as differences from old ones; None as for ``pack_zeros``.

    Args:
        old: float32 [n].
        new: float32 [n].
    """
    compute = kernels()
    if not compute.packs:
        return None
    made = compute.pack_differences(old, new)
    parts = (made.wide, made.narrow, made.mask)
    shorter = sum(part.nbytes for part in parts) < new.nbytes
    return b"".join(part.data for part in parts) if shorter else None


def unpack_differences(octets: Octets, old: FloatArray, name: str) -> FloatArray:
    """Undoes ``pack_differences``: gives the new numbers.

    Args:
        octets: What a stranger sent.
        old: float32 [n].
        name: Name of the field, for errors.

    Returns:
        float32 [n], another array than ``old``.

    Raises:
        MessageRefused: Packing does not make this of so many numbers.
    """
    body, mask = _split(octets, old.size, name)
    narrow_bytes = 2 * int(np.bitwise_count(mask).sum(dtype=np.int64))
    wide_bytes = len(body) - narrow_bytes
    if wide_bytes < 0 or wide_bytes % 4:
        raise _other(octets, old.size, name)
    differences = Differences(
        wide=np.frombuffer(body[:wide_bytes], "<u4"),
        narrow=np.frombuffer(body[wide_bytes:], "<i2"),
        mask=mask,
    )
    try:
        return kernels().unpack_differences(old, differences)
    except NotCanonical:
        raise _other(octets, old.size, name) from None


def _split(octets: Octets, size: int, name: str) -> tuple[memoryview, ByteArray]:
    """The arrays before the mask, and the mask."""
    mask_bytes = -(-size // 8)
    if not mask_bytes <= len(octets) < 4 * size:
        raise _other(octets, size, name)
    view = memoryview(octets)
    end = len(octets) - mask_bytes
    return view[:end], np.frombuffer(view[end:], np.uint8)


def _other(octets: Octets, size: int, name: str) -> MessageRefused:
    return MessageRefused(
        f"{name} is out of bounds",
        expected=f"what packing makes of {size} float32 values ({4 * size} bytes)",
        seen=f"{len(octets)} bytes that it does not make",
        remedy="run the same version of Coterie under the same contract on both sides",
    )
