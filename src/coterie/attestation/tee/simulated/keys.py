"""The keys of the simulated PKI: derived from a public seed, insecure by design.

Anyone can derive them, so a simulated quote proves nothing. In return, all processes and machines
share one simulated root without exchanging files, and signatures are reproducible.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

PUBLIC_SEED = b"coterie simulated TEE: these keys are public, they prove nothing"

# Order of the group of NIST P-256 (SEC 2, 2.4.2).
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@lru_cache(maxsize=256)
def derive_key(seed: bytes, label: str) -> ec.EllipticCurvePrivateKey:
    """Derives a P-256 key from a seed and a label."""
    material = hashlib.sha512(len(seed).to_bytes(4, "big") + seed + label.encode()).digest()
    return ec.derive_private_key(
        int.from_bytes(material, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1()
    )


def sign_raw(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Signs with deterministic ECDSA (RFC 6979, SHA-256); r and s, 32 bytes each."""
    der = key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as quotes carry it: x and y, 32 bytes each, big-endian."""
    numbers = key.public_key().public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
