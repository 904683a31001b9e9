"""Where a node's own tokens come from: a local socket, or the simulated service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from coterie.contract.token_trust import TokenTrust
from coterie.errors import ContractInvalid

SEPARATOR = b"\n"
MAX_TOKEN_BYTES = 1 << 14


class TokenSource(Protocol):
    """Gets the tokens that the contract demands of a node."""

    def tokens(self, report_data: bytes) -> bytes:
        """The tokens for a certificate's report data (64 bytes), in the contract's order, one a line.

        Raises:
            EnvironmentUnfit: They cannot be had.
        """
        ...


def simulated_tokens(
    demanded: Sequence[TokenTrust], clock: Callable[[], datetime]
) -> TokenSource | None:
    """The simulated service, for a node in a simulated TEE; None if no tokens are demanded."""
    if not demanded:
        return None
    from coterie.attestation.tee.simulated.tokens import SimulatedTokens

    return SimulatedTokens(demanded, clock)


def tokens_from_options(
    demanded: Sequence[TokenTrust],
    path: Path | None,
    clock: Callable[[], datetime],
    *,
    simulated: bool,
) -> TokenSource | None:
    """Makes the source of a node's tokens; None if the contract demands none of it.

    Args:
        demanded: What the contract demands of the node.
        path: The local socket, if one is given.
        clock: The time now, UTC; for simulated TEEs.
        simulated: Whether the node's TEE is a simulated one.

    Raises:
        ContractInvalid: The contract demands tokens of a real TEE, and no socket is given.
    """
    if simulated or not demanded:
        return simulated_tokens(demanded, clock)
    if path is None:
        raise ContractInvalid(
            "this node knows no source of the tokens that the contract demands of it",
            expected=f"--tee-socket PATH, for {len(demanded)} tokens",
            seen="none",
            remedy="give the socket of Confidential Space, or of a program that speaks its protocol",
        )
    from coterie.attestation.tokens.local import SocketTokens  # only such nodes load it

    return SocketTokens(demanded, path)
