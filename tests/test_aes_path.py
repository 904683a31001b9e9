"""The AES instructions in use are told from what OpenSSL says of itself and of the processor."""

from __future__ import annotations

import pytest

from coterie.aes_path import AesPath, aes_path, aes_path_by_kernel

# As OpenSSL's own command says them: `openssl version`, `openssl info -cpusettings`.
OLD, NEW = "OpenSSL 3.0.19 27 Jan 2026", "OpenSSL 3.5.8 25 Aug 2026"
WIDE = "OPENSSL_ia32cap=0xfffa3203078bffff:0x405fc6f1bf07ab"
WIDE_NEW = f"{WIDE}:0x0000002000000010:0x0000000000000000:0x0000000000000000"
HINT = "OpenSSL 3.1 or newer uses this processor's VAES"


@pytest.mark.parametrize(
    ("version", "processor", "expected"),
    [
        (OLD, WIDE, AesPath("OpenSSL 3.0.19", "AES-NI", HINT)),
        (NEW, WIDE_NEW, AesPath("OpenSSL 3.5.8", "VAES")),
        ("OpenSSL 3.1.0 14 Mar 2023", WIDE, AesPath("OpenSSL 3.1.0", "VAES")),
        ("OpenSSL 4.0.3 1 Sep 2026", WIDE_NEW, AesPath("OpenSSL 4.0.3", "VAES")),
        # VAES turned off, and AVX-512: OPENSSL_ia32cap=:~0x60000000000 and :~0x10000.
        (
            NEW,
            "OPENSSL_ia32cap=0xfffa3203078bffff:0x004059c6f1bf07ab env::~0x60000000000",
            AesPath("OpenSSL 3.5.8", "AES-NI"),
        ),
        (
            NEW,
            "OPENSSL_ia32cap=0xfffa3203078bffff:0x00405fc6f1be07ab env::~0x10000",
            AesPath("OpenSSL 3.5.8", "AES-NI"),
        ),
        # AES-NI and PCLMULQDQ turned off.
        (
            OLD,
            "OPENSSL_ia32cap=0xfdfa3201078bffff:0x0 env:~0x200000200000000",
            AesPath("OpenSSL 3.0.19", "no AES instructions"),
        ),
        (NEW, "OPENSSL_armcap=0xbd", AesPath("OpenSSL 3.5.8", "ARMv8 AES")),
        (NEW, "OPENSSL_armcap=0x1", AesPath("OpenSSL 3.5.8", "no AES instructions")),
        (NEW, "N/A", AesPath("OpenSSL 3.5.8", "instructions unknown")),
        ("something else", WIDE, AesPath("something else", "AES-NI", HINT)),
    ],
)
def test_what_openssl_says_is_read(version: str, processor: str, expected: AesPath) -> None:
    assert aes_path(version, processor) == expected


# Lines of /proc/cpuinfo: an AMD EPYC, and an Arm Neoverse.
EPYC = (
    "flags\t\t: fpu aes pclmulqdq avx512f avx512dq avx512bw avx512vl vaes vpclmulqdq\nbugs\t\t:\n"
)
NEOVERSE = "BogoMIPS\t: 243.75\nFeatures\t: fp asimd aes pmull sha1 sha2 crc32\n"


@pytest.mark.parametrize(
    ("version", "cpuinfo", "expected"),
    [
        (NEW, EPYC, AesPath("OpenSSL 3.5.8", "VAES")),
        (OLD, EPYC, AesPath("OpenSSL 3.0.19", "AES-NI", HINT)),
        (NEW, EPYC.replace("vaes", ""), AesPath("OpenSSL 3.5.8", "AES-NI")),
        (NEW, EPYC.replace("avx512bw", ""), AesPath("OpenSSL 3.5.8", "AES-NI")),
        (NEW, EPYC.replace("pclmulqdq", ""), AesPath("OpenSSL 3.5.8", "no AES instructions")),
        (NEW, NEOVERSE, AesPath("OpenSSL 3.5.8", "ARMv8 AES")),
        (NEW, NEOVERSE.replace("aes", ""), AesPath("OpenSSL 3.5.8", "no AES instructions")),
        (NEW, "", AesPath("OpenSSL 3.5.8", "instructions unknown")),
    ],
)
def test_what_linux_says_is_read(version: str, cpuinfo: str, expected: AesPath) -> None:
    assert aes_path_by_kernel(version, cpuinfo) == expected
