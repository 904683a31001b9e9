"""AMD's product lines with SEV-SNP, and how each lays out a TCB version.

Sources: AMD SEV Secure Nested Paging Firmware ABI Specification (56860), TCB_VERSION; AMD Versioned
Chip Endorsement Key Certificate and KDS Interface Specification (57230).
"""

from __future__ import annotations

from dataclasses import dataclass

from coterie.kinds import SigningKey

TCB_BYTES = 8
PARTS = ("fmc", "bootloader", "tee", "snp", "microcode")


@dataclass(frozen=True)
class Tcb:
    """Security patch levels of a platform's firmware.

    Attributes:
        bootloader: Of the secure processor's boot loader.
        tee: Of the secure processor's operating system.
        snp: Of the SNP firmware.
        microcode: Of all cores' microcode.
        fmc: Of the first mutable code; None for product lines without it.
    """

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int | None = None

    def reaches(self, floor: Tcb) -> bool:
        """Whether no part is below the floor's; a part that only one of both has is below."""
        return not self.below(floor)

    def below(self, floor: Tcb) -> tuple[str, ...]:
        """Names of the parts that are below the floor's."""
        return tuple(part for part in PARTS if _is_below(self, floor, part))

    def __str__(self) -> str:
        """All parts, as people and receipts read them."""
        values = ((part, getattr(self, part)) for part in PARTS)
        return ", ".join(f"{part} {value}" for part, value in values if value is not None)


def _is_below(tcb: Tcb, floor: Tcb, part: str) -> bool:
    seen: int | None = getattr(tcb, part)
    least: int | None = getattr(floor, part)
    if seen is None or least is None:
        return seen is not least
    return seen < least


@dataclass(frozen=True)
class Product:
    """One product line.

    Attributes:
        name: As in AMD's certificates.
        family: CPUID family, the extended one added.
        models: CPUID models, the extended ones included.
        layout: The part that each byte of a TCB version holds; None where it is reserved.
        short_id: Whether chips may have ids of 8 bytes, the rest of the 64 bytes being zero.
    """

    name: str
    family: int
    models: tuple[range, ...]
    layout: tuple[str | None, ...]
    short_id: bool = False

    def tcb(self, raw: bytes) -> Tcb | None:
        """Reads a TCB version of 8 bytes; None if a reserved byte is not zero."""
        if any(byte for byte, part in zip(raw, self.layout, strict=True) if part is None):
            return None
        parts = {part: byte for byte, part in zip(raw, self.layout, strict=True) if part}
        return Tcb(**parts)

    def encode(self, tcb: Tcb) -> bytes:
        """The 8 bytes of a TCB version."""
        return bytes(0 if part is None else getattr(tcb, part) or 0 for part in self.layout)

    def has_cpuid(self, family: int, model: int) -> bool:
        """Whether a processor with this CPUID belongs to the product line."""
        return family == self.family and any(model in models for models in self.models)


_EARLY = ("bootloader", "tee", None, None, None, None, "snp", "microcode")
_LATE = ("fmc", "bootloader", "tee", "snp", None, None, None, "microcode")
PRODUCTS = {
    product.name: product
    for product in (
        Product("Milan", 0x19, (range(0x10),), _EARLY),
        # Genoa's certificates also serve Bergamo and Siena.
        Product("Genoa", 0x19, (range(0x10, 0x20), range(0xA0, 0xB0)), _EARLY),
        Product("Turin", 0x1A, (range(0x12),), _LATE, short_id=True),
    )
}


@dataclass(frozen=True)
class SnpLine:
    """The key by which AMD's collateral is looked up.

    Attributes:
        tee: Always ``snp``.
        product: The product line, lower case.
        key: The kind of signing key.
    """

    product: str
    key: SigningKey
    tee: str = "snp"

    @property
    def name(self) -> str:
        """The name of its collateral's files."""
        return f"{self.tee}-{self.product}-{self.key}"
