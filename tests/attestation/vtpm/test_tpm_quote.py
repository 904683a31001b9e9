"""TPM quotes: real ones verify, and nothing in them can be changed."""

from __future__ import annotations

import hashlib
import json
import struct
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from hypothesis import given
from hypothesis import strategies as st

from coterie.attestation.vtpm.hcl_report import HclReport
from coterie.attestation.vtpm.runtime_data import RuntimeData
from coterie.attestation.vtpm.tpm_quote import MAX_QUOTE_BYTES, TpmQuote, verify_quote
from coterie.errors import EvidenceRefused
from tests.attestation.vtpm.vectors import CHALLENGE, NAMES, VECTORS, vector

KEY = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
VALUES = {4: b"\4" * 32, 11: b"\x0b" * 32}
DATA = b"d" * 32


def made(
    *,
    magic: int = 0xFF544347,
    kind: int = 0x8018,
    signer: bytes = b"\0\x0b" + b"n" * 32,
    extra: bytes = DATA,
    safe: int = 1,
    banks: int = 1,
    algorithm: int = 11,
    size: int = 3,
    pcrs: tuple[int, ...] = (4, 11),
    digest: bytes | None = None,
    behind: bytes = b"",
) -> bytes:
    """A quote's message, or something like it."""
    if digest is None:
        digest = hashlib.sha256(b"".join(VALUES[number] for number in VALUES)).digest()
    selected = sum(1 << number for number in pcrs).to_bytes(size, "little")
    return (
        struct.pack(">IHH", magic, kind, len(signer)) + signer
        + struct.pack(">H", len(extra)) + extra
        + struct.pack(">QIIBQ", 1000, 2, 3, safe, 4)
        + struct.pack(">IHB", banks, algorithm, size) + selected
        + struct.pack(">H", len(digest)) + digest + behind
    )  # fmt: skip


def signed(
    message: bytes, key: rsa.RSAPrivateKey = KEY, hashed: HashAlgorithm | None = None
) -> bytes:
    return key.sign(message, padding.PKCS1v15(), hashed or SHA256())


def verify(
    message: bytes, signature: bytes, *, data: bytes = DATA, values: dict[int, bytes] | None = None
) -> None:
    quote = TpmQuote.parse(message)
    given_values = VALUES if values is None else values
    verify_quote(quote, signature, KEY.public_key(), extra_data=data, values=given_values)


@pytest.mark.parametrize("name", NAMES)
def test_a_real_quote_is_signed_by_the_key_in_the_runtime_data(name: str) -> None:
    real = vector(name)
    key = real.runtime.attestation_key
    verify_quote(real.quote, real.signature, key, extra_data=CHALLENGE, values=real.values)
    assert real.quote.pcrs == tuple(range(24))


@pytest.mark.parametrize("name", NAMES)
def test_a_real_quote_is_of_the_machine_whose_report_names_its_key(name: str) -> None:
    """The vectors have a second quote, of the machine whose NV index stands in a file of its own."""
    real, folder = vector(name), VECTORS / name
    said = json.loads((folder / "tpm-quote-v1.json").read_text())
    quote, signature = (
        TpmQuote.parse(bytes.fromhex(said["message"])),
        bytes.fromhex(said["signature"]),
    )
    values = {number: bytes.fromhex(value) for number, value in enumerate(said["pcrs"])}
    machine = RuntimeData.parse(HclReport.parse((folder / "hcl-report.bin").read_bytes()).runtime)
    verify_quote(quote, signature, machine.attestation_key, extra_data=CHALLENGE, values=values)
    assert (
        (folder / "quote.bin").read_bytes()[8:].startswith(signature)
    )  # the same, as others encode it
    with pytest.raises(EvidenceRefused) as refusal:
        TpmQuote.parse((folder / "quote.bin").read_bytes()[:MAX_QUOTE_BYTES])
    assert refusal.value.failed_check == "tpm_quote_format"
    if machine != real.runtime:
        with pytest.raises(EvidenceRefused) as refusal:
            verify_quote(
                quote, signature, real.runtime.attestation_key, extra_data=CHALLENGE, values=values
            )
        assert refusal.value.failed_check == "tpm_quote_signature"


def test_a_real_quote_of_a_machine_that_is_not_here_is_read_and_refused() -> None:
    real, folder = vector("azure_snp_vtpm"), VECTORS / "azure_snp_vtpm"
    quote = TpmQuote.parse((folder / "tpm-quote.msg").read_bytes())
    assert quote.pcrs == (*range(8), 14)
    with pytest.raises(EvidenceRefused) as refusal:
        verify_quote(
            quote,
            (folder / "tpm-quote.sig").read_bytes(),
            real.runtime.attestation_key,
            extra_data=CHALLENGE,
            values={number: real.values[number] for number in quote.pcrs},
        )
    assert refusal.value.failed_check == "tpm_quote_signature"


