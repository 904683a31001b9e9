"""The launch digest of SEV-SNP by the specifications, and firmware to compute it of: beside `sev-snp-measure`.

Sources: AMD SEV Secure Nested Paging Firmware ABI Specification (56860), "SNP_LAUNCH_UPDATE",
PAGE_INFO; AMD64 Architecture Programmer's Manual 2, table B-4 (state save area) and 14.1.3 (state
after reset); EDK II, OvmfPkg/ResetVector (table of GUIDs, metadata); QEMU, target/i386/sev.c (order of
pages, table of hashes).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from uuid import UUID

PAGE = 4096
FOUR_GIB = 1 << 32
NORMAL, VMSA, ZERO, SECRETS, CPUID = 1, 2, 3, 5, 6
# Where the firmware's metadata put pages, as its OvmfPkg/AmdSev does.
SECRETS_AT, CPUID_AT, HASHES_AT, STACK_AT = 0x80D000, 0x80E000, 0x80F000, 0x800000
HASHES_OFFSET = 0xC00
STACK_PAGES = 9
AP_START = 0x80B004
_VMSA_AT = 0xFFFFFFFFF000

_TABLE_END = UUID("96b582de-1fb2-45f7-baea-a366c55a082d")
_HASHES = UUID("7255371f-3a3b-4b04-927b-1da6efa8d454")
_RESET = UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
_METADATA = UUID("dc886566-984a-4798-a75e-5585a7bf67cc")
_SECTIONS = (
    (STACK_AT, STACK_PAGES * PAGE, 1),
    (SECRETS_AT, PAGE, 2),
    (CPUID_AT, PAGE, 3),
    (HASHES_AT, PAGE, 0x10),
)


def firmware(pages: int = 2) -> bytes:
    """Firmware that starts nothing: its code is a pattern, its metadata are as EDK II lays them out."""
    items = b"".join(struct.pack("<III", *section) for section in _SECTIONS)
    metadata = struct.pack("<4sIII", b"ASEV", 16 + len(items), 1, len(_SECTIONS)) + items
    metadata_at = 512  # from the end

    def entry(name: UUID, content: bytes) -> bytes:
        return content + struct.pack("<H16s", len(content) + 18, name.bytes_le)

    table = entry(_HASHES, struct.pack("<II", HASHES_AT + HASHES_OFFSET, 0x400))
    table += entry(_RESET, struct.pack("<I", AP_START))
    table += entry(_METADATA, struct.pack("<I", metadata_at))
    table += struct.pack("<H16s", len(table) + 18, _TABLE_END.bytes_le)
    image = bytearray(bytes(range(256)) * (pages * PAGE // 256))
    image[-metadata_at : -metadata_at + len(metadata)] = metadata
    image[-32 - len(table) : -32] = table
    return bytes(image)


@dataclass
class LaunchDigest:
    """A launch digest while pages are added."""

    value: bytes = bytes(48)

    def add(self, kind: int, address: int, content: bytes | None = None) -> None:
        """Adds one page; what the firmware fills itself has no content here."""
        digest = bytes(48) if content is None else hashlib.sha384(content).digest()
        info = self.value + digest + struct.pack("<HBBBBBBQ", 0x70, kind, 0, 0, 0, 0, 0, address)
        assert len(info) == 0x70
        self.value = hashlib.sha384(info).digest()


def expected_digest(
    firmware: bytes, kernel: bytes, *, processors: int, signature: int, features: int
) -> bytes:
    """The digest of a guest that QEMU starts with this firmware, and with this kernel by its hash.

    Args:
        firmware: As :func:`firmware` makes it.
        kernel: The kernel, without initial file system and command line.
        processors: Number of virtual processors.
        signature: What CPUID says of their model (leaf 1, EAX).
        features: SEV_FEATURES.
    """
    digest = LaunchDigest()
    base = FOUR_GIB - len(firmware)
    for at in range(0, len(firmware), PAGE):
        digest.add(NORMAL, base + at, firmware[at : at + PAGE])
    for page in range(STACK_PAGES):
        digest.add(ZERO, STACK_AT + page * PAGE)
    digest.add(SECRETS, SECRETS_AT)
    digest.add(CPUID, CPUID_AT)
    digest.add(NORMAL, HASHES_AT, _hashes_page(kernel))
    for number in range(processors):
        start = AP_START if number else 0xFFFFFFF0
        digest.add(VMSA, _VMSA_AT, save_area(start, signature, features))
    return digest.value


def _hashes_page(kernel: bytes) -> bytes:
    def entry(name: str, content: bytes) -> bytes:
        return UUID(name).bytes_le + struct.pack("<H", 50) + hashlib.sha256(content).digest()

    entries = entry("97d02dd8-bd20-4c94-aa78-e7714d36ab2a", b"\0")  # the command line
    entries += entry("44baf731-3a2f-4bd7-9af1-41e29169781d", b"")  # the initial file system
    entries += entry("4de79437-abd2-427f-b835-d5b172d2045b", kernel)
    name = UUID("9438d606-4f22-4cc9-b479-a793d411fd21").bytes_le
    table = name + struct.pack("<H", 18 + len(entries)) + entries
    return (bytes(HASHES_OFFSET) + table).ljust(PAGE, b"\0")


def save_area(start: int, signature: int, features: int) -> bytes:
    """A processor's state after reset as KVM gives it, with SVME and machine checks on."""
    area = bytearray(PAGE)

    def put(offset: int, layout: str, *values: int) -> None:
        struct.pack_into("<" + layout, area, offset, *values)

    data, code = (0, 0x93, 0xFFFF, 0), (0xF000, 0x9B, 0xFFFF, start & 0xFFFF0000)
    table = (0, 0, 0xFFFF, 0)
    segments = [data, code, data, data, data, data]  # ES, CS, SS, DS, FS, GS
    segments += [table, (0, 0x82, 0xFFFF, 0), table, (0, 0x8B, 0xFFFF, 0)]  # GDTR, LDTR, IDTR, TR
    for number, segment in enumerate(segments):
        put(16 * number, "HHIQ", *segment)
    put(0x0D0, "Q", 0x1000)  # EFER
    put(0x148, "Q", 0x40)  # CR4
    put(0x158, "Q", 0x10)  # CR0
    put(0x160, "Q", 0x400)  # DR7
    put(0x168, "Q", 0xFFFF0FF0)  # DR6
    put(0x170, "Q", 0x2)  # RFLAGS
    put(0x178, "Q", start & 0xFFFF)  # RIP
    put(0x268, "Q", 0x0007040600070406)  # PAT
    put(0x310, "Q", signature)  # RDX
    put(0x3B0, "Q", features)  # SEV_FEATURES
    put(0x3E8, "Q", 1)  # XCR0
    put(0x408, "I", 0x1F80)  # MXCSR
    put(0x410, "H", 0x37F)  # x87 control word
    return bytes(area)
