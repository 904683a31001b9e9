"""A party's voucher for its node: a quote proves the program, but not the company that runs it.

A voucher is the party's Ed25519 signature over a label and the canonical CBOR of what it covers:
contract digest, node, role, the node key's hash, incarnation and expiry. Peers verify it with the
key that the contract names for the party.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ConfigDict, Field

from coterie.contract import Contract
from coterie.contract.signatures import party_keys, verify_statement
from coterie.errors import SignatureRefused, VoucherRefused
from coterie.ratls import cbor
from coterie.ratls.claims import Claims
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.schema import Digest, Incarnation, Record, Signature, UnixSeconds

MAX_VOUCHER_BYTES = 1024
VOUCHER_LIFETIME = timedelta(hours=24)
_LABEL = b"coterie voucher 1\0"
_ITEMS = 15
_KEYS = {"contract_digest": "contract", "spki_sha256": "spki"}


class VoucherStatement(Record):
    """The statement that a party signs.

    Attributes:
        contract_digest: 32 bytes.
        node: The node's name.
        role: Its role.
        spki_sha256: SHA-256 of its public key, 32 bytes.
        incarnation: Number of this start of the node.
        expiry: Unix seconds; the voucher is invalid from then on.
    """

    model_config = ConfigDict(alias_generator=lambda name: _KEYS.get(name, name))

    contract_digest: Digest
    node: Annotated[str, Field(max_length=63)]
    role: Annotated[str, Field(max_length=16)]
    spki_sha256: Digest
    incarnation: Incarnation
    expiry: UnixSeconds

    def signed_bytes(self) -> bytes:
        """The bytes that the signature covers."""
        fields = set(VoucherStatement.model_fields)
        return _LABEL + cbor.encode(self.model_dump(include=fields, by_alias=True))


class Voucher(VoucherStatement):
    """A party's signed statement for one key of one node.

    Attributes:
        signature: Ed25519, 64 bytes, by the node's party.
    """

    signature: Signature

    @classmethod
    def from_cbor(cls, data: bytes) -> Voucher:
        """Decodes a voucher strictly.

        Raises:
            VoucherRefused: It is not canonically encoded.
        """
        try:
            return cls.of_cbor(data, max_bytes=MAX_VOUCHER_BYTES, max_items=_ITEMS)
        except cbor.CborInvalid as error:
            raise VoucherRefused(
                "the peer's voucher cannot be read",
                expected="canonical CBOR of a voucher",
                seen=str(error),
                remedy="the peer must run a Coterie release that speaks this format",
            ) from error

    @property
    def expires_at(self) -> datetime:
        """The expiry as a time, UTC."""
        return datetime.fromtimestamp(self.expiry, UTC)


class VoucherSource(Protocol):
    """A node's source of its party's vouchers: a key in this process, or a key server."""

    @property
    def over_network(self) -> bool:
        """Whether another process must answer; renewals then run in the background."""
        ...

    def vouch(self, identity: NodeIdentity) -> Voucher:
        """Returns a voucher for a new identity of this node.

        Raises:
            VoucherRefused: The party does not vouch for this node.
        """
        ...


class PartyKeyVouchers:
    """Vouches with a party's key that this process holds.

    Args:
        key: The party's private key.
        clock: The time now, UTC.
        lifetime: How long a voucher is valid.
    """

    over_network = False

    def __init__(
        self,
        key: Ed25519PrivateKey,
        *,
        clock: Callable[[], datetime],
        lifetime: timedelta = VOUCHER_LIFETIME,
    ) -> None:
        self._key = key
        self._clock = clock
        self._lifetime = lifetime

    def vouch(self, identity: NodeIdentity) -> Voucher:
        """Signs any requested voucher, since the holder of a party's key acts for the party."""
        return sign_voucher(self._key, identity.claims, expiry=self._clock() + self._lifetime)


def sign_voucher(key: Ed25519PrivateKey, claims: Claims, *, expiry: datetime) -> Voucher:
    """Makes a voucher.

    Args:
        key: The party's private key.
        claims: The node's claims.
        expiry: Its expiry, UTC.
    """
    statement = VoucherStatement(
        contract_digest=claims.contract_digest,
        node=claims.node,
        role=claims.role,
        spki_sha256=claims.pubkey_hash,
        incarnation=claims.incarnation,
        expiry=int(expiry.timestamp()),
    )
    return Voucher(**statement.model_dump(), signature=key.sign(statement.signed_bytes()))


def verify_voucher(
    voucher: Voucher | None, claims: Claims, *, contract: Contract, at: datetime
) -> Voucher:
    """Checks that a node's party vouches for exactly this node.

    Args:
        voucher: The peer's voucher, if it sent one.
        claims: The peer's attested claims.
        contract: This node's contract, which names the party's key.
        at: Time as of which to verify, UTC.

    Returns:
        The voucher.

    Raises:
        VoucherRefused: It is missing, of another party, for something else, or expired.
    """
    who = f"node {claims.node} of party {claims.party}"
    if voucher is None:
        raise VoucherRefused(
            f"{who} came without a voucher",
            expected=f"a voucher signed with the key of party {claims.party}",
            seen="none",
            remedy="start that node with its party's key or key server",
        )
    _check_signature(voucher, claims, contract, at)
    for what, covered, actual in (
        ("contract", voucher.contract_digest, claims.contract_digest),
        ("node", voucher.node.encode(), claims.node.encode()),
        ("role", voucher.role.encode(), claims.role.encode()),
        ("key", voucher.spki_sha256, claims.pubkey_hash),
        ("incarnation", _octets(voucher.incarnation), _octets(claims.incarnation)),
    ):
        if not hmac.compare_digest(covered, actual):
            raise VoucherRefused(
                f"the voucher of {who} is for another {what}",
                expected=_show(what, actual),
                seen=_show(what, covered),
                remedy="the party must vouch for this very node, key and start",
            )
    if at >= voucher.expires_at:
        raise VoucherRefused(
            f"the voucher of {who} has expired",
            expected=f"an expiry after {at.isoformat()}",
            seen=voucher.expires_at.isoformat(),
            remedy="restart that node, or let its party vouch for it again; check both clocks",
        )
    return voucher


def _check_signature(voucher: Voucher, claims: Claims, contract: Contract, at: datetime) -> None:
    try:
        keys = party_keys(contract, claims.party, at)
    except SignatureRefused as error:
        what = f"nobody can vouch for party {claims.party}: {error.what}"
        raise VoucherRefused.because_of(error, what) from error
    try:
        signed = voucher.signed_bytes()
        verify_statement(contract, claims.party, signed, voucher.signature, at=at)
    except SignatureRefused as error:
        raise VoucherRefused(
            f"the voucher of node {claims.node} is not signed by party {claims.party}",
            expected=f"a signature with {' or '.join(keys)}",
            seen="a signature with another key, or over other values",
            remedy="the node's own party must vouch for it, with the key that the contract names",
        ) from error


def _octets(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _show(what: str, value: bytes) -> str:
    if what in {"node", "role"}:
        return value.decode()
    return str(int.from_bytes(value, "big")) if what == "incarnation" else value.hex()
