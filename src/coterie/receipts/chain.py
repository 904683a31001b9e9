"""Checks that entries follow each other: a pure state machine.

The rules, in order:

1. the first entry is the server's, the second the contract; nothing comes after the outcome;
2. numbers go up by one;
3. every entry names the hash of the one before it;
4. times do not go back;
5. every entry is signed by the key in force: that of the last ``server`` entry, itself included.

So a change to any byte breaks a rule at its line. This module does not judge whether a key can be
trusted: ``verification`` judges the evidence for it.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from coterie.chained_log import HashChain
from coterie.errors import EvidenceRefused, ReceiptRefused
from coterie.ratls.certificate import read_certificate
from coterie.ratls.identity import P256_ORDER
from coterie.receipts.entries import GENESIS, Entry, octets
from coterie.receipts.entry_types import Agreement, Body, Outcome, Server

_FIRST: dict[int, type[Body]] = {0: Server, 1: Agreement}


class Chain:
    """The state that the next entry must follow.

    Attributes:
        last: The last entry.
    """

    def __init__(self) -> None:
        self._hashes = HashChain(GENESIS)
        self.last: Entry | None = None
        self._key: ec.EllipticCurvePublicKey | None = None

    @property
    def complete(self) -> bool:
        """Whether the outcome was taken; no entry may follow it."""
        return self.last is not None and isinstance(self.last.body, Outcome)

    @property
    def head(self) -> str:
        """Hash of the last entry."""
        return self._hashes.head

    @property
    def length(self) -> int:
        """Entries so far."""
        return self._hashes.length

    def take(self, entry: Entry) -> None:
        """Checks and takes the next entry.

        Raises:
            ReceiptRefused: It breaks a rule; the error names its line.
        """
        self._check_order(entry)
        if not self._hashes.continues(entry.previous):
            what = "it does not follow the entry before it"
            raise entry.refused(what, self.head, entry.previous)
        if self.last is not None and entry.at < self.last.at:
            limit = f"{self.last.at.isoformat()} or later"
            raise entry.refused("it is older than the entry before it", limit, entry.at.isoformat())
        if isinstance(entry.body, Server):
            self._key = server_key(entry)
        assert self._key is not None  # the first entry is the server's
        verify(self._key, entry)
        self._hashes.extend(entry.digest)
        self.last = entry

    def _check_order(self, entry: Entry) -> None:
        if self.complete:
            raise entry.refused("it comes after the outcome", "nothing", f"a {entry.body.kind}")
        if entry.index != self.length:
            what = (
                f"{entry.index - self.length} entries before it are missing"
                if entry.index > self.length
                else "an entry with this number came already"
            )
            raise entry.refused(what, f"number {self.length}", f"number {entry.index}")
        first = _FIRST.get(self.length)
        if first is not None and not isinstance(entry.body, first):
            raise entry.refused(
                "it is in the wrong place", f"a {first.kind} entry", entry.body.kind
            )
        if self.length > 1 and isinstance(entry.body, Agreement):
            raise entry.refused("the contract came already", "one contract", "a second one")


def server_key(entry: Entry) -> ec.EllipticCurvePublicKey:
    """The key that a ``server`` entry introduces.

    Raises:
        ReceiptRefused: Its certificate cannot be read, or is for a key of another kind.
    """
    assert isinstance(entry.body, Server)
    try:
        spki = read_certificate(octets(entry.body.certificate)).spki_der
    except EvidenceRefused as error:
        raise entry.refused("its certificate cannot be read", error.expected, error) from error
    key = load_der_public_key(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise entry.refused("its key is of another kind", "P-256", type(key).__name__)
    return key


def verify(key: ec.EllipticCurvePublicKey, entry: Entry) -> None:
    """Checks an entry's signature.

    Of the two values of s that would verify, only the lower one is accepted. Otherwise the last
    signature could be changed without detection.

    Raises:
        ReceiptRefused: It is not by this key, or does not cover this entry.
    """
    r, s = (int.from_bytes(entry.signature[part : part + 32], "big") for part in (0, 32))
    try:
        key.verify(encode_dss_signature(r, s), entry.signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise _altered(entry) from error
    if s > P256_ORDER // 2:
        raise _altered(entry)


def _altered(entry: Entry) -> ReceiptRefused:
    return entry.refused(
        "it was altered: its signature does not fit",
        "a signature by the key of the last server entry, over this entry",
        "another key's, or over other values",
    )
