"""Collateral from what an operator gives: a PCCS, a directory, both, or neither."""

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
    """Puts a source of collateral together.

    Args:
        kind: The contract's kind of TEE. Simulated ones make their vendor's collateral themselves.
        pccs_url: Address of a PCCS, https.
        folder: Directory of collateral; beside a PCCS it keeps what that delivered.
        observe: Told the newest date of issue of all that proved genuine.

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