@pytest.mark.parametrize("name", NAMES)
def test_every_changed_bit_of_a_real_quote_is_refused(name: str) -> None:
    real = vector(name)
    key = real.runtime.attestation_key
    whole = real.quote.message + real.signature
    split = len(real.quote.message)
    for at in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[at] ^= 1 << bit
            message, signature = bytes(changed[:split]), bytes(changed[split:])
            with pytest.raises(EvidenceRefused) as refused:
                verify_quote(
                    TpmQuote.parse(message),
                    signature,
                    key,
                    extra_data=CHALLENGE,
                    values=real.values,
                )
            assert refused.value.failed_check in {"tpm_quote_format", "tpm_quote_signature"}


@pytest.mark.parametrize("name", NAMES)
def test_every_changed_bit_of_a_real_pcr_is_refused(name: str) -> None:
    real = vector(name)
    for number, value in real.values.items():
        for bit in range(256):
            changed = (int.from_bytes(value) ^ 1 << bit).to_bytes(32)
            with pytest.raises(EvidenceRefused) as refused:
                verify_quote(
                    real.quote,
                    real.signature,
                    real.runtime.attestation_key,
                    extra_data=CHALLENGE,
                    values={**real.values, number: changed},
                )
            assert refused.value.failed_check == "tpm_pcrs"


def test_a_quote_says_what_the_tpm_knows() -> None:
    message = made()
    verify(message, signed(message))
    quote = TpmQuote.parse(message)
    assert (quote.clock, quote.resets, quote.restarts, quote.firmware) == (1000, 2, 3, 4)
    assert (quote.pcrs, quote.extra_data) == ((4, 11), DATA)


@pytest.mark.parametrize(
    ("message", "seen"),
    [
        (bytes(513), "513 bytes"),
        (made()[:-1], "31 bytes"),
        (b"", "0 bytes"),
        (made(magic=0xFF544348), "magic 0xff544348, type 0x8018"),
        (made(kind=0x8017), "magic 0xff544347, type 0x8017"),
        (made(signer=b"n"), "1 and 32 bytes"),
        (made(extra=bytes(65)), "34 and 65 bytes"),
        (made(safe=2), "2"),
        (made(banks=2), "2 selections, the first of algorithm 0x000b and 3 bytes"),
        (made(algorithm=4), "1 selections, the first of algorithm 0x0004 and 3 bytes"),
        (made(size=4), "1 selections, the first of algorithm 0x000b and 4 bytes"),
        (made(digest=bytes(20)), "20 bytes, and 0 behind it"),
        (made(behind=b"\0"), "32 bytes, and 1 behind it"),
    ],
)
def test_what_is_no_quote_of_sha256_is_refused(message: bytes, seen: str) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        TpmQuote.parse(message)
    assert (refused.value.failed_check, refused.value.seen) == ("tpm_quote_format", seen)


MESSAGE = made()


@pytest.mark.parametrize(
    ("signature", "data", "values", "check"),
    [
        (signed(MESSAGE, OTHER), DATA, VALUES, "tpm_quote_signature"),
        (signed(MESSAGE, hashed=SHA1()), DATA, VALUES, "tpm_quote_signature"),
        (b"", DATA, VALUES, "tpm_quote_signature"),
        (signed(MESSAGE), b"e" * 32, VALUES, "tpm_quote_data"),
        (signed(MESSAGE), DATA[:31], VALUES, "tpm_quote_data"),
        (signed(MESSAGE), DATA, {4: VALUES[4]}, "tpm_pcrs"),
        (signed(MESSAGE), DATA, {4: VALUES[4], 12: VALUES[11]}, "tpm_pcrs"),
        (signed(MESSAGE), DATA, {4: VALUES[4] + VALUES[11][:1], 11: VALUES[11][1:]}, "tpm_pcrs"),
        (signed(MESSAGE), DATA, {}, "tpm_pcrs"),
    ],
    ids=["another key", "SHA-1", "no signature", "other data", "shorter data", "a PCR less",
         "another PCR", "cut elsewhere", "no PCR"],
)  # fmt: skip
def test_a_quote_for_something_else_is_refused(
    signature: bytes, data: bytes, values: dict[int, bytes], check: str
) -> None:
    with pytest.raises(EvidenceRefused) as refused:
        verify(MESSAGE, signature, data=data, values=values)
    assert refused.value.failed_check == check


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(message: bytes) -> None:
    with suppress(EvidenceRefused):
        TpmQuote.parse(message)
