"""The simulated Azure guest: a paravisor and a virtual TPM above simulated hardware. It proves nothing.

Every field of :class:`SimulatedVm` describes one property of the machine, so a forged variant is
``dataclasses.replace(SimulatedVm(), secure_boot=False)``. The package's measurement is extended into
the PCR that a unified kernel image is measured into; all others are as after a reset, unless given.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from coterie.attestation.tee.base import TeeDescription
from coterie.attestation.tee.checking import require_report_data
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import TdFields, tdx_quote
from coterie.attestation.tee.simulated.rsa import tpm_key
from coterie.attestation.tee.simulated.snp_vendor import GuestFields, SimulatedAmd
from coterie.attestation.tee.tpm import Quoted
from coterie.attestation.vtpm.contracted import PROGRAM_PCR, extended
from coterie.attestation.vtpm.quote import encode_vtpm_quote, qualifying_data
from coterie.attestation.vtpm.tpm_quote import PCRS
from coterie.kinds import TeeKind

PARAVISOR = hashlib.sha384(b"coterie simulated paravisor").digest()
_GUEST = GuestFields(PARAVISOR)
_TD = TdFields(PARAVISOR, td_attributes=0)
_SHA256_BANK = struct.pack(">IHB", 1, 0x000B, PCRS // 8)


@dataclass(frozen=True)
class SimulatedVm:
    """A confidential VM of the simulated cloud.

    Attributes:
        tdx: Whether TDX is below the paravisor; else SNP.
        amd: The simulated AMD and its platform.
        pki: The simulated vendor of TD quotes, and its platform.
        guest: What SNP reports of the paravisor.
        td: What TDX reports of it.
        bound: What the hardware's report is over, if not the runtime data.
        key: Label of the virtual TPM's attestation key.
        signer: Label of the key that signs its quotes, if another one.
        secure_boot: Whether the paravisor says that Secure Boot is on.
        console: Whether it says that the host has a console.
        pcrs: PCRs that are not zero, by number.
    """

    tdx: bool = False
    amd: SimulatedAmd = field(default_factory=SimulatedAmd)
    pki: SimulatedPki = field(default_factory=lambda: SimulatedPki(tee="TDX"))
    guest: GuestFields = _GUEST
    td: TdFields = _TD
    bound: bytes | None = None
    key: str = "vtpm"
    signer: str | None = None
    secure_boot: bool = True
    console: bool = False
    pcrs: Mapping[int, bytes] = field(default_factory=dict)

    @cached_property
    def modulus(self) -> int:
        """That of the attestation key."""
        return tpm_key(self.key).public_key().public_numbers().n

    @cached_property
    def runtime(self) -> bytes:
        """The paravisor's runtime data, in the form that Azure's have."""
        modulus = self.modulus.to_bytes(256, "big")
        key = {
            "kid": "HCLAkPub",
            "key_ops": ["sign"],
            "kty": "RSA",
            "e": "AQAB",
            "n": base64.urlsafe_b64encode(modulus).rstrip(b"=").decode(),
        }
        machine = {
            "console-enabled": self.console,
            "secure-boot": self.secure_boot,
            "tpm-enabled": True,
            "vmUniqueId": "00000000-0000-0000-0000-000000000000",
        }
        said = {"keys": [key], "vm-configuration": machine, "user-data": "00" * 64}
        return json.dumps(said, separators=(",", ":")).encode()

    @cached_property
    def hardware(self) -> bytes:
        """Evidence of the hardware over the runtime data, as the paravisor got it at boot."""
        digest = hashlib.sha256(self.runtime).digest() + bytes(32)
        data = digest if self.bound is None else self.bound
        if self.tdx:
            return tdx_quote(self.pki, replace(self.td, report_data=data).encode())
        return self.amd.evidence(replace(self.guest, report_data=data))

    def values(self, numbers: tuple[int, ...]) -> dict[int, bytes]:
        """PCRs."""
        return {number: self.pcrs.get(number, bytes(32)) for number in numbers}

    def quote(self, extra_data: bytes, numbers: tuple[int, ...]) -> Quoted:
        """The TPM's quote of PCRs."""
        digest = hashlib.sha256(b"".join(self.values(numbers).values())).digest()
        name = b"\0\x0b" + hashlib.sha256(self.key.encode()).digest()
        chosen = sum(1 << number for number in numbers).to_bytes(PCRS // 8, "little")
        message = (
            struct.pack(">IHH", 0xFF544347, 0x8018, len(name))
            + name
            + struct.pack(">H", len(extra_data))
            + extra_data
            + struct.pack(">QIIBQ", 0, 1, 0, 1, 0)
            + _SHA256_BANK
            + chosen
            + struct.pack(">H", len(digest))
            + digest
        )
        return self.sign(message)

    def sign(self, message: bytes) -> Quoted:
        """A message under the TPM's signature."""
        key = tpm_key(self.signer or self.key)
        return Quoted(message, key.sign(message, padding.PKCS1v15(), SHA256()))

    def evidence(self, report_data: bytes, numbers: tuple[int, ...]) -> bytes:
        """Evidence of the guest over 64 bytes of its program."""
        quoted = self.quote(qualifying_data(report_data), numbers)
        return encode_vtpm_quote(
            self.hardware,
            runtime=self.runtime,
            message=quoted.message,
            signature=quoted.signature,
            pcrs=self.values(numbers),
            report_data=report_data,
        )


class SimulatedAzureTee:
    """An Azure guest for machines that are none.

    Args:
        measurement: The package's measurement, 32 bytes.
        vm: The machine, without the program; by default one above SNP.
        pcrs: The PCRs that are quoted, beside the program's.
    """

    def __init__(
        self, measurement: bytes, *, vm: SimulatedVm | None = None, pcrs: tuple[int, ...] = ()
    ) -> None:
        if len(measurement) != 32:
            raise ValueError("a measurement has 32 bytes")
        vm = vm or SimulatedVm()
        self._measurement = measurement
        self._vm = replace(vm, pcrs={**vm.pcrs, PROGRAM_PCR: extended(measurement)})
        self._pcrs = tuple(sorted({*pcrs, PROGRAM_PCR}))

    @property
    def kind(self) -> TeeKind:
        """``simulated-azure-snp`` or ``simulated-azure-tdx``."""
        return "simulated-azure-tdx" if self._vm.tdx else "simulated-azure-snp"

    def quote(self, report_data: bytes) -> bytes:
        """Evidence over 64 bytes of report data; its signing keys are public knowledge."""
        require_report_data(report_data)
        return self._vm.evidence(report_data, self._pcrs)

    def describe(self) -> TeeDescription:
        """Describes the simulation for people."""
        return TeeDescription(
            kind=self.kind,
            measurement=self._measurement.hex(),
            details="SIMULATED: hardware and TPM sign by keys that everybody knows; they prove nothing",
        )
