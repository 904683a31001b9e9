"""Registers of a TPM and of TDX after a list of events: pure replay."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from coterie.guest.events import PREDICTED, SEPARATOR, BootEvent
from coterie.guest.executable import HashName


def replay(digests: Iterable[bytes], algorithm: HashName) -> bytes:
    """A register that starts at zero and is extended by each digest in turn."""
    register = bytes(hashlib.new(algorithm).digest_size)
    for digest in digests:
        register = hashlib.new(algorithm, register + digest).digest()
    return register


def predicted_pcrs(events: Iterable[BootEvent], algorithm: HashName) -> dict[int, bytes]:
    """The PCRs that the image determines.

    Args:
        events: From ``boot_events``, for the same algorithm.
        algorithm: Hash algorithm of the bank.
    """
    listed = tuple(events)
    return {
        pcr: replay((event.digest for event in listed if event.pcr == pcr), algorithm)
        for pcr in PREDICTED
    }


def predicted_rtmrs(events: Iterable[BootEvent]) -> dict[int, bytes]:
    """The run-time registers of TDX that the image determines: 1, 2 and 3.

    PCRs 2 to 6 map to RTMR 1, PCRs 8 to 15 to RTMR 2 (UEFI 2.10, 38.4.1). Firmware measures one
    separator per register, not one per PCR (EDK II, OvmfPkg/Tcg/TdTcg2Dxe, ``OnReadyToBoot``).

    Args:
        events: From ``boot_events``, for SHA-384.
    """
    listed = tuple(events)
    first = (
        event.digest
        for event in listed
        if event.pcr in range(2, 7) and (event.pcr, event.what) != (5, SEPARATOR)
    )
    second = (event.digest for event in listed if event.pcr in range(8, 16))
    return {1: replay(first, "sha384"), 2: replay(second, "sha384"), 3: bytes(48)}
