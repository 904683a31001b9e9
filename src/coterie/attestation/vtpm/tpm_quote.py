"""A TPM 2.0 quote: PCRs and the caller's data under the signature of an attestation key.

Source: TCG, Trusted Platform Module Library, part 2: TPMS_ATTEST (10.12.12), TPMS_QUOTE_INFO
(10.12.4), TPML_PCR_SELECTION (10.9.7). All integers are big-endian.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from coterie.attestation.vtpm.tpm_reader import TpmReader
from coterie.errors import EvidenceRefused

MAX_QUOTE_BYTES = 512
PCRS = 24
PCR_BYTES = 32
SHA256_ALGORITHM = 0x000B
_MAGIC, _QUOTE = 0xFF544347, 0x8018
_NAME_BYTES = 34  # algorithm and SHA-256
_MOST_EXTRA_BYTES = 64

_refused = partial(
    EvidenceRefused,
    "tpm_quote_format",
    "the TPM's quote is malformed",
    remedy="make it with TPM2_Quote over PCRs of the SHA-256 bank",
)


@dataclass(frozen=True)
class TpmQuote:
    """What a TPM attests; its signature is not checked yet.

    Attributes:
        message: All of it, as it is signed.
        signer: Qualified name of the key.
        extra_data: The caller's data.
        clock: Milliseconds for which the TPM has run.
        resets: How often it was reset.
        restarts: How often it was resumed since.
        firmware: Version of its firmware.
        pcrs: Numbers of the quoted PCRs, ascending.
        pcr_digest: SHA-256 of their values.
    """

    message: bytes
    signer: bytes
    extra_data: bytes
    clock: int
    resets: int
    restarts: int
    firmware: int
    pcrs: tuple[int, ...]
    pcr_digest: bytes

    @classmethod
    def parse(cls, message: bytes) -> TpmQuote:
        """Reads a TPMS_ATTEST of type quote.

        Raises:
            EvidenceRefused: It is none, or of other PCRs than SHA-256's (check ``tpm_quote_format``).
        """
        if len(message) > MAX_QUOTE_BYTES:
            raise _refused(f"at most {MAX_QUOTE_BYTES} bytes", f"{len(message)} bytes")
        rest = TpmReader(message, _refused)
        magic, kind = rest.unpack(">IH")
        if (magic, kind) != (_MAGIC, _QUOTE):
            raise _refused("a quote that a TPM has made", f"magic {magic:#x}, type {kind:#x}")
        signer, extra = rest.sized(), rest.sized()
        if len(signer) != _NAME_BYTES or len(extra) > _MOST_EXTRA_BYTES:
            raise _refused(
                f"a name of {_NAME_BYTES} bytes and at most {_MOST_EXTRA_BYTES} of data",
                f"{len(signer)} and {len(extra)} bytes",
            )
        clock, resets, restarts, safe, firmware = rest.unpack(">QIIBQ")
        if safe not in {0, 1}:
            raise _refused("a clock that is safe (1) or not (0)", str(safe))
        banks, algorithm, size = rest.unpack(">IHB")
        if (banks, algorithm, size) != (1, SHA256_ALGORITHM, PCRS // 8):
            raise _refused(
                f"one selection of {PCRS} PCRs of SHA-256",
                f"{banks} selections, the first of algorithm {algorithm:#06x} and {size} bytes",
            )
        selected = int.from_bytes(rest.take(size), "little")
        digest = rest.sized()
        if len(digest) != PCR_BYTES or rest.octets:
            raise _refused(
                "a SHA-256 of PCRs, and nothing behind it",
                f"{len(digest)} bytes, and {len(rest.octets)} behind it",
            )
        pcrs = tuple(number for number in range(PCRS) if selected >> number & 1)
        return cls(message, signer, extra, clock, resets, restarts, firmware, pcrs, digest)


def verify_quote(
    quote: TpmQuote,
    signature: bytes,
    key: rsa.RSAPublicKey,
    *,
    extra_data: bytes,
    values: Mapping[int, bytes],
) -> None:
    """Checks who made a quote, over which data, and of which PCRs.

    Args:
        quote: The quote.
        signature: RSASSA-PKCS1-v1_5 with SHA-256.
        key: The attestation key.
        extra_data: The data that it must be over.
        values: The PCRs' values, 32 bytes each, by number.

    Raises:
        EvidenceRefused: Check ``tpm_quote_signature``, ``tpm_quote_data`` or ``tpm_pcrs``.
    """
    try:
        key.verify(signature, quote.message, padding.PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise EvidenceRefused(
            "tpm_quote_signature",
            "the TPM's quote is not signed by the key that the TEE's report binds",
            expected="a signature of the virtual TPM's attestation key",
            seen="another one",
            remedy="quote with the persistent key 0x81000003 of the same VM",
        ) from error
    if not hmac.compare_digest(quote.extra_data, extra_data):
        raise EvidenceRefused(
            "tpm_quote_data",
            "the TPM's quote is over something else",
            expected=extra_data.hex(),
            seen=quote.extra_data.hex(),
            remedy="make a new quote for each session: this one may be replayed or relayed",
        )
    given = tuple(sorted(values))
    whole = all(len(value) == PCR_BYTES for value in values.values())
    digest = hashlib.sha256(b"".join(values[number] for number in given)).digest()
    if not whole or given != quote.pcrs or not hmac.compare_digest(digest, quote.pcr_digest):
        raise EvidenceRefused(
            "tpm_pcrs",
            "the PCRs' values are not those that the TPM has quoted",
            expected=f"the values of PCRs {_numbers(quote.pcrs)}",
            seen=f"others, of PCRs {_numbers(given)}",
            remedy="read the PCRs again if one was extended in between",
        )


def _numbers(pcrs: tuple[int, ...]) -> str:
    return ", ".join(map(str, pcrs)) or "none"
