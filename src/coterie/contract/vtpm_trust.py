"""The contract's ``[trust.roles.ROLE.vtpm]`` section: which guests of Azure's virtual TPMs are accepted."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from coterie.contract.hex_digits import Hex32
from coterie.contract.section import Section

PcrNumber = Annotated[str, Field(pattern=r"^([0-9]|1[0-9]|2[0-3])$")]


class VtpmTrust(Section):
    """Reference values for what a virtual TPM and the paravisor below it say of a guest.

    The paravisor's own measurement stands beside it: in ``[trust.roles.ROLE.snp]``, or in the role's
    TDX registers.

    Attributes:
        pcrs: Accepted values (hex) of PCRs of the SHA-256 bank, by number; all listed PCRs must have
            one of theirs. Nodes quote these PCRs.
        secure_boot: Accepted states of UEFI Secure Boot, as the paravisor says.
        console: Accepted answers to whether the host has a serial console of the guest, as the
            paravisor says.
    """

    pcrs: dict[PcrNumber, Annotated[tuple[Hex32, ...], Field(strict=False)]] = {}
    secure_boot: Annotated[tuple[bool, ...], Field(strict=False)] = ()
    console: Annotated[tuple[bool, ...], Field(strict=False)] = ()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The PCRs, ascending."""
        return tuple(sorted(map(int, self.pcrs)))

    def missing(self) -> str | None:
        """The name of a key that a contract for real guests must have and this one lacks."""
        for name in ("pcrs", "secure_boot", "console"):
            if not getattr(self, name):
                return name
        return next((f"pcrs.{number}" for number in self.pcrs if not self.pcrs[number]), None)
