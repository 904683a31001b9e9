"""Fixed lists of words that contracts, evidence and the command line share.

This module imports nothing, so that ``coterie --help`` can name them at once.
"""

from __future__ import annotations

from typing import Final, Literal

Mode = Literal["hfl", "sdt"]
Role = Literal["ps", "worker", "chief"]
TeeKind = Literal[
    "simulated",
    "sgx",
    "tdx",
    "snp",
    "simulated-snp",
    "azure-snp",
    "azure-tdx",
    "simulated-azure-snp",
    "simulated-azure-tdx",
]
Launcher = Literal["confidential-space"]
SigningKey = Literal["vcek", "vlek"]
SnpProperty = Literal[
    "smt_disabled",
    "tsme_enabled",
    "ecc_enabled",
    "rapl_disabled",
    "ciphertext_hiding",
    "alias_check_complete",
    "iommu_write_safe",
]
Lines = Literal["fast", "thin"]
TcbStatus = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
]
Stamp = Literal["SIMULATED", "sgx", "tdx", "snp", "azure-snp", "azure-tdx", "mixed"]
ROLES: Final[tuple[Role, ...]] = ("ps", "worker", "chief")
SIMULATED: frozenset[TeeKind] = frozenset(
    {"simulated", "simulated-snp", "simulated-azure-snp", "simulated-azure-tdx"}
)
OF_SNP: frozenset[TeeKind] = frozenset({"snp", "simulated-snp", "azure-snp", "simulated-azure-snp"})
OF_TDX: frozenset[TeeKind] = frozenset({"tdx", "azure-tdx", "simulated-azure-tdx"})
# Guests that a virtual TPM measures, above SNP or TDX.
OF_VTPM: frozenset[TeeKind] = frozenset(
    {"azure-snp", "azure-tdx", "simulated-azure-snp", "simulated-azure-tdx"}
)
