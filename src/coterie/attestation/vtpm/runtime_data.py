"""The paravisor's runtime data: the virtual TPM's attestation key, and how the VM is configured.

They are JSON that the hardware's report binds by its SHA-256, so the paravisor, whose measurement is
among the reference values, has written every byte of them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric import rsa

from coterie.canonical import each_name_once
from coterie.errors import EvidenceRefused

MAX_RUNTIME_BYTES = 4096
_KEY_ID = "HCLAkPub"
_EXPONENT = 65537
_MODULUS_BYTES = 256
_FIELDS = frozenset({"keys", "vm-configuration", "user-data"})

_refused = partial(
    EvidenceRefused,
    "runtime_data_format",
    "the paravisor's runtime data are malformed",
    remedy="update Coterie if the cloud has changed their form; otherwise find out who made them",
)


@dataclass(frozen=True)
class RuntimeData:
    """What the paravisor says.

    Attributes:
        attestation_key: Public key by which the virtual TPM signs quotes; RSA, 2,048 bits.
        secure_boot: Whether UEFI Secure Boot is on.
        console: Whether the host has a serial console of the VM.
    """

    attestation_key: rsa.RSAPublicKey
    secure_boot: bool
    console: bool

    @classmethod
    def parse(cls, data: bytes) -> RuntimeData:
        """Reads them.

        Raises:
            EvidenceRefused: They have another form (check ``runtime_data_format``), or not one
                attestation key of 2,048 bits (check ``tpm_key``).
        """
        if len(data) > MAX_RUNTIME_BYTES:
            raise _refused(f"at most {MAX_RUNTIME_BYTES} bytes", f"{len(data)} bytes")
        try:
            read = json.loads(data, object_pairs_hook=each_name_once)
        except (ValueError, RecursionError) as error:
            raise _refused("JSON in which no name occurs twice", str(error)[:100]) from error
        if not isinstance(read, dict) or not set(read) <= _FIELDS:
            raise _refused(", ".join(sorted(_FIELDS)), _said(read))
        machine = read.get("vm-configuration")
        if not isinstance(machine, dict):
            raise _refused("an object vm-configuration", _said(machine))
        return cls(
            _key(read.get("keys")), _flag(machine, "secure-boot"), _flag(machine, "console-enabled")
        )


def verify_binding(data: bytes, report_data: bytes) -> None:
    """Checks that a hardware report was made over runtime data.

    Args:
        data: The runtime data.
        report_data: 64 bytes that the report signs.

    Raises:
        EvidenceRefused: It was not (check ``runtime_data_binding``).
    """
    expected = hashlib.sha256(data).digest() + bytes(32)
    if not hmac.compare_digest(report_data, expected):
        raise EvidenceRefused(
            "runtime_data_binding",
            "the hardware's report is not over these runtime data",
            expected=f"report data {expected.hex()}",
            seen=report_data.hex(),
            remedy="send report and runtime data of the same VM, from the same NV index",
        )


def _said(value: object) -> str:
    names = sorted(value) if isinstance(value, dict) else type(value).__name__
    return str(names)[:100]


def _flag(machine: dict[str, object], name: str) -> bool:
    value = machine.get(name)
    if not isinstance(value, bool):
        raise _refused(f"vm-configuration with {name}: true or false", _said(value))
    return value


def _key(keys: object) -> rsa.RSAPublicKey:
    found = (
        [key for key in keys if isinstance(key, dict) and key.get("kid") == _KEY_ID]
        if (isinstance(keys, list))
        else []
    )
    if len(found) != 1:
        raise _key_refused(f"{len(found)} of them")
    (key,) = found
    if (key.get("kty"), key.get("key_ops")) != ("RSA", ["sign"]):
        raise _key_refused("a key for something else")
    exponent, modulus = _number(key.get("e")), _number(key.get("n"))
    if exponent != _EXPONENT or modulus.bit_length() != 8 * _MODULUS_BYTES or modulus % 2 == 0:
        raise _key_refused(f"exponent {exponent}, {modulus.bit_length()} bits")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _number(text: object) -> int:
    """Reads base64url without padding, in the one form that its bytes have (RFC 7515, 2)."""
    if not isinstance(text, str) or len(text) > 2 * _MODULUS_BYTES:
        raise _key_refused("no base64url")
    try:
        octets = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError as error:
        raise _key_refused("no base64url") from error
    if base64.urlsafe_b64encode(octets).rstrip(b"=") != text.encode():
        raise _key_refused("base64url in another form")
    return int.from_bytes(octets)


def _key_refused(seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        "tpm_key",
        "the runtime data hold no attestation key of the virtual TPM",
        expected=f"one RSA key {_KEY_ID} of 2,048 bits, exponent 65537, for signatures",
        seen=seen,
        remedy="use an Azure confidential VM whose paravisor makes such a key",
    )
