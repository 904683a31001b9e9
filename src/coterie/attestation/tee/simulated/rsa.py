"""RSA keys of the simulated AMD vendor, publisher of firmware and virtual TPMs, derived from the public seed, and reproducible signatures.

The primes of a key are the first ones after two numbers that derive from the seed and the key's
label. How far after them stands here, since the search takes seconds.

Source: RFC 8017, 9.1.1 (EMSA-PSS).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import rsa

from coterie.attestation.tee.simulated.keys import PUBLIC_SEED

_EXPONENT = 65537
_KEY_BYTES, _HASH_BYTES = 512, 48
_DISTANCES = {
    "ark Milan": (614, 186),
    "ask Milan": (42, 404),
    "asvk Milan": (2330, 998),
    "ark Genoa": (1212, 436),
    "ask Genoa": (1022, 1842),
    "asvk Genoa": (208, 450),
    "ark Turin": (240, 3470),
    "ask Turin": (2680, 1416),
    "asvk Turin": (28, 394),
    "stranger": (3918, 592),
}
_OF_TPMS = {"vtpm": (462, 212), "another vtpm": (718, 224)}
_OF_PUBLISHERS = {
    "publisher root": (362, 434),
    "publisher signer": (2072, 134),
    "another publisher root": (800, 234),
    "another publisher signer": (404, 674),
}


@lru_cache(maxsize=len(_DISTANCES))
def rsa_key(label: str) -> rsa.RSAPrivateNumbers:
    """The key of 4096 bits with a label; public knowledge."""
    return _key(label, _DISTANCES[label], 256)


@lru_cache(maxsize=len(_OF_TPMS))
def tpm_key(label: str) -> rsa.RSAPrivateKey:
    """The attestation key of 2048 bits of a virtual TPM; public knowledge."""
    return _key(label, _OF_TPMS[label], 128).private_key()


@lru_cache(maxsize=len(_OF_PUBLISHERS))
def publisher_key(label: str) -> rsa.RSAPrivateKey:
    """A key of 2048 bits of the simulated publisher of firmware; public knowledge."""
    return _key(label, _OF_PUBLISHERS[label], 128).private_key()


def _key(label: str, distances: tuple[int, int], octets: int) -> rsa.RSAPrivateNumbers:
    p, q = (
        _beginning(label, which, octets) + distance
        for which, distance in zip("pq", distances, strict=True)
    )
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p,
        q,
        d,
        rsa.rsa_crt_dmp1(d, p),
        rsa.rsa_crt_dmq1(d, q),
        rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(_EXPONENT, p * q),
    )


def sign_pss(key: rsa.RSAPrivateNumbers, message: bytes) -> bytes:
    """Signs by RSASSA-PSS with SHA-384 and a salt of 48 bytes that derives from the message."""
    digest = hashlib.sha384(message).digest()
    salt = hashlib.sha384(b"salt" + digest).digest()
    hashed = hashlib.sha384(bytes(8) + digest + salt).digest()
    data = (b"\1" + salt).rjust(_KEY_BYTES - _HASH_BYTES - 1, b"\0")
    masked = bytes(a ^ b for a, b in zip(data, _mask(hashed, len(data)), strict=True))
    encoded = bytes((masked[0] & 0x7F,)) + masked[1:] + hashed + b"\xbc"
    number = int.from_bytes(encoded, "big")
    at_p, at_q = pow(number, key.dmp1, key.p), pow(number, key.dmq1, key.q)
    signature = at_q + key.q * (key.iqmp * (at_p - at_q) % key.p)
    return signature.to_bytes(_KEY_BYTES, "big")


def _beginning(label: str, which: str, octets: int) -> int:
    material = PUBLIC_SEED + f" {label} {which}".encode()
    raw = hashlib.shake_256(material).digest(octets)
    return int.from_bytes(raw, "big") | 3 << (8 * octets - 2) | 1


def _mask(seed: bytes, size: int) -> bytes:
    blocks = -(-size // _HASH_BYTES)
    return b"".join(hashlib.sha384(seed + i.to_bytes(4, "big")).digest() for i in range(blocks))[
        :size
    ]
