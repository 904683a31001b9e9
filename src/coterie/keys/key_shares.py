"""The key of a run's checkpoints, derived from shares of all parties: no party alone has it.

A party's share is derived from its private key and the contract's digest (HKDF-SHA256, RFC 5869).
So its key server stores nothing more, gives a restarted parameter server the same share, and has
another share for every other contract. The key is derived from all shares in the contract's order
of parties.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from coterie.contract import Contract, contract_digest
from coterie.errors import KeyRefused
from coterie.sealed.sealed_file import KEY_BYTES

SHARE_BYTES = 32
_SHARE = b"coterie checkpoint share 1\0"
_KEY = b"coterie checkpoint key 1\0"


def party_share(key: Ed25519PrivateKey, contract: Contract) -> bytes:
    """A party's share of the key of a contract's checkpoints, 32 bytes.

    Args:
        key: The party's private key.
        contract: The run's contract.
    """
    info = _SHARE + contract_digest(contract)
    return HKDF(SHA256(), SHARE_BYTES, None, info).derive(key.private_bytes_raw())


def checkpoint_key(contract: Contract, shares: Mapping[str, bytes]) -> bytes:
    """The key of a contract's checkpoints, 32 bytes.

    Args:
        contract: The run's contract.
        shares: The shares of all parties, by name.

    Raises:
        KeyRefused: A party's share is missing or malformed.
    """
    for party in contract.parties:
        share = shares.get(party.name, b"")
        if len(share) != SHARE_BYTES:
            raise KeyRefused(
                f"party {party.name} gave no share of the checkpoints' key",
                expected=f"{SHARE_BYTES} bytes of every party",
                seen=f"{len(share)} bytes",
                remedy=f"give the key server of {party.name} with --key-server "
                f"{party.name}=HOST:PORT",
            )
    together = b"".join(shares[party.name] for party in contract.parties)
    info = _KEY + contract_digest(contract)
    return HKDF(SHA256(), KEY_BYTES, None, info).derive(together)
