"""Fetches all parties' shares of the key of a parameter server's sealed checkpoints."""

from __future__ import annotations

from collections.abc import Callable

from coterie.address import Address
from coterie.contract.signatures import check_party_key, load_party_key
from coterie.errors import KeyRefused
from coterie.keys.key_shares import checkpoint_key, party_share
from coterie.keys.server.client import KeyServerClient
from coterie.nodes.options import NodeOptions
from coterie.ratls.trust import TrustContext
from coterie.waiting import WaitSink, untold


def fetch_checkpoint_key(
    trust: TrustContext,
    options: NodeOptions,
    *,
    on_wait: Callable[[str], WaitSink] = lambda _server: untold,
) -> bytes:
    """The key of the run's checkpoints, 32 bytes, from the shares of all parties.

    Args:
        trust: Evidence of this node for key servers.
        options: Name the key servers or, in simulated contracts, the parties' keys instead.
        on_wait: As for ``node_trust``.

    Raises:
        KeyRefused: No key server was named for a party, or it refuses this node.
        CoterieError: A key server cannot be reached, or refuses the evidence.
    """
    contract = trust.contract
    shares = {party.name: _share(trust, options, party.name, on_wait) for party in contract.parties}
    return checkpoint_key(contract, shares)


def _share(
    trust: TrustContext, options: NodeOptions, party: str, on_wait: Callable[[str], WaitSink]
) -> bytes:
    own = party == trust.node.party
    address = options.key_servers.get(party) or (options.key_server if own else None)
    if address is not None:
        client = KeyServerClient(
            Address.parse(address),
            trust.contract,
            party,
            trust.tee,
            trust.collateral,
            trust.clock,
            patience_seconds=trust.contract.limits.join_seconds,
            on_wait=on_wait(f"the key server of {party}"),
            tokens=trust.tokens,
        )
        own_credentials = trust.credentials.current()
        return client.share(own_credentials.identity, own_credentials.voucher)
    path = options.party_keys.get(party) or (options.party_key if own else None)
    if path is None:
        simulated = trust.contract.trust.simulated
        raise KeyRefused(
            f"nobody gives node {trust.node.name} the share of party {party} of the checkpoints' key",
            expected="the key server of every party",
            seen="none",
            remedy=f"give --key-server {party}=HOST:PORT"
            + (f", or --party-key {party}=FILE" if simulated else ""),
        )
    key = load_party_key(path)
    check_party_key(trust.contract, key, party)
    return party_share(key, trust.contract)
