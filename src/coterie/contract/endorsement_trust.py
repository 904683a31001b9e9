"""The contract's ``[trust.roles.ROLE.endorsement]`` section: whose signed word for a guest's firmware is demanded besides."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from coterie.contract.expiry import Moment
from coterie.contract.hex_digits import Hex20, Hex32
from coterie.contract.section import Section
from coterie.kinds import SIMULATED, TeeKind

Number = Annotated[int, Field(ge=1, lt=2**32)]
Changelist = Annotated[int, Field(ge=1, lt=2**63)]

# SHA-256 of the public key of the simulated publisher's root.
SIMULATED_PUBLISHER = "e93c51bbf8c9873263f19ba5aa6f7fd2422ff4121fb2a97e94d556cebb84dd02"
_ENDORSED: frozenset[TeeKind] = frozenset({"tdx", "snp", "simulated-snp"})


class EndorsementTrust(Section):
    """A launch endorsement: its publisher's signed statement that a launch measurement is that of its firmware.

    It is demanded besides the reference values, and never replaces one.

    Attributes:
        roots: Accepted root keys of publishers: SHA-256 of the DER SubjectPublicKeyInfo (hex).
        issued_from: Earliest accepted time of issue, as ``2026-01-31T12:00:00Z``.
        minimum_svn: Lowest accepted security version that the publisher gave the firmware.
        ram_gib: Accepted sizes of the machine's memory in GiB (TDX only; all if empty).
        vcpus: Accepted numbers of virtual processors at launch (SEV-SNP only; all if empty).
        changelists: Accepted changelists from which the firmware was built (all if empty).
        commits: Accepted commits from which the firmware was built (hex; all if empty).
    """

    roots: Annotated[tuple[Hex32, ...], Field(strict=False)] = ()
    issued_from: Moment | None = None
    minimum_svn: Annotated[int, Field(ge=0, lt=2**32)] = 0
    ram_gib: Annotated[tuple[Number, ...], Field(strict=False)] = ()
    vcpus: Annotated[tuple[Number, ...], Field(strict=False)] = ()
    changelists: Annotated[tuple[Changelist, ...], Field(strict=False)] = ()
    commits: Annotated[tuple[Hex20, ...], Field(strict=False)] = ()

    def check(self, where: str, kind: TeeKind) -> None:
        """Checks that the section fits a role's kind of TEE.

        Args:
            where: The section's name.
            kind: The kind of TEE that the role runs in.

        Raises:
            ValueError: Something is missing, or has no meaning for this kind.
        """
        if kind not in _ENDORSED:
            raise ValueError(
                f"{where} is for guests in TDX or SEV-SNP, and the role runs in {kind}"
            )
        if not self.roots:
            raise ValueError(f"{where}.roots is empty: nothing would be accepted")
        simulated = kind in SIMULATED
        if any((root == SIMULATED_PUBLISHER) is not simulated for root in self.roots):
            raise ValueError(
                f"{where}.roots: simulated TEEs have the simulated publisher, and no real one has it"
            )
        for name, of_kind in (("ram_gib", kind == "tdx"), ("vcpus", kind != "tdx")):
            if getattr(self, name) and not of_kind:
                raise ValueError(f"{where}.{name} means nothing for {kind}")
