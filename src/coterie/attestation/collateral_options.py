"""Makes the sources of collateral from an operator's options: the vendors' services, a directory, or both."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.attestation.collateral_source import (
    ByVendor,
    CachedCollateral,
    CollateralSource,
    DirectoryCollateral,
    SimulatedCollateral,
    StapledOnly,
)
from coterie.errors import ContractInvalid
from coterie.kinds import OF_SNP, SIMULATED, TeeKind

if TYPE_CHECKING:
    from coterie.attestation.snp.endorsements import EndorsementSource
    from coterie.attestation.tee.td_quotes import TdQuotes


def collateral_from_options(
    kinds: Collection[TeeKind],
    *,
    pccs_url: str | None,
    kds_url: str | None = None,
    folder: Path | None,
    observe: Callable[[datetime], None],
) -> CachedCollateral:
    """Makes a source of collateral.

    Args:
        kinds: The contract's kinds of TEE. Simulated TEEs make their vendors' collateral themselves.
        pccs_url: Address of a PCCS, https.
        kds_url: Address of AMD's key distribution service, or of a cache of it, https.
        folder: Directory of collateral; answers of a service are kept there.
        observe: Called with the newest date of issue of genuine collateral.

    Raises:
        ContractInvalid: An option that has no meaning under this contract.
    """
    if SIMULATED.issuperset(kinds):
        for name, value in (
            ("--pccs-url", pccs_url),
            ("--kds-url", kds_url),
            ("--collateral", folder),
        ):
            if value is not None:
                raise ContractInvalid(
                    f"{name} has no meaning under a simulated contract",
                    expected="a simulated node, which makes its vendor's collateral by itself",
                    seen=f"{name} {value}"[:200],
                    remedy=f"leave {name} out, or use a contract for a real TEE",
                )
        return CachedCollateral(SimulatedCollateral(), kinds=kinds)
    for name, value, of_vendor, vendor in (
        ("--pccs-url", pccs_url, not OF_SNP.issuperset(kinds), "Intel's"),
        ("--kds-url", kds_url, not OF_SNP.isdisjoint(kinds), "AMD's"),
    ):
        if value is not None and not of_vendor:
            raise ContractInvalid(
                f"{name} has no meaning under this contract",
                expected=f"a contract with {vendor} TEEs",
                seen=f"{name} {value}, trust.tee {', '.join(sorted(kinds))}"[:200],
                remedy=f"leave {name} out",
            )
    directory = None if folder is None else DirectoryCollateral(folder)
    intel: CollateralSource = directory or StapledOnly()
    amd = intel
    if pccs_url is not None:
        from coterie.attestation.pccs import PccsCollateral

        intel = PccsCollateral(pccs_url)
    if kds_url is not None:
        from coterie.attestation.kds import KdsCollateral

        amd = KdsCollateral(kds_url)
    asked = pccs_url is not None or kds_url is not None
    return CachedCollateral(
        ByVendor(intel=intel, amd=amd),
        kinds=kinds,
        directory=directory if asked else None,
        observe=observe,
    )


def endorsements_from_options(
    *, kds_url: str | None, folder: Path | None
) -> EndorsementSource | None:
    """Makes the source of the certificates that a host does not give to its SNP guest; None without one.

    Raises:
        EnvironmentUnfit: The address is not https.
    """
    source: EndorsementSource | None = None
    if kds_url is not None:
        from coterie.attestation.kds import KdsCollateral

        source = KdsCollateral(kds_url)
    if folder is None:
        return source
    from coterie.attestation.snp.endorsements import EndorsementFolder

    return EndorsementFolder(folder, source)


def td_quotes_from_options(kind: TeeKind, url: str | None) -> TdQuotes | None:
    """Makes the source of a guest's own TD quotes; None without an address.

    Args:
        kind: The kind of TEE that this node runs in.
        url: The address of the platform's service.

    Raises:
        ContractInvalid: The node's kind of TEE needs none.
        EnvironmentUnfit: The address is not one of this machine's own link.
    """
    if url is None:
        return None
    if kind != "azure-tdx":
        raise ContractInvalid(
            "--td-quote-url has no meaning for this node",
            expected="a node whose role runs in azure-tdx",
            seen=f"--td-quote-url {url}, a node that runs in {kind}"[:200],
            remedy="leave --td-quote-url out",
        )
    from coterie.attestation.tee.td_quotes import TdQuoteService

    return TdQuoteService(url)
