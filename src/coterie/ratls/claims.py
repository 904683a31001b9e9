"""The claims that a node's quote covers: which key, contract, node, role, party and incarnation.

The format is the claims buffer of the interoperable RA-TLS specification (CCC Attestation SIG): a
CBOR map from text to byte strings with ``pubkey-hash`` = CBOR [1, SHA-256 of the DER
SubjectPublicKeyInfo]; the other names are Coterie's own, which other verifiers ignore. The quote's
report data is SHA-256 of the buffer, then 32 zero bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import get_args

from coterie.errors import EvidenceRefused
from coterie.kinds import Role
from coterie.ratls import cbor
from coterie.text import printable

MAX_CLAIMS_BYTES = 4096
MAX_CLAIMS_ITEMS = 64  # other producers have claims of their own
SHA_256_ID = 1  # IANA Named Information Hash Algorithm Registry

_PUBKEY_HASH = "pubkey-hash"
_CONTRACT = "coterie-contract"
_NODE = "coterie-node"
_ROLE = "coterie-role"
_PARTY = "coterie-party"
_INCARNATION = "coterie-incarnation"
_KEYS = frozenset({_PUBKEY_HASH, _CONTRACT, _NODE, _ROLE, _PARTY, _INCARNATION})
_NAME_BYTES = 63
_REMEDY = "the peer must run a Coterie release that speaks this format"


def report_data(claims: bytes) -> bytes:
    """The 64 bytes that a quote must carry for a claims buffer: SHA-256, then 32 zero bytes."""
    return hashlib.sha256(claims).digest() + bytes(32)


@dataclass(frozen=True)
class Claims:
    """What a node says of itself; true if the quote over it is.

    Attributes:
        pubkey_hash: SHA-256 of the node key's DER SubjectPublicKeyInfo, 32 bytes.
        contract_digest: Digest of the contract that the node was started with, 32 bytes.
        node: Its name in the contract.
        role: Its role in the contract.
        party: The company that runs it.
        incarnation: Grows with every start of the node; of two, the larger one counts.
    """

    pubkey_hash: bytes
    contract_digest: bytes
    node: str
    role: Role
    party: str
    incarnation: int

    def to_cbor(self) -> bytes:
        """The claims buffer, deterministic."""
        return cbor.encode(
            {
                _PUBKEY_HASH: cbor.encode([SHA_256_ID, self.pubkey_hash]),
                _CONTRACT: self.contract_digest,
                _NODE: self.node.encode(),
                _ROLE: self.role.encode(),
                _PARTY: self.party.encode(),
                _INCARNATION: self.incarnation.to_bytes(8, "big"),
            }
        )

    @classmethod
    def from_cbor(cls, data: bytes) -> Claims:
        """Decodes a claims buffer strictly.

        Raises:
            EvidenceRefused: ``claims_encoding``, ``pubkey_hash`` (absent) or
                ``pubkey_hash_algorithm``.
        """
        try:
            value = cbor.decode_map(data, max_bytes=MAX_CLAIMS_BYTES, max_items=MAX_CLAIMS_ITEMS)
            pubkey_hash = _pubkey_hash(value)
            cbor.exact_keys(value, _KEYS)
            return cls(
                pubkey_hash=pubkey_hash,
                contract_digest=cbor.take_bytes(value, _CONTRACT, least=32, most=32),
                node=_name(value, _NODE),
                role=_role(_name(value, _ROLE)),
                party=_name(value, _PARTY),
                incarnation=int.from_bytes(
                    cbor.take_bytes(value, _INCARNATION, least=8, most=8), "big"
                ),
            )
        except cbor.CborInvalid as error:
            raise _bad_encoding(str(error)) from error


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
        raise _bad_encoding(str(error)) from error


def _pubkey_hash(value: dict[str, cbor.CborValue]) -> bytes:
    if _PUBKEY_HASH not in value:
        raise EvidenceRefused(
            "pubkey_hash",
            "the claims do not say which key they are for",
            expected="a claim pubkey-hash",
            seen=f"claims {printable(', '.join(sorted(value)), 200) or 'none'}",
            remedy=_REMEDY,
        )
    packed = cbor.take_bytes(value, _PUBKEY_HASH, least=1, most=128)
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


def _name(value: dict[str, cbor.CborValue], key: str) -> str:
    try:
        name = cbor.take_bytes(value, key, least=1, most=_NAME_BYTES).decode("ascii")
    except UnicodeDecodeError as error:
        raise cbor.CborInvalid(f"{key} must be ASCII") from error
    if not name.isprintable():
        raise cbor.CborInvalid(f"{key} must be printable ASCII")
    return name


def _role(name: str) -> Role:
    for role in get_args(Role):
        if name == role:
            found: Role = role
            return found
    raise cbor.CborInvalid(f"{name!r} is no role")


def _bad_encoding(seen: str) -> EvidenceRefused:
    return EvidenceRefused(
        "claims_encoding",
        "the claims are not encoded as they must be",
        expected="one canonical CBOR map with exactly the claims of this version",
        seen=seen,
        remedy=_REMEDY,
    )
