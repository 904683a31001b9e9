"""Parties' Ed25519 keys and their detached signatures on a contract (RFC 8032, RFC 8410).

A signature covers a label and the contract's digest, so it does not depend on the file's
formatting. It is stored beside the contract as ``CONTRACT.PARTY.sig``, one small JSON object.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from coterie.contract.digest import contract_digest
from coterie.contract.expiry import check_in_force
from coterie.contract.schema import Contract
from coterie.errors import ContractInvalid, OutputInUse, SignatureRefused
from coterie.files import read_bounded, unwritable, write_new

MAX_FILE_BYTES = 16 * 1024
_LABEL = b"coterie contract signature 1\0"
_PREFIX = "ed25519:"


@dataclass(frozen=True)
class ContractSignature:
    """A party's signature on a contract.

    Attributes:
        format: Version of this form: 1.
        party: The signing party.
        contract_digest: Digest of the contract, hex. For people; verification computes its own.
        signature: Ed25519 over the label and the digest, hex.
    """

    format: int
    party: str
    contract_digest: str
    signature: str

    def to_json(self) -> str:
        """The signature file's text."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: bytes, source: str) -> ContractSignature:
        """Parses a signature file strictly.

        Raises:
            SignatureRefused: It is not a signature file of this format.
        """
        try:
            value: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _unreadable(source, str(error)) from error
        names = {"format", "party", "contract_digest", "signature"}
        if not isinstance(value, dict) or value.keys() != names:
            raise _unreadable(source, "other keys than " + ", ".join(sorted(names)))
        party, digest, signature = value["party"], value["contract_digest"], value["signature"]
        if value["format"] != 1 or not (
            isinstance(party, str) and isinstance(digest, str) and isinstance(signature, str)
        ):
            raise _unreadable(source, "values of other types, or another format")
        return cls(1, party, digest, signature)


def public_key_text(key: Ed25519PrivateKey) -> str:
    """The public key as contracts name it: ``ed25519:`` and 64 hex digits."""
    return _PREFIX + key.public_key().public_bytes_raw().hex()


def generate_party_key(path: Path) -> Ed25519PrivateKey:
    """Makes a party key and writes it, readable by its owner only; never overwrites.

    Args:
        path: File for the PEM (unencrypted PKCS#8).

    Raises:
        OutputInUse: The file exists, or its folder does not.
        EnvironmentUnfit: It cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_key_file(path, pem)
    return key


def write_key_file(path: Path, content: bytes) -> None:
    """Writes a secret durably, readable by its owner only; never overwrites.

    Raises:
        OutputInUse: The file exists, or its folder does not.
        EnvironmentUnfit: It cannot be written.
    """
    try:
        write_new(path, content, mode=0o600)
    except OSError as error:
        if not isinstance(error, FileExistsError | FileNotFoundError | NotADirectoryError):
            raise unwritable(f"the key file {path}", error) from error
        raise OutputInUse.unwritable(f"the key file {path}", error) from error


def load_party_key(path: Path) -> Ed25519PrivateKey:
    """Reads a party key.

    Raises:
        SignatureRefused: The file cannot be read or holds no Ed25519 private key.
    """
    pem = _read(path)
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "another form, or an encrypted key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "a key of another kind")
    return key


def sign_contract(contract: Contract, key: Ed25519PrivateKey, party: str) -> ContractSignature:
    """Signs a contract for a party.

    Raises:
        SignatureRefused: The contract has no such party, or names another key for it.
    """
    digest = contract_digest(contract)
    signature = sign_statement(contract, key, party, _LABEL + digest)
    return ContractSignature(1, party, digest.hex(), signature.hex())


def sign_statement(
    contract: Contract, key: Ed25519PrivateKey, party: str, statement: bytes
) -> bytes:
    """Signs a labelled statement for a party of a contract; 64 bytes.

    Raises:
        SignatureRefused: The contract has no such party, or names another key for it.
    """
    check_party_key(contract, key, party)
    return key.sign(statement)


def check_party_key(
    contract: Contract, key: Ed25519PrivateKey, party: str, *, at: datetime | None = None
) -> None:
    """Checks that a private key is one that a contract names for a party.

    Args:
        contract: Names the keys.
        key: The private key.
        party: The party that it must belong to.
        at: Time at which the key must be valid; None for any.

    Raises:
        SignatureRefused: The contract has no such party, or names another key for it.
    """
    expected = party_keys(contract, party, at)
    if not any(hmac.compare_digest(one, public_key_text(key)) for one in expected):
        raise SignatureRefused(
            f"this is not the key that the contract names for {party}",
            expected=" or ".join(expected),
            seen=public_key_text(key),
            remedy=f"sign with {party}'s own key, or have the contract name this one",
        )


def verify_signature(
    contract: Contract,
    signature: ContractSignature,
    *,
    digest: bytes | None = None,
    at: datetime | None = None,
) -> None:
    """Checks one party's signature on a contract.

    Args:
        contract: Names the party's key.
        signature: The signature.
        digest: Digest of the contract's original text, if another; 32 bytes.
        at: Time at which the key must be valid; None for any, since the time of signing is unknown.

    Raises:
        SignatureRefused: It is of an unknown party, for another contract, or not by the party's
            key.
    """
    party_keys(contract, signature.party, at)
    digest = digest or contract_digest(contract)
    if not hmac.compare_digest(signature.contract_digest.encode(), digest.hex().encode()):
        raise SignatureRefused(
            f"the signature of {signature.party} is for another contract",
            expected=f"contract {digest.hex()}",
            seen=f"contract {signature.contract_digest[:64]}",
            remedy="sign this contract again; whatever changed in it was not agreed on",
        )
    try:
        octets = bytes.fromhex(signature.signature)
    except ValueError:
        octets = b""  # not a signature: refused like a wrong one
    verify_statement(contract, signature.party, _LABEL + digest, octets, at=at)


def verify_statement(
    contract: Contract,
    party: str,
    statement: bytes,
    signature: bytes,
    *,
    at: datetime | None = None,
) -> None:
    """Checks a party's signature on a labelled statement.

    Args:
        contract: Names the party's keys.
        party: The party that must have signed.
        statement: The signed statement.
        signature: The signature, 64 bytes.
        at: Time at which the key must be valid; None for any.

    Raises:
        SignatureRefused: It is of an unknown party, or not by a valid key of the party.
    """
    expected = party_keys(contract, party, at)
    if not any(_signed_with(key, statement, signature) for key in expected):
        raise SignatureRefused(
            f"the signature of {party} is wrong",
            expected=f"a signature with {' or '.join(expected)}",
            seen="a signature with another key, or an altered one",
            remedy=f"let {party} sign with the key that the contract names",
        )


def _signed_with(key: str, statement: bytes, signature: bytes) -> bool:
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.removeprefix(_PREFIX)))
        public.verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_signatures(
    contract: Contract,
    signatures: Iterable[ContractSignature],
    *,
    digest: bytes | None = None,
    at: datetime | None = None,
) -> None:
    """Checks that every party of a contract has signed it; arguments as ``verify_signature``.

    Raises:
        SignatureRefused: A signature is wrong, or some parties have not signed.
    """
    signed = set()
    for signature in signatures:
        verify_signature(contract, signature, digest=digest, at=at)
        signed.add(signature.party)
    if missing := [name for name in contract.party_names if name not in signed]:
        raise SignatureRefused(
            f"{len(missing)} of {len(contract.parties)} parties have not signed the contract",
            expected=f"signatures of {', '.join(contract.party_names)}"[:500],
            seen=f"none of {', '.join(missing)}"[:500],
            remedy="let them run `coterie contract sign` and send their .sig files",
        )


def check_consent(contract: Contract, contract_path: Path, *, at: datetime) -> None:
    """Refuses a contract that has ended, or that requires signatures and lacks one beside its file.

    Args:
        contract: The contract.
        contract_path: Its file.
        at: The time now, UTC. A party whose key has expired must sign again with its next key.

    Raises:
        ContractExpired: It has ended.
        SignatureRefused: A party has not signed, or a signature is wrong.
    """
    check_in_force(contract, at)
    if contract.trust.signatures_demanded:
        verify_signatures(contract, signatures_beside(contract, contract_path), at=at)


def signatures_beside(contract: Contract, contract_path: Path) -> tuple[ContractSignature, ...]:
    """The parties' signatures that lie beside a contract.

    Raises:
        SignatureRefused: One cannot be read.
    """
    return tuple(
        load_signature(path)
        for party in contract.parties
        if (path := signature_path(contract_path, party.name)).exists()
    )


def valid_signatures(contract: Contract, contract_path: Path) -> tuple[ContractSignature, ...]:
    """Those of the signatures beside a contract that hold; who has to sign, ``check_consent`` says."""
    valid = []
    for signature in signatures_beside(contract, contract_path):
        with suppress(SignatureRefused):
            verify_signature(contract, signature)
            valid.append(signature)
    return tuple(valid)


def signature_path(contract_path: Path, party: str) -> Path:
    """Where a party's signature on a contract lies: beside it, as ``CONTRACT.PARTY.sig``."""
    return contract_path.with_name(f"{contract_path.name}.{party}.sig")


