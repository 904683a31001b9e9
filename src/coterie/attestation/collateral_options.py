"""Makes the source of collateral from an operator's options: a PCCS, a directory, or both."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from coterie.attestation.collateral_source import (
    CachedCollateral,
    CollateralSource,
    DirectoryCollateral,
    SimulatedCollateral,
    StapledOnly,
)
from coterie.errors import ContractInvalid
from coterie.kinds import TeeKind


def collateral_from_options(
    kind: TeeKind,
    *,
    pccs_url: str | None,
    folder: Path | None,
    observe: Callable[[datetime], None],
) -> CachedCollateral:
    """Makes a source of collateral.

    Args:
        kind: The contract's kind of TEE. The simulated TEE makes its vendor's collateral itself.
        pccs_url: Address of a PCCS, https.
        folder: Directory of collateral; with a PCCS, its answers are kept there.
        observe: Called with the newest date of issue of genuine collateral.

    Raises:
        ContractInvalid: An option that has no meaning under this contract.
    """
    if kind == "simulated":
        for name, value in (("--pccs-url", pccs_url), ("--collateral", folder)):
            if value is not None:
                raise ContractInvalid(
                    f"{name} has no meaning under a simulated contract",
                    expected="a simulated node, which makes its vendor's collateral by itself",
                    seen=f"{name} {value}"[:200],
                    remedy=f"leave {name} out, or use a contract for a real TEE",
                )
        return CachedCollateral(SimulatedCollateral(), kind=kind)
    directory = None if folder is None else DirectoryCollateral(folder)
    source: CollateralSource = directory or StapledOnly()
    if pccs_url is not None:
        from coterie.attestation.pccs import PccsCollateral

        source = PccsCollateral(pccs_url)
    keep = directory if pccs_url is not None else None
    return CachedCollateral(source, kind=kind, directory=keep, observe=observe)
