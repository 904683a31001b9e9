"""Fixed lists of words that contracts, evidence and the command line share.

This module imports nothing, so that ``coterie --help`` can name them at once.
"""

from __future__ import annotations

from typing import Literal

Mode = Literal["hfl", "sdt"]
Role = Literal["ps", "worker", "chief"]
TeeKind = Literal["simulated", "sgx", "tdx"]
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
