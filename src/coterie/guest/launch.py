"""The launch digest of a guest under AMD SEV-SNP, by the package ``sev-snp-measure``.

It covers the firmware, the processors' first state, and by the firmware's table of hashes the
unified kernel image, if QEMU is given that as kernel with ``kernel-hashes=on``. A guest that starts
from its disk has only its firmware in the launch digest: the rest shows in a TPM's registers.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from coterie.errors import EnvironmentUnfit, UsageError

# Restricted injection and the like are off; "SNP active" alone (AMD APM 2, "SEV_FEATURES").
_FEATURES: Final = 0x1

_unmeasured = partial(EnvironmentUnfit, "the launch digest cannot be computed")


@dataclass(frozen=True)
class SnpMachine:
    """A machine of which the launch digest depends.

    Attributes:
        firmware: Its firmware; EDK II's OvmfPkg/AmdSev, which checks the kernel's hash.
        processors: Number of its virtual processors.
        model: Their model, as QEMU names it.
    """

    firmware: Path
    processors: int
    model: str


def launch_digest(executable: Path, machine: SnpMachine) -> bytes:
    """The expected launch digest; 48 bytes.

    Args:
        executable: The unified kernel image, given to QEMU as kernel.
        machine: The machine.

    Raises:
        UsageError: The processors' model is not known.
        EnvironmentUnfit: The package is missing, or the firmware has no table of hashes.
    """
    if importlib.util.find_spec("sevsnpmeasure") is None:
        raise _unmeasured(
            expected="the package sev-snp-measure",
            seen="not installed",
            remedy="pip install 'coterie[guest]', or leave out --ovmf",
        )
    from sevsnpmeasure import guest, vcpu_types
    from sevsnpmeasure.sev_mode import SevMode

    models: dict[str, int] = vcpu_types.CPU_SIGS
    if machine.model not in models:
        raise UsageError(
            "the model of the guest's processors is not known",
            expected=", ".join(models),
            seen=machine.model,
        )
    try:
        digest: bytes = guest.calc_launch_digest(
            *(SevMode.SEV_SNP, machine.processors, models[machine.model]),
            *(str(machine.firmware), str(executable), "", "", _FEATURES),
        )
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        raise _unmeasured(
            expected="firmware of EDK II's OvmfPkg/AmdSev, with a table of kernel hashes",
            seen=str(error)[:200] or type(error).__name__,
            remedy="name such a file with --ovmf, or leave it out",
        ) from error
    return digest
