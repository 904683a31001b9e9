"""A client of a TPM 2.0: the four commands that evidence needs, on the kernel's ``/dev/tpmrm0``.

A command is one write, its response one read. The TPM belongs to the host, so its answers are
bounded and read strictly; whether they are genuine, the verifier of the evidence finds out.

Source: TCG, Trusted Platform Module Library, part 3: TPM2_NV_ReadPublic (31.6), TPM2_NV_Read (31.13),
TPM2_PCR_Read (22.4), TPM2_Quote (18.4); part 1, 19 (sessions); part 2, 6.6 (response codes).
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from coterie.attestation.vtpm.tpm_quote import PCR_BYTES, PCRS, SHA256_ALGORITHM
from coterie.attestation.vtpm.tpm_reader import TpmReader
from coterie.errors import EnvironmentUnfit

DEVICE = "dev/tpmrm0"
_MOST_RESPONSE_BYTES = 4096
_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002
_NV_READ_PUBLIC, _NV_READ, _PCR_READ, _QUOTE = 0x169, 0x14E, 0x17E, 0x158
_OWNER = 0x40000001
# An empty password: session handle, nonce, attributes, authorization value (part 1, 19.4).
_EMPTY_PASSWORD = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
_RSASSA = 0x0014
_RETRY = 0x922
_ATTEMPTS = 5
_NV_CHUNK = 512  # bytes that every TPM gives at once
_MOST_NV_BYTES = 1 << 13
_MOST_SIGNATURE_BYTES = 512


class TpmDevice(Protocol):
    """Carries commands to a TPM."""

    def exchange(self, command: bytes, limit: int) -> bytes:
        """Sends a command; returns the response, at most ``limit`` bytes. May raise ``OSError``."""
        ...


class KernelTpm:
    """The kernel's TPM with its resource manager.

    Args:
        root: Root of the file tree.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._path = root / DEVICE

    def exchange(self, command: bytes, limit: int) -> bytes:
        """Opens the device for one command, so that nothing of an earlier one is read."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.write(descriptor, command) != len(command):
                raise OSError(errno.EIO, "a part of a command was taken")
            return os.read(descriptor, limit)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Quoted:
    """What a TPM has quoted.

    Attributes:
        message: TPMS_ATTEST.
        signature: RSASSA-PKCS1-v1_5 with SHA-256 over it.
    """

    message: bytes
    signature: bytes


class Tpm:
    """A TPM.

    Args:
        device: Carries commands to it.
    """

    def __init__(self, device: TpmDevice) -> None:
        self._device = device

    def read_nv(self, index: int) -> bytes:
        """Reads an NV index that the owner may read without a password.

        Raises:
            EnvironmentUnfit: The TPM is missing, fails, or has no such index.
        """
        handle = struct.pack(">I", index)
        public = self._command("read an NV index", _NV_READ_PUBLIC, handle)
        described = public.sized()
        if len(described) < 2:
            raise _malformed("an NV index's description")
        (size,) = struct.unpack(">H", described[-2:])
        if size > _MOST_NV_BYTES:
            raise _malformed(f"an NV index of at most {_MOST_NV_BYTES} bytes", f"{size} bytes")
        octets = b""
        while len(octets) < size:
            wanted = min(_NV_CHUNK, size - len(octets))
            where = struct.pack(">HH", wanted, len(octets))
            owner = struct.pack(">I", _OWNER)
            part = self._authorized("read an NV index", _NV_READ, owner + handle, where).sized()
            if len(part) != wanted:
                raise _malformed(f"{wanted} bytes of an NV index", f"{len(part)} bytes")
            octets += part
        return octets

    def read_pcrs(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Reads PCRs of the SHA-256 bank: 32 bytes each, by number.

        Raises:
            EnvironmentUnfit: The TPM is missing or fails, or has no such PCRs.
        """
        values: dict[int, bytes] = {}
        while missing := [number for number in numbers if number not in values]:
            read = self._command("read PCRs", _PCR_READ, _selection(missing))
            read.take(
                4
            )  # how often PCRs were changed: the quote shows whether these are its values
            selected = _selected(read.take(len(_selection([]))))
            (count,) = struct.unpack(">I", read.take(4))
            if not selected or count != len(selected) or not set(selected) <= set(missing):
                raise _malformed(f"PCRs {missing}", f"PCRs {selected}, {count} values")
            for number in selected:
                values[number] = read.sized()
                if len(values[number]) != PCR_BYTES:
                    raise _malformed("PCRs of SHA-256", f"{len(values[number])} bytes")
        return {number: values[number] for number in sorted(values)}

    def quote(self, key: int, extra_data: bytes, numbers: Sequence[int]) -> Quoted:
        """Quotes PCRs of the SHA-256 bank by a key without a password.

        Args:
            key: Handle of a persistent RSA key.
            extra_data: The caller's data, at most 32 bytes.
            numbers: The PCRs.

        Raises:
            EnvironmentUnfit: The TPM is missing or fails, or has no such key.
        """
        asked = struct.pack(">H", len(extra_data)) + extra_data
        scheme = struct.pack(">HH", _RSASSA, SHA256_ALGORITHM)
        said = self._authorized(
            "quote", _QUOTE, struct.pack(">I", key), asked + scheme + _selection(numbers)
        )
        message = said.sized()
        if said.take(4) != scheme:
            raise _malformed("a signature by RSASSA with SHA-256")
        signature = said.sized()
        if len(signature) > _MOST_SIGNATURE_BYTES:
            raise _malformed("a signature", f"{len(signature)} bytes")
        return Quoted(message, signature)

    def _authorized(self, action: str, code: int, handles: bytes, parameters: bytes) -> TpmReader:
        session = struct.pack(">I", len(_EMPTY_PASSWORD)) + _EMPTY_PASSWORD
        response = self._command(action, code, handles + session + parameters, _SESSIONS)
        (length,) = struct.unpack(">I", response.take(4))
        return TpmReader(response.take(length), _malformed)

    def _command(self, action: str, code: int, body: bytes, tag: int = _NO_SESSIONS) -> TpmReader:
        command = struct.pack(">HII", tag, 10 + len(body), code) + body
        for _ in range(_ATTEMPTS):
            response = TpmReader(self._exchanged(action, command), _malformed)
            _, size, result = struct.unpack(">HII", response.take(10))
            if size != 10 + len(response.octets):
                raise _malformed(f"a response of {size} bytes", f"{10 + len(response.octets)}")
            if result == 0:
                return response
            if result != _RETRY:
                break
        raise EnvironmentUnfit(
            f"the TPM failed to {action}",
            expected="a virtual TPM as Azure's confidential VMs have it",
            seen=f"response code {result:#x}",
            remedy="run `coterie doctor` on this machine; it tells what is missing",
        )

    def _exchanged(self, action: str, command: bytes) -> bytes:
        try:
            return self._device.exchange(command, _MOST_RESPONSE_BYTES)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, "unknown error")
            raise EnvironmentUnfit(
                f"the TPM failed to {action}",
                expected=f"a TPM at /{DEVICE}, which this user may use",
                seen=f"{name}: {error.strerror or error}",
                remedy="run `coterie doctor` on this machine; it tells what is missing",
            ) from error


def _selection(numbers: Sequence[int]) -> bytes:
    """TPML_PCR_SELECTION of one bank."""
    chosen = sum(1 << number for number in set(numbers))
    head = struct.pack(">IHB", 1, SHA256_ALGORITHM, PCRS // 8)
    return head + chosen.to_bytes(PCRS // 8, "little")


def _selected(selection: bytes) -> list[int]:
    head, chosen = selection[:-3], int.from_bytes(selection[-3:], "little")
    if head != _selection([])[:-3]:
        raise _malformed("a selection of PCRs of SHA-256")
    return [number for number in range(PCRS) if chosen >> number & 1]


def _malformed(expected: str, seen: str = "something else") -> EnvironmentUnfit:
    return EnvironmentUnfit(
        "the TPM gave an answer that is malformed",
        expected=expected,
        seen=seen,
        remedy="run the node where the virtual TPM is the cloud's own",
    )
