"""What firmware, systemd's stub and Linux measure when a guest's image is started.

The events are computed from the image alone. Everything else that is measured depends on the host:
its firmware (PCR 0), configuration (1), option ROMs (2, 3) and secure boot variables (7).

Sources: TCG, "PC Client Platform Firmware Profile" (PCRs 4 and 5); systemd-stub(7) (PCRs 11 to 13);
Linux, drivers/firmware/efi/libstub/efi-stub-helper.c (PCR 9); EDK II, DxeTpmMeasureBootLib.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from coterie.errors import EnvironmentUnfit
from coterie.guest.executable import HashName, image_digest, sections

#: PCRs with events of these, or that stay zero unless somebody adds to what is started.
PREDICTED: Final = (4, 5, 8, 9, 11, 12, 13, 14, 15)
SEPARATOR: Final = "separator"

_CALLING = b"Calling EFI Application from Boot Option"
_EXITING = (b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success")
# In the order in which the stub looks for them; ours have no others.
_SECTIONS = (".linux", ".cmdline", ".initrd", ".uname", ".sbat")
_OF_THE_STUB = frozenset({".text", ".rodata", ".data", ".sdmagic", ".reloc"})

# The partition table: GPT header in block 1, an array of entries of 128 bytes (UEFI, 5.3).
_BLOCK_BYTES = 512
_HEADER_BYTES = 92
_ENTRY_BYTES = 128
_ENTRIES = 128

_unmeasured = partial(
    EnvironmentUnfit,
    "the measurements of the image cannot be computed",
    remedy="build it with Debian 13's systemd-ukify and systemd-boot-efi",
)


@dataclass(frozen=True)
class BootEvent:
    """One event.

    Attributes:
        pcr: The PCR that it extends.
        what: Its description.
        digest: The value by which the PCR is extended.
    """

    pcr: int
    what: str
    digest: bytes


def boot_events(executable: bytes, table: bytes, algorithm: HashName) -> tuple[BootEvent, ...]:
    """The events from the firmware's first boot attempt to the kernel's start, in order.

    Args:
        executable: The image's unified kernel image.
        table: The beginning of the disk with its partition table; 34 blocks.
        algorithm: Hash algorithm of the PCRs' bank.

    Raises:
        EnvironmentUnfit: The executable has sections that are not known here, or lacks some.
    """

    def event(pcr: int, what: str, measured: bytes) -> BootEvent:
        return BootEvent(pcr, what, hashlib.new(algorithm, measured).digest())

    found = sections(executable)
    unknown = sorted(found.keys() - set(_SECTIONS) - _OF_THE_STUB)
    missing = [name for name in _SECTIONS if name not in found]
    if unknown or missing:
        raise _unmeasured(
            expected=" ".join(_SECTIONS),
            seen=f"more: {' '.join(unknown) or 'none'}; missing: {' '.join(missing) or 'none'}",
        )
    events = [
        event(4, _CALLING.decode(), _CALLING),
        event(4, SEPARATOR, bytes(4)),
        event(5, SEPARATOR, bytes(4)),
        event(5, "partition table", measured_table(table)),
        BootEvent(4, "unified kernel image", image_digest(executable, algorithm)),
    ]
    for name in _SECTIONS:
        events.append(event(11, f"name {name}", name.encode() + b"\0"))
        events.append(event(11, f"section {name}", found[name]))
    command_line = found[".cmdline"].rstrip(b"\0").decode()
    events += [
        BootEvent(4, "kernel", image_digest(found[".linux"], algorithm)),
        event(9, "command line", (command_line + "\0").encode("utf-16-le")),
        event(9, "initrd", found[".initrd"]),
        *(event(5, text.decode(), text) for text in _EXITING),
    ]
    return tuple(events)


def measured_table(table: bytes) -> bytes:
    """What firmware hashes of a partition table: header, number of used entries, used entries."""
    header = table[_BLOCK_BYTES : _BLOCK_BYTES + _HEADER_BYTES]
    entries = list(_used_entries(table[2 * _BLOCK_BYTES :]))
    return header + struct.pack("<Q", len(entries)) + b"".join(entries)


def _used_entries(array: bytes) -> Iterator[bytes]:
    for index in range(_ENTRIES):
        entry = array[index * _ENTRY_BYTES : (index + 1) * _ENTRY_BYTES]
        if any(entry[:16]):
            yield entry