def load_signature(path: Path) -> ContractSignature:
    """Reads a signature file.

    Raises:
        SignatureRefused: It cannot be read or is no signature file.
    """
    return ContractSignature.from_json(_read(path), str(path))


def party_keys(contract: Contract, name: str, at: datetime | None) -> tuple[str, ...]:
    """A party's public keys that count at a moment, as the contract spells them; for None, all.

    Raises:
        SignatureRefused: The contract has no such party, or no key for it that counts.
    """
    try:
        party = contract.party(name)
    except ContractInvalid as error:
        raise SignatureRefused(
            error.what, expected=error.expected, seen=error.seen, remedy=error.remedy
        ) from error
    if party.key is None:
        raise SignatureRefused(
            f"the contract names no key for {name}",
            expected="ed25519: and 64 hex digits",
            seen="none",
            remedy="`coterie contract keygen` makes a key; put its public half into [[parties]]",
        )
    keys = party.keys_at(at)
    if not keys:
        raise SignatureRefused(
            f"the key of {name} ended at {party.key_not_after}, and the contract names no next one",
            expected=f"a moment until {party.key_not_after} (key_not_after), or a next_key",
            seen=at.isoformat() if at else "",
            remedy=f"agree on a contract with {name}'s next_key, or set this machine's clock",
        )
    return keys


def _read(path: Path) -> bytes:
    try:
        data = read_bounded(path, MAX_FILE_BYTES)
    except OSError as error:
        raise SignatureRefused.unreadable(str(path), error, "a key or signature file") from error
    if len(data) > MAX_FILE_BYTES:
        remedy = "check the path: this is no key and no signature"
        raise SignatureRefused.too_large(str(path), MAX_FILE_BYTES, remedy)
    return data


def _no_key(path: Path, seen: str) -> SignatureRefused:
    return SignatureRefused(
        f"{path} holds no usable party key",
        expected="an Ed25519 private key, PEM, PKCS#8, not encrypted",
        seen=seen,
        remedy="make one with `coterie contract keygen OUT`",
    )


def _unreadable(source: str, seen: str) -> SignatureRefused:
    return SignatureRefused(
        f"{source} is no signature file",
        expected="what `coterie contract sign` writes",
        seen=seen[:200],
    )
