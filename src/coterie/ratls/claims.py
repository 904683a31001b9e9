"""The claims that a node's quote covers: key, contract, node, role, party and incarnation.

The format is the claims buffer of the interoperable RA-TLS specification (CCC Attestation SIG): a
CBOR map from text to byte strings with ``pubkey-hash`` = CBOR [1, SHA-256 of the DER
SubjectPublicKeyInfo]; the other names are Coterie's own, which other verifiers ignore. The quote's
report data is SHA-256 of the buffer, then 32 zero bytes.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, PlainSerializer

from coterie.errors import EvidenceRefused
from coterie.kinds import Role
from coterie.ratls import cbor
from coterie.ratls.schema import Digest, Incarnation, Name, Record
from coterie.text import printable

MAX_CLAIMS_BYTES = 4096
MAX_CLAIMS_ITEMS = 64  # other producers have more claims
SHA_256_ID = 1  # IANA Named Information Hash Algorithm Registry

_PUBKEY_HASH = "pubkey-hash"
_KEYS = {"pubkey_hash": _PUBKEY_HASH, "contract_digest": "coterie-contract"}
_REMEDY = "the peer must run a Coterie release that speaks this format"


_bad_encoding = partial(
    EvidenceRefused,
    "claims_encoding",
    "the claims are not encoded as they must be",
    expected="one canonical CBOR map with exactly the claims of this version",
    remedy=_REMEDY,
)


def report_data(claims: bytes) -> bytes:
    """The 64 bytes that a quote must carry for a claims buffer: SHA-256, then 32 zero bytes."""
    return hashlib.sha256(claims).digest() + bytes(32)


def _text(value: object) -> object:
    return value.decode("ascii") if isinstance(value, bytes) else value


def _number(value: object) -> object:
    if not isinstance(value, bytes):
        return value
    if len(value) != 8:
        raise ValueError("8 bytes were expected")
    return int.from_bytes(value, "big")


def _octets(value: dict[str, cbor.CborValue]) -> dict[str, cbor.CborValue]:
    if others := [key for key, item in value.items() if not isinstance(item, bytes)]:
        raise cbor.CborInvalid(f"no byte strings: {printable(', '.join(others), 200)}")
    return value


def _packed(digest: bytes) -> bytes:
    return cbor.encode([SHA_256_ID, digest])


_AsOctets = PlainSerializer(str.encode)


class Claims(Record):
    """A node's statements on itself, proved by its quote. On the wire every value is a byte string.

    Attributes:
        pubkey_hash: SHA-256 of the node key's DER SubjectPublicKeyInfo, 32 bytes.
        contract_digest: Digest of the contract that the node was started with, 32 bytes.
        node: Its name in the contract.
        role: Its role in the contract.
        party: The company that runs it.
        incarnation: Number that grows with every start of the node; the larger of two is valid.
    """

    model_config = ConfigDict(alias_generator=lambda name: _KEYS.get(name, f"coterie-{name}"))

    pubkey_hash: Annotated[Digest, PlainSerializer(_packed)]
    contract_digest: Digest
    node: Annotated[Name, BeforeValidator(_text), _AsOctets]
    role: Annotated[Role, BeforeValidator(_text), _AsOctets]
    party: Annotated[Name, BeforeValidator(_text), _AsOctets]
    incarnation: Annotated[
        Incarnation,
        BeforeValidator(_number),
        PlainSerializer(lambda number: number.to_bytes(8, "big")),
    ]

    @classmethod
    def from_cbor(cls, data: bytes) -> Claims:
        """Decodes a claims buffer strictly.

        Raises:
            EvidenceRefused: ``claims_encoding``, ``pubkey_hash`` (absent) or
                ``pubkey_hash_algorithm``.
        """
        try:
            value = cbor.decode_map(data, max_bytes=MAX_CLAIMS_BYTES, max_items=MAX_CLAIMS_ITEMS)
            digest = _pubkey_hash(value)
            return cls.of_map({**_octets(value), _PUBKEY_HASH: digest}, data)
        except cbor.CborInvalid as error:
            raise _bad_encoding(seen=str(error)) from error


def foreign_pubkey_hash(data: bytes) -> bytes:
    """The ``pubkey-hash`` of any producer's claims buffer; its other claims are ignored.

    Returns:
        32 bytes, the SHA-256 of a DER SubjectPublicKeyInfo.

    Raises:
        EvidenceRefused: As for `Claims.from_cbor`.
    """
    try:
        return _pubkey_hash(
            cbor.decode_map(
                data,
                max_bytes=MAX_CLAIMS_BYTES,
                max_items=MAX_CLAIMS_ITEMS,
                canonical=False,
            )
        )
    except cbor.CborInvalid as error:
        raise _bad_encoding(seen=str(error)) from error


def _pubkey_hash(value: dict[str, cbor.CborValue]) -> bytes:
    if _PUBKEY_HASH not in value:
        raise EvidenceRefused(
            "pubkey_hash",
            "the claims do not say which key they are for",
            expected="a claim pubkey-hash",
            seen=f"claims {printable(', '.join(sorted(value)), 200) or 'none'}",
            remedy=_REMEDY,
        )
    packed = value[_PUBKEY_HASH]
    if not isinstance(packed, bytes):
        raise cbor.CborInvalid("pubkey-hash must be a byte string")
    entry = cbor.decode(packed, max_bytes=128, max_items=3)
    if not isinstance(entry, list) or len(entry) != 2:
        raise cbor.CborInvalid("pubkey-hash must be an array of algorithm and hash")
    algorithm, digest = entry
    if not isinstance(algorithm, int) or isinstance(algorithm, bool):
        raise cbor.CborInvalid("the algorithm of pubkey-hash must be an integer")
    if algorithm != SHA_256_ID:
        raise EvidenceRefused(
            "pubkey_hash_algorithm",
            "the claims name the key by a hash algorithm that is not accepted",
            expected="1 (sha-256)",
            seen=str(algorithm),
            remedy=_REMEDY,
        )
    if not isinstance(digest, bytes) or len(digest) != 32:
        raise cbor.CborInvalid("the hash in pubkey-hash must have 32 bytes")
    return digest
