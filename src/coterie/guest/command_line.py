"""The kernel's command line of a guest: measured, and the only settings that its programs get."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from coterie.errors import EnvironmentUnfit
from coterie.guest.kernel import VerifiedRoot
from coterie.kinds import TeeKind

# No kernel debugger, unsigned module, or access to the kernel's memory; a panic ends the machine.
_FIXED: Final = "console=ttyS0 loglevel=4 panic=-1 lockdown=confidentiality"
_OURS = re.compile(r"^.* coterie\.root=([0-9a-f]{64}):([1-9][0-9]{0,9}) coterie\.tee=([a-z-]+)$")
#: Kinds of TEE that are virtual machines, and those that stand in for them in tests.
GUEST_KINDS: Final[tuple[TeeKind, ...]] = (
    *("simulated", "simulated-snp", "tdx", "snp", "azure-snp", "azure-tdx"),
    *("simulated-azure-snp", "simulated-azure-tdx"),
)


@dataclass(frozen=True)
class Settings:
    """The settings.

    Attributes:
        root: The root file system.
        tee: The only kind of TEE whose contracts the guest runs.
    """

    root: VerifiedRoot
    tee: TeeKind

    def text(self) -> str:
        """The command line."""
        root = f"{self.root.digest.hex()}:{self.root.blocks}"
        return f"{_FIXED} coterie.root={root} coterie.tee={self.tee}"


def read_settings(text: str) -> Settings:
    """Reads a command line that ``Settings.text`` wrote.

    Raises:
        EnvironmentUnfit: It is another one.
    """
    line = text.rstrip("\n")
    found = _OURS.match(line)
    if found is not None:
        digest, blocks, tee = found.groups()
        for kind in GUEST_KINDS:
            settings = Settings(VerifiedRoot(bytes.fromhex(digest), int(blocks)), kind)
            if tee == kind and settings.text() == line:
                return settings
    raise EnvironmentUnfit(
        "the kernel was started with other arguments than the image has",
        expected=f"{_FIXED} coterie.root=... coterie.tee=...",
        seen=line[:300],
        remedy="start the image unchanged, without arguments of the host",
    )
