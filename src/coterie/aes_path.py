"""Which instructions OpenSSL uses for AES-GCM, and whether a newer OpenSSL would use better ones.

Sealing and opening records is most of what TLS costs a TensorFlow cluster, and much of what it
costs an exchange. OpenSSL 3.1 has AES-GCM for processors with VAES and AVX-512, which is more than
twice as fast as AES-NI.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_VAES_SINCE: Final = (3, 1)  # ossl_vaes_vpclmulqdq_capable, crypto/modes/asm/aes-gcm-avx512.pl

# Bits of OPENSSL_ia32cap(3): its first number is EDX and ECX of CPUID leaf 1, its second one EBX and
# ECX of leaf 7.
_AES_NI: Final = 1 << 57 | 1 << 33  # AESNI, PCLMULQDQ
_AVX_512: Final = 1 << 16 | 1 << 17 | 1 << 30 | 1 << 31  # F, DQ, BW, VL
_VAES: Final = _AVX_512 | 1 << 41 | 1 << 42  # VAES, VPCLMULQDQ

# The same as Linux calls them.
_VAES_FLAGS: Final = frozenset(
    {"avx512f", "avx512bw", "avx512dq", "avx512vl", "vaes", "vpclmulqdq"}
)

# Bits of OPENSSL_armcap: ARMV8_AES, ARMV8_PMULL (crypto/arm_arch.h).
_ARM_AES: Final = 1 << 2 | 1 << 5
_NONE: Final = "no AES instructions"


@dataclass(frozen=True)
class AesPath:
    """How AES-GCM is computed.

    Attributes:
        openssl: OpenSSL's name and version.
        instructions: What it uses.
        hint: What would be faster on this processor; empty if nothing is known.
    """

    openssl: str
    instructions: str
    hint: str = ""


def aes_path(version: str, processor: str) -> AesPath:
    """What OpenSSL uses, from what it says of itself and of the processor.

    Args:
        version: ``OpenSSL_version(OPENSSL_VERSION)``, such as "OpenSSL 3.0.19 27 Jan 2026".
        processor: ``OPENSSL_info(OPENSSL_INFO_CPU_SETTINGS)``, which counts what the environment
            variable OPENSSL_ia32cap turns off.
    """
    if arm := re.search(r"OPENSSL_armcap=0x([0-9a-f]+)", processor):
        return _path(version, "ARMv8 AES" if int(arm[1], 16) & _ARM_AES == _ARM_AES else _NONE)
    found = re.search(r"OPENSSL_ia32cap=0x([0-9a-f]+):0x([0-9a-f]+)", processor)
    first, second = (int(found[1], 16), int(found[2], 16)) if found else (0, 0)
    if first & _AES_NI != _AES_NI:
        return _path(version, _NONE if found else "instructions unknown")
    return _path(version, "VAES" if second & _VAES == _VAES else "AES-NI")


def aes_path_by_kernel(version: str, cpuinfo: str) -> AesPath:
    """What an OpenSSL uses that cannot be asked, from what Linux says of the processor.

    Args:
        version: As for `aes_path`.
        cpuinfo: Text of ``/proc/cpuinfo``; empty if unknown.
    """
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    flags = frozenset(found[1].split()) if found else frozenset()
    if {"aes", "pmull"} <= flags:
        return _path(version, "ARMv8 AES")
    if not {"aes", "pclmulqdq"} <= flags:
        return _path(version, _NONE if found else "instructions unknown")
    return _path(version, "VAES" if flags >= _VAES_FLAGS else "AES-NI")


def _path(version: str, best: str) -> AesPath:
    """The path of a processor whose best instructions these are."""
    numbered = re.match(r"\S+ (\d+)\.(\d+)", version)
    release = (int(numbered[1]), int(numbered[2])) if numbered else (0, 0)
    openssl = " ".join(version.split()[:2])
    if best == "VAES" and release < _VAES_SINCE:
        return AesPath(openssl, "AES-NI", "OpenSSL 3.1 or newer uses this processor's VAES")
    return AesPath(openssl, best)
