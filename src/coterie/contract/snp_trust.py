"""The contract's ``[trust.roles.ROLE.snp]`` section: which SEV-SNP guests and platforms are accepted."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from coterie.contract.hex_digits import Hex8, Hex16, Hex32, Hex48, Hex64
from coterie.contract.section import Section
from coterie.kinds import SigningKey, SnpProperty

PatchLevel = Annotated[int, Field(ge=0, lt=2**8)]
Vmpl = Annotated[int, Field(ge=0, le=3)]
CloudProvider = Annotated[str, Field(pattern=r"^[\x21-\x7e][\x20-\x7e]{0,127}$")]
FirmwareVersion = Annotated[str, Field(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$")]


class TcbFloor(Section):
    """Lowest accepted patch levels of one product line's firmware.

    Attributes:
        bootloader: Of the secure processor's boot loader.
        tee: Of the secure processor's operating system.
        snp: Of the SNP firmware.
        microcode: Of the microcode.
    """

    bootloader: PatchLevel
    tee: PatchLevel
    snp: PatchLevel
    microcode: PatchLevel


class TurinTcbFloor(TcbFloor):
    """Lowest accepted patch levels of Turin's firmware, which has one part more.

    Attributes:
        bootloader: Of the secure processor's boot loader.
        tee: Of the secure processor's operating system.
        snp: Of the SNP firmware.
        microcode: Of the microcode.
        fmc: Of the first mutable code.
    """

    fmc: PatchLevel


class TcbFloors(Section):
    """Accepted product lines, each with the floor of its TCB.

    Attributes:
        milan: Floor for Milan (3rd generation EPYC); not accepted without it.
        genoa: Floor for Genoa, Bergamo and Siena (4th generation); not accepted without it.
        turin: Floor for Turin (5th generation); not accepted without it.
    """

    milan: TcbFloor | None = None
    genoa: TcbFloor | None = None
    turin: TurinTcbFloor | None = None


class SnpTrust(Section):
    """Reference values and floors for SEV-SNP guests in one role. Debugging and migration agents are always refused.

    Attributes:
        launch_measurement: Accepted launch digests (hex).
        guest_policy: Accepted policies of the guest (64 bits in hex): they say whether SMT, several
            sockets or CXL are allowed, what the firmware must do, and its lowest ABI.
        vmpl: Accepted privilege levels of the software that asks for reports; a node asks at the
            lowest one that its kernel allows.
        minimum_guest_svn: Lowest accepted security version that the guest's owner gave it.
        family_id: Accepted family ids (hex; all if empty).
        image_id: Accepted image ids (hex; all if empty).
        id_key_digest: Accepted digests of the key that signed the guest's id block (hex; all if
            empty).
        author_key_digest: Accepted digests of the key that certified the id key (hex; all if empty).
        host_data: Accepted data that the host gave at launch (hex; all if empty).
        signing_key: Accepted kinds of signing key: ``vcek``, the chip's own, or ``vlek``, one that
            AMD gave to a cloud provider.
        csp_id: Accepted cloud providers as AMD names them in VLEKs; needed for ``vlek``.
        chip_id: Accepted single chips (hex; all if empty).
        minimum_tcb: Accepted product lines and the floor of each. Committed, reported, current and
            launch TCB must all reach it.
        minimum_firmware: Lowest committed version of the SNP firmware, as ``1.55.22``.
        required_platform: Properties that the firmware must report of the platform: SMT disabled,
            memory encrypted beside SNP (TSME), error correction, no power readings (RAPL),
            ciphertext hiding, memory checked for aliases, and writes of devices that are safe against
            AMD-SB-3016.
    """

    launch_measurement: Annotated[tuple[Hex48, ...], Field(strict=False)] = ()
    guest_policy: Annotated[tuple[Hex8, ...], Field(strict=False)] = ()
    vmpl: Annotated[tuple[Vmpl, ...], Field(strict=False)] = ()
    minimum_guest_svn: Annotated[int, Field(ge=0, lt=2**32)] = 0
    family_id: Annotated[tuple[Hex16, ...], Field(strict=False)] = ()
    image_id: Annotated[tuple[Hex16, ...], Field(strict=False)] = ()
    id_key_digest: Annotated[tuple[Hex48, ...], Field(strict=False)] = ()
    author_key_digest: Annotated[tuple[Hex48, ...], Field(strict=False)] = ()
    host_data: Annotated[tuple[Hex32, ...], Field(strict=False)] = ()
    signing_key: Annotated[tuple[SigningKey, ...], Field(strict=False)] = ()
    csp_id: Annotated[tuple[CloudProvider, ...], Field(strict=False)] = ()
    chip_id: Annotated[tuple[Hex64, ...], Field(strict=False)] = ()
    minimum_tcb: TcbFloors = TcbFloors()
    minimum_firmware: FirmwareVersion | None = None
    required_platform: Annotated[tuple[SnpProperty, ...], Field(strict=False)] = ()

    def missing(self) -> str | None:
        """The name of a key that a contract for real guests must have and this one lacks."""
        for name in ("launch_measurement", "guest_policy", "vmpl", "signing_key"):
            if not getattr(self, name):
                return name
        if self.minimum_tcb == TcbFloors():
            return "minimum_tcb"
        return "csp_id" if "vlek" in self.signing_key and not self.csp_id else None
