"""Selects the root of trust and the TEE by the kind of TEE that a contract names.

The code of other kinds is not loaded: a node with a real TEE needs no simulated vendor.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from coterie.attestation.roots import INTEL_ROOT, TrustRoot
from coterie.attestation.tee.base import Tee
from coterie.kinds import TeeKind


def open_tee(kind: TeeKind, *, tensorflow: bool = False, root: Path = Path("/")) -> Tee:
    """Opens this machine's TEE of one kind.

    Args:
        kind: The contract's ``trust.tee``.
        tensorflow: Whether the contract is one for a TensorFlow cluster (simulated only).
        root: Root of the file tree.

    Raises:
        EnvironmentUnfit: The package cannot be measured (simulated only). Missing hardware is found
            only with the first quote.
    """
    if kind == "sgx":
        from coterie.attestation.tee.gramine import GramineTee

        return GramineTee(root)
    if kind == "tdx":
        from coterie.attestation.tee.tdx import TdxTee

        return TdxTee(root)
    from coterie.attestation.measurement import own_package_measurement
    from coterie.attestation.tee.simulated import SimulatedTee

    return SimulatedTee(own_package_measurement(tensorflow=tensorflow))


@lru_cache(maxsize=1)
def simulated_root() -> TrustRoot:
    """The root that all simulated TEEs share; its private key is public."""
    from coterie.attestation.tee.simulated.pki import SimulatedPki

    return SimulatedPki().trust_root


def root_for(kind: TeeKind) -> TrustRoot:
    """The one root that a contract's kind of TEE accepts."""
    return simulated_root() if kind == "simulated" else INTEL_ROOT
