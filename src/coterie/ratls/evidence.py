"""The certificate extensions that carry evidence.

Interoperable RA-TLS (CCC Attestation SIG): OID 2.23.133.5.4.9 (tcg-dice-conceptual-message-wrapper),
non-critical, CBOR tag 60000 (registered with IANA for Intel quotes) over [quote, claims buffer].
Gramine's legacy extension holds the raw quote, and the key is bound by report data = SHA-256 of the
DER SubjectPublicKeyInfo, then 32 zero bytes. Its OID is meant to be 1.2.840.113741.1337.6. But
Gramine's code writes a whole encoded OID in place of an OID's content, which reads as
0.6.9.42.840.113741.1337.6.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import partial

from coterie.errors import EvidenceRefused
from coterie.ratls import cbor
from coterie.ratls.claims import MAX_CLAIMS_BYTES, foreign_pubkey_hash, report_data

INTEROPERABLE_OID = "2.23.133.5.4.9"
LEGACY_OIDS = ("0.6.9.42.840.113741.1337.6", "1.2.840.113741.1337.6")
MAX_QUOTE_BYTES = 32 * 1024
MAX_EXTENSION_BYTES = MAX_QUOTE_BYTES + MAX_CLAIMS_BYTES + 64

# The same OIDs, encoded (X.690, 8.19).
EVIDENCE_OIDS = tuple(
    bytes.fromhex(text)
    for text in ("0606678105050409", "060b06092a864886f84d8a3906", "06092a864886f84d8a3906")
)

_TAG_60000 = b"\xd9\xea\x60"


_bad = partial(
    EvidenceRefused,
    "evidence_encoding",
    "the evidence extension is not encoded as it must be",
    remedy="the peer must speak interoperable RA-TLS with a DCAP quote",
)


@dataclass(frozen=True)
class InteroperableEvidence:
    """Content of the interoperable extension.

    Attributes:
        quote: A DCAP quote, not yet parsed.
        claims: The claims buffer, not yet decoded.
    """

    quote: bytes
    claims: bytes

    def to_extension(self) -> bytes:
        """The extension's value."""
        return _TAG_60000 + cbor.encode([self.quote, self.claims])

    def bound_report_data(self, spki_der: bytes) -> bytes:
        """The report data of a quote that is for this key.

        Args:
            spki_der: DER SubjectPublicKeyInfo of the certificate, or of the TLS peer.

        Returns:
            64 bytes of report data.

        Raises:
            EvidenceRefused: ``pubkey_hash``: the claims are for another key; or the claims cannot
                be read.
        """
        expected = foreign_pubkey_hash(self.claims)
        check_pubkey_hash(expected, spki_der)
        return report_data(self.claims)


@dataclass(frozen=True)
class LegacyEvidence:
    """Content of Gramine's legacy extension: a raw quote and nothing else.

    Attributes:
        quote: A DCAP quote, not yet looked at.
        oid: The spelling of the OID that was found.
    """

    quote: bytes
    oid: str

    def bound_report_data(self, spki_der: bytes) -> bytes:
        """The report data of a quote that is for this key, 64 bytes."""
        return hashlib.sha256(spki_der).digest() + bytes(32)


Evidence = InteroperableEvidence | LegacyEvidence


def check_pubkey_hash(claimed: bytes, spki_der: bytes) -> None:
    """Checks that claims are for a key.

    Raises:
        EvidenceRefused: ``pubkey_hash``.
    """
    seen = hashlib.sha256(spki_der).digest()
    if not hmac.compare_digest(claimed, seen):
        raise EvidenceRefused(
            "pubkey_hash",
            "the evidence is for another key than the certificate's",
            expected=f"pubkey-hash {seen.hex()}",
            seen=f"pubkey-hash {claimed.hex()}",
            remedy="an attacker may use stolen evidence: find out who answers there",
        )


def read_interoperable(value: bytes) -> InteroperableEvidence:
    """Decodes the interoperable extension's value strictly.

    Raises:
        EvidenceRefused: ``evidence_encoding``.
    """
    if not value.startswith(_TAG_60000):
        raise _bad("CBOR tag 60000 (an Intel quote)", f"bytes that begin {value[:3].hex() or '-'}")
    try:
        items = cbor.decode(value[len(_TAG_60000) :], max_bytes=MAX_EXTENSION_BYTES, max_items=3)
    except cbor.CborInvalid as error:
        raise _bad("canonical CBOR [quote, claims]", str(error)) from error
    if not isinstance(items, list) or len(items) != 2:
        raise _bad("an array of quote and claims", type(items).__name__)
    quote, claims = items
    if not isinstance(quote, bytes) or not isinstance(claims, bytes):
        raise _bad("two byte strings", f"{type(quote).__name__}, {type(claims).__name__}")
    if not quote or len(quote) > MAX_QUOTE_BYTES or len(claims) > MAX_CLAIMS_BYTES:
        raise _bad(
            f"a quote up to {MAX_QUOTE_BYTES} and claims up to {MAX_CLAIMS_BYTES} bytes",
            f"{len(quote)} and {len(claims)} bytes",
        )
    return InteroperableEvidence(quote, claims)


def read_evidence(extensions: dict[str, bytes]) -> Evidence:
    """Finds and decodes a certificate's evidence; prefers the interoperable kind.

    Args:
        extensions: Values by dotted OID, without duplicates.

    Raises:
        EvidenceRefused: ``evidence_extension``: none, or both legacy spellings at once;
            ``evidence_encoding``: it is malformed.
    """
    legacy = [oid for oid in LEGACY_OIDS if oid in extensions]
    if len(legacy) > 1:
        raise EvidenceRefused(
            "evidence_extension",
            "the certificate carries Gramine's legacy extension twice",
            expected="one of its two OID spellings",
            seen=" and ".join(legacy),
            remedy="no known program does this: treat the certificate as forged",
        )
    if INTEROPERABLE_OID in extensions:
        return read_interoperable(extensions[INTEROPERABLE_OID])
    if legacy:
        quote = extensions[legacy[0]]
        if not 0 < len(quote) <= MAX_QUOTE_BYTES:
            raise _bad(f"a quote of 1 to {MAX_QUOTE_BYTES} bytes", f"{len(quote)} bytes")
        return LegacyEvidence(quote, legacy[0])
    raise EvidenceRefused(
        "evidence_extension",
        "the certificate carries no evidence",
        expected=f"extension {INTEROPERABLE_OID} (or Gramine's legacy one)",
        seen=f"extensions {', '.join(sorted(extensions))[:300] or 'none'}",
        remedy="only attested nodes may connect: start the peer with `coterie node`",
    )
