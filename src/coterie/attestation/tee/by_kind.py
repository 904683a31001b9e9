"""Selects the root of trust and the TEE by the kind of TEE that a contract names.

The code of other kinds is not loaded: a node with a real TEE needs no simulated vendor.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from coterie.attestation.authentic import AnyRoot
from coterie.attestation.tee.base import Tee
from coterie.kinds import OF_SNP, SIMULATED, TeeKind

if TYPE_CHECKING:
    from coterie.attestation.roots import TrustRoot
    from coterie.attestation.snp.endorsements import EndorsementSource
    from coterie.attestation.snp.roots import AmdRoots
    from coterie.attestation.tee.td_quotes import TdQuotes


def open_tee(
    kind: TeeKind,
    *,
    tensorflow: bool = False,
    root: Path = Path("/"),
    vmpls: tuple[int, ...] = (),
    pcrs: tuple[int, ...] = (),
    endorsements: EndorsementSource | None = None,
    td_quotes: TdQuotes | None = None,
    launcher: Path | None = None,
) -> Tee:
    """Opens this machine's TEE of one kind.

    Args:
        kind: The contract's ``trust.tee``.
        tensorflow: Whether the contract is one for a TensorFlow cluster (simulated only).
        root: Root of the file tree.
        vmpls: Privilege levels that the contract accepts (SNP only); any if empty.
        pcrs: PCRs that the contract lists (Azure only).
        endorsements: Source of the signing key's certificates that the host does not give (SNP only).
        td_quotes: Makes quotes of the paravisor's TDREPORT (Azure above TDX only).
        launcher: Socket of the launcher that asks for quotes, if this process cannot (TDX only).

    Raises:
        EnvironmentUnfit: The package cannot be measured (simulated only). Missing hardware is found
            only with the first quote.
    """
    if kind == "sgx":
        from coterie.attestation.tee.gramine import GramineTee

        return GramineTee(root)
    if kind == "tdx" and launcher is not None:
        from coterie.attestation.tee.confidential_space import ConfidentialSpaceTee

        return ConfidentialSpaceTee(launcher)
    if kind == "tdx":
        from coterie.attestation.tee.tdx import TdxTee

        return TdxTee(root)
    if kind == "snp":
        from coterie.attestation.tee.snp import SnpTee

        return SnpTee(root, vmpls=vmpls, endorsements=endorsements)
    if kind == "azure-snp" or kind == "azure-tdx":  # noqa: PLR1714 - mypy narrows it
        from coterie.attestation.tee.azure import AzureTee

        return AzureTee(kind, pcrs=pcrs, root=root, endorsements=endorsements, td_quotes=td_quotes)
    return _simulated(kind, tensorflow=tensorflow, pcrs=pcrs)


def _simulated(kind: TeeKind, *, tensorflow: bool, pcrs: tuple[int, ...]) -> Tee:
    from coterie.attestation.measurement import own_package_measurement

    measurement = own_package_measurement(tensorflow=tensorflow)
    if kind == "simulated-snp":
        from coterie.attestation.tee.simulated.snp import SimulatedSnpTee

        return SimulatedSnpTee(measurement)
    if kind != "simulated":
        from coterie.attestation.tee.simulated.azure import SimulatedAzureTee, SimulatedVm

        vm = SimulatedVm(tdx=kind == "simulated-azure-tdx")
        return SimulatedAzureTee(measurement, vm=vm, pcrs=pcrs)
    from coterie.attestation.tee.simulated.enclave import SimulatedTee

    return SimulatedTee(measurement)


@lru_cache(maxsize=1)
def simulated_root() -> TrustRoot:
    """The root that all simulated TEEs share; its private key is public."""
    from coterie.attestation.tee.simulated.pki import SimulatedPki

    return SimulatedPki().trust_root


@lru_cache(maxsize=1)
def simulated_snp_roots() -> AmdRoots:
    """The roots that all simulated SNP guests share; their private keys are public."""
    from coterie.attestation.tee.simulated.snp_vendor import SimulatedAmd

    return SimulatedAmd().roots


def root_for(kind: TeeKind) -> AnyRoot:
    """The one root that a contract's kind of TEE accepts; for SNP, one for each product line."""
    if kind in OF_SNP:
        return simulated_snp_roots() if kind in SIMULATED else _amds_roots()
    return simulated_root() if kind in SIMULATED else _intels_root()


def _intels_root() -> TrustRoot:
    from coterie.attestation.roots import INTEL_ROOT

    return INTEL_ROOT


def _amds_roots() -> AmdRoots:
    from coterie.attestation.snp.roots import AMD_ROOTS

    return AMD_ROOTS
