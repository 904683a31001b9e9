"""Opens the TEE that a contract names; never another one in its place."""

from __future__ import annotations

from pathlib import Path

from coterie.attestation.measurement import own_package_measurement
from coterie.attestation.tee.base import Tee
from coterie.attestation.tee.gramine import GramineTee
from coterie.attestation.tee.simulated import SimulatedTee
from coterie.attestation.tee.tdx import TdxTee
from coterie.kinds import TeeKind


def open_tee(kind: TeeKind, *, tensorflow: bool = False, root: Path = Path("/")) -> Tee:
    """Opens this machine's TEE of one kind.

    Args:
        kind: The contract's ``trust.tee``.
        tensorflow: Whether the contract is one for a TensorFlow cluster (simulated only).
        root: Root of the file tree.

    Raises:
        EnvironmentUnfit: The package cannot be measured (simulated only). Whether the hardware is
            there shows with the first quote.
    """
    if kind == "sgx":
        return GramineTee(root)
    if kind == "tdx":
        return TdxTee(root)
    return SimulatedTee(own_package_measurement(tensorflow=tensorflow))
