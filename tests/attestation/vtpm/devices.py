"""What the paravisor writes to a virtual TPM, and a TPM that holds it without any software TPM."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from coterie.attestation.snp.report import REPORT_BYTES
from coterie.attestation.tee.azure import REPORT_INDEX
from coterie.attestation.tee.simulated.azure import SimulatedVm

TD_REPORT = b"\x81" + bytes(range(255)) * 4 + bytes(3)
_READ_PUBLIC, _READ, _PCRS, _QUOTE = 0x169, 0x14E, 0x17E, 0x158


def nv_index(vm: SimulatedVm) -> bytes:
    """The content of the NV index of a simulated machine."""
    report = TD_REPORT if vm.tdx else vm.hardware[:REPORT_BYTES]
    data = struct.pack("<5I", 20 + len(vm.runtime), 1, 4 if vm.tdx else 2, 1, len(vm.runtime))
    size = 32 + REPORT_BYTES + len(data) + len(vm.runtime)
    head = struct.pack("<4s7I", b"HCLA", 2, size, 2, 0, 0, 0, 0)
    return head + report.ljust(REPORT_BYTES, b"\0") + data + vm.runtime


@dataclass
class Vtpm:
    """The virtual TPM of a simulated machine, as far as evidence needs it.

    Attributes:
        vm: The machine.
        content: What its NV index holds.
        extended: Values of PCR 11, each of which it has for one more reading.
    """

    vm: SimulatedVm
    content: bytes = b""
    extended: list[bytes] = field(default_factory=list)

    def exchange(self, command: bytes, limit: int) -> bytes:
        """Answers the four commands."""
        (code,) = struct.unpack(">I", command[6:10])
        content = self.content or nv_index(self.vm)
        if code == _READ_PUBLIC:
            assert struct.unpack(">I", command[10:14]) == (REPORT_INDEX,)
            return _answer(_sized(bytes(12) + struct.pack(">H", len(content))) + _sized(b""), limit)
        if code == _READ:
            size, place = struct.unpack(">HH", command[-4:])
            return _answer(_parameters(_sized(content[place : place + size])), limit)
        chosen = int.from_bytes(command[-3:], "little")
        numbers = tuple(number for number in range(24) if chosen >> number & 1)
        if code == _PCRS:
            return self._pcrs(command[-10:], numbers, limit)
        assert code == _QUOTE
        data = command[10 + 4 + 4 + 9 + 2 : -10 - 4]
        quoted = self.vm.quote(data, numbers)
        body = _sized(quoted.message) + b"\0\x14\0\x0b" + _sized(quoted.signature)
        return _answer(_parameters(body), limit)

    def _pcrs(self, selection: bytes, numbers: tuple[int, ...], limit: int) -> bytes:
        numbers = numbers[:8]  # a TPM gives no more at once
        values = self.vm.values(numbers)
        if self.extended and 11 in values:
            values[11] = self.extended.pop(0)
        chosen = sum(1 << number for number in numbers).to_bytes(3, "little")
        body = bytes(4) + selection[:7] + chosen + struct.pack(">I", len(numbers))
        return _answer(body + b"".join(map(_sized, values.values())), limit)


def _sized(octets: bytes) -> bytes:
    return struct.pack(">H", len(octets)) + octets


def _parameters(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body + b"\0\0\1\0\0"


def _answer(body: bytes, limit: int) -> bytes:
    return (struct.pack(">HII", 0x8001, 10 + len(body), 0) + body)[:limit]
