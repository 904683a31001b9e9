"""The report in an Azure VM's NV index: strict framing, and runtime data that the hardware's report binds."""

from __future__ import annotations

import hashlib
import json
import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coterie.attestation.vtpm.hcl_report import MAX_HCL_REPORT_BYTES, HclReport
from coterie.attestation.vtpm.runtime_data import RuntimeData, verify_binding
from coterie.errors import EvidenceRefused
from tests.attestation.vtpm.vectors import NAMES, vector

ROOM = slice(32, 32 + 1184)  # of the hardware's report


def made(
    *,
    signature: bytes = b"HCLA",
    version: int = 2,
    request: int = 2,
    status: int = 0,
    kind: int = 2,
    data_version: int = 1,
    hashed: int = 1,
    runtime: bytes = b"{}",
    size: int | None = None,
    length: int | None = None,
    report: bytes = bytes(1184),
    padding: bytes = bytes(100),
) -> bytes:
    """A report as the paravisor writes it, or one that it does not."""
    end = 32 + 1184 + 20 + len(runtime)
    head = struct.pack("<4s7I", signature, version, size or end, request, status, 0, 0, 0)
    length = 20 + len(runtime) if length is None else length
    data = struct.pack("<5I", length, data_version, kind, hashed, len(runtime))
    return head + report + data + runtime + padding


@pytest.mark.parametrize("name", NAMES)
def test_real_runtime_data_are_bound_by_the_hardwares_report(name: str) -> None:
    real = vector(name)
    assert real.report.is_tdx == ("tdx" in name)
    verify_binding(real.report.runtime, real.report_data)
    assert real.runtime.attestation_key.key_size == 2048
    assert real.runtime.secure_boot
    assert real.runtime.console


@pytest.mark.parametrize("name", NAMES)
def test_every_changed_bit_outside_of_the_hardwares_report_is_refused(name: str) -> None:
    """Those inside are for whoever verifies that report."""
    real = vector(name)
    places = [at for at in range(len(real.nv_index)) if not ROOM.start <= at < ROOM.stop]
    for at in places:
        for bit in range(8):
            changed = bytearray(real.nv_index)
            changed[at] ^= 1 << bit
            with pytest.raises(EvidenceRefused) as refused:
                verify_binding(HclReport.parse(bytes(changed)).runtime, real.report_data)
            assert refused.value.failed_check in {"hcl_report_format", "runtime_data_binding"}


def test_a_report_is_read_with_padding_or_without() -> None:
    for padding in (b"", bytes(1000)):
        read = HclReport.parse(made(report=b"r" * 1184, runtime=b"{1}", padding=padding))
        assert (read.hardware_report, read.is_tdx, read.runtime) == (b"r" * 1184, False, b"{1}")
    tdx = HclReport.parse(made(kind=4, report=b"r" * 1024 + bytes(160)))
    assert (tdx.hardware_report, tdx.is_tdx) == (b"r" * 1024, True)


@pytest.mark.parametrize(
    ("data", "expected", "seen"),
    [
        (b"", f"at most {MAX_HCL_REPORT_BYTES} bytes", "0 bytes"),
        (bytes(9000), f"at most {MAX_HCL_REPORT_BYTES} bytes", "9000 bytes"),
        (made(signature=b"HCLB"), "HCLA, version 1 or 2", "48434c42, version 2"),
        (made(version=3), "HCLA, version 1 or 2", "48434c41, version 3"),
        (made(request=1), "the answer to a request of type 2", "type 1, status 0"),
        (made(status=7), "the answer to a request of type 2", "type 2, status 7"),
        (made(kind=3), "a report of SEV-SNP (2) or TDX (4)", "type 3"),
        (made(data_version=2), "data of version 1, hashed with SHA-256", "version 2, hash 1"),
        (made(hashed=2), "data of version 1, hashed with SHA-256", "version 1, hash 2"),
        (made(size=1200), "lengths that add up", "1200, 22 and 2 bytes"),
        (made(length=23), "lengths that add up", "1238, 23 and 2 bytes"),
        (made(padding=b"")[:-1], "lengths that add up", "1238, 22 and 2 bytes"),
        (made(runtime=bytes(4097)), "at most 4096 bytes of data", "4097 bytes"),
        (made(padding=b"\0\1"), "nothing but NUL padding beside the report", "other bytes"),
        (made(kind=4, report=b"r" * 1184), "nothing but NUL padding beside the report", "other bytes"),
    ],
)  # fmt: skip
def test_what_has_another_form_is_refused(data: bytes, expected: str, seen: str) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        HclReport.parse(data)
    error = refused.value
    assert (error.failed_check, error.expected, error.seen) == ("hcl_report_format", expected, seen)


@given(st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(EvidenceRefused):
        HclReport.parse(data)


N = "qR7L" + "q" * 338  # 2,048 bits, an odd number at its end
KEY: dict[str, object] = {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB"}
MACHINE: dict[str, object] = {"secure-boot": True, "console-enabled": False}


def runtime(**changes: object) -> bytes:
    """Runtime data, some of whose parts are others."""
    key = {**KEY, "n": N[:-1] + "w"}
    key.update({name: value for name, value in changes.items() if name in {*key, "kid"}})
    said = {
        "keys": changes.get("keys", [key]),
        "vm-configuration": changes.get("machine", MACHINE),
        "user-data": "00",
    }
    return json.dumps({**said, **({"more": 1} if changes.get("more") else {})}).encode()


def test_runtime_data_say_key_and_configuration() -> None:
    read = RuntimeData.parse(runtime())
    assert (read.secure_boot, read.console) == (True, False)
    assert read.attestation_key.public_numbers().e == 65537


def test_a_report_over_other_data_does_not_bind_them() -> None:
    data = runtime()
    digest = hashlib.sha256(data).digest()
    verify_binding(data, digest + bytes(32))
    for other in (digest + bytes(31) + b"\1", bytes(64), digest):
        with pytest.raises(EvidenceRefused) as refused:
            verify_binding(data, other)
        assert refused.value.failed_check == "runtime_data_binding"


FORMAT, TPM_KEY = "runtime_data_format", "tpm_key"


@pytest.mark.parametrize(
    ("data", "check", "seen"),
    [
        (bytes(4097), FORMAT, "4097 bytes"),
        (b"{", FORMAT, "Expecting property name enclosed in double quotes"),
        (b"\xff", FORMAT, "codec can't decode"),
        (b"[" * 4000, FORMAT, "recursion"),
        (b"[]", FORMAT, "list"),
        (runtime(more=True), FORMAT, "'more'"),
        (b'{"keys": [], "keys": []}', FORMAT, "a name occurs twice"),
        (runtime(machine=[]), FORMAT, "list"),
        (runtime(machine={"secure-boot": 1, "console-enabled": True}), FORMAT, "int"),
        (runtime(machine={"secure-boot": True}), FORMAT, "NoneType"),
        (runtime(keys={}), TPM_KEY, "0 of them"),
        (runtime(keys=[]), TPM_KEY, "0 of them"),
        (runtime(keys=[KEY, KEY]), TPM_KEY, "2 of them"),
        (runtime(kid="HCLEkPub"), TPM_KEY, "0 of them"),
        (runtime(kty="EC"), TPM_KEY, "a key for something else"),
        (runtime(key_ops=["encrypt"]), TPM_KEY, "a key for something else"),
        (runtime(key_ops=["sign", "encrypt"]), TPM_KEY, "a key for something else"),
        (runtime(e="Aw"), TPM_KEY, "exponent 3, 2048 bits"),
        (runtime(n="AQAB"), TPM_KEY, "exponent 65537, 17 bits"),
        (runtime(n=N[:-1] + "g"), TPM_KEY, "exponent 65537, 2048 bits"),
        (runtime(n=5), TPM_KEY, "no base64url"),
        (runtime(n="+" * 342), TPM_KEY, "base64url in another form"),
        (runtime(n="!" * 342), TPM_KEY, "no base64url"),
        (runtime(n="q" * 513), TPM_KEY, "no base64url"),
        (runtime(n=N[:-1] + "x"), TPM_KEY, "base64url in another form"),
    ],
)
def test_runtime_data_of_another_form_are_refused(data: bytes, check: str, seen: str) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        RuntimeData.parse(data)
    assert refused.value.failed_check == check
    assert seen in (refused.value.seen or "")
