"""Makes a node's trust from its host's settings: TEE, vouchers, collateral, floored clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from coterie.address import Address
from coterie.attestation.clock import FlooredClock
from coterie.attestation.collateral_options import (
    collateral_from_options,
    endorsements_from_options,
    td_quotes_from_options,
)
from coterie.attestation.tee.base import Tee
from coterie.attestation.tee.by_kind import open_tee
from coterie.attestation.tokens.sources import tokens_from_options
from coterie.contract import Contract, Node
from coterie.contract.signatures import load_party_key
from coterie.contract.trust import RoleTrust
from coterie.errors import ContractInvalid, VoucherRefused
from coterie.kinds import SIMULATED
from coterie.nodes.fabric import no_key
from coterie.nodes.options import NodeOptions, check_share_options
from coterie.ratls.credentials import Clock
from coterie.ratls.trust import TrustContext, make_trust
from coterie.ratls.voucher import PartyKeyVouchers, VoucherSource
from coterie.runs.events import EventSink, Waiting
from coterie.waiting import WaitSink, untold


def node_trust(
    contract: Contract,
    node: Node,
    options: NodeOptions,
    *,
    incarnation: int,
    on_wait: Callable[[str], WaitSink] = lambda _server: untold,
    host_clock: Clock = lambda: datetime.now(UTC),
) -> TrustContext:
    """Makes a node's trust from its host's settings: TEE, vouchers, collateral, clock.

    The host's clock gets a floor: this start of the node, and the newest date of issue of genuine
    collateral. In simulated contracts that date is not used, since anyone can sign any date.

    Args:
        contract: The contract.
        node: This node's entry in it.
        options: The host's settings.
        incarnation: Number of this start of the node.
        on_wait: Gives the sink of reports on waiting for a key server, by its name for people.
        host_clock: The host's time, UTC.

    Raises:
        ContractInvalid: An option that has no meaning under this contract.
        VoucherRefused: There is no party key, it is not the contract's, or there is no key server.
        EnvironmentUnfit: The contract's kind of TEE is not available here.
        EvidenceRefused: ``clock``: the host's clock was set back.
    """
    clock = FlooredClock(host_clock(), clock=host_clock)
    collateral = collateral_from_options(
        contract.trust.kinds,
        pccs_url=options.pccs_url,
        kds_url=options.kds_url,
        folder=options.collateral,
        observe=clock.observe,
    )
    _check_voucher_options(contract, node, options)
    check_share_options(contract, node, options)
    tee = _tee(contract, node, options)
    tokens = tokens_from_options(
        contract.table_of(node).tokens,
        options.tee_socket,
        clock,
        simulated=contract.kind_of(node) in SIMULATED,
    )
    keys = None
    if options.key_server is not None:
        from coterie.keys.server.client import KeyServerClient

        keys = KeyServerClient(
            Address.parse(options.key_server),
            contract,
            node.party,
            tee,
            collateral,
            clock,
            patience_seconds=contract.limits.join_seconds,
            on_wait=on_wait(f"the key server of {node.party}"),
            tokens=tokens,
        )
    vouchers: VoucherSource
    if options.party_key is not None:
        vouchers = PartyKeyVouchers(load_party_key(options.party_key), clock=clock)
    else:
        assert keys is not None
        vouchers = keys
    trust = make_trust(
        contract,
        node.name,
        tee,
        vouchers,
        clock,
        collateral=collateral,
        folder=options.collateral,
        tokens=tokens,
        incarnation=incarnation,
    )
    return replace(trust, keys=keys)


def _tee(contract: Contract, node: Node, options: NodeOptions) -> Tee:
    """This machine's TEE of the kind that the contract gives the node."""
    table, kind = contract.table_of(node), contract.kind_of(node)
    return open_tee(
        kind,
        tensorflow=contract.tensorflow is not None,
        root=options.machine_root,
        vmpls=table.snp.vmpl if table.snp is not None else (),
        pcrs=table.vtpm.numbers if table.vtpm is not None else (),
        endorsements=endorsements_from_options(kds_url=options.kds_url, folder=options.collateral),
        td_quotes=td_quotes_from_options(kind, options.td_quote_url),
        launcher=_launcher(node, table, options),
    )


def _launcher(node: Node, table: RoleTrust, options: NodeOptions) -> Path | None:
    """The socket of the launcher that makes the role's quotes; None if the node makes its own.

    Raises:
        ContractInvalid: The node's socket is missing, or has no meaning under this contract.
    """
    launched = table.launcher is not None
    if launched and options.tee_socket is None:
        raise ContractInvalid(
            f"node {node.name} does not know its launcher",
            expected=f"--tee-socket PATH: trust.roles.{node.role}.launcher is set",
            seen="none",
            remedy="give the socket of Confidential Space's launcher (docs/platforms/google.md)",
        )
    if options.tee_socket is not None and not launched and not table.tokens:
        raise ContractInvalid(
            f"node {node.name} has no use for --tee-socket",
            expected=f"trust.roles.{node.role} with a launcher or tokens",
            seen=f"--tee-socket {options.tee_socket}"[:200],
            remedy="leave --tee-socket out",
        )
    return options.tee_socket if launched else None


def data_key(trust: TrustContext, set_id: bytes) -> bytes:
    """Fetches the key of a node's sealed data set from its party's key server, 32 bytes.

    Raises:
        KeyRefused: The node has no key server, or it refuses.
    """
    if trust.keys is None:
        raise no_key(trust.node.name, "no key server")
    return trust.keys.data_key(trust.credentials.current().identity, set_id)


def model_key(trust: TrustContext) -> tuple[bytes, bytes] | None:
    """Fetches id and key for sealing a party's trained model, 32 bytes each.

    None: the model may be kept open, because its party allows it, or the contract is simulated and
    the party's key is on the host anyway.
    """
    if trust.keys is None:
        return None
    return trust.keys.model_key(trust.credentials.current().identity)


def waiting_for(node: str, peer: str, on_event: EventSink) -> WaitSink:
    """Reports a node's waiting for a peer that it dials, as an event."""

    def tell(waited: float, left: float, why: str) -> None:
        on_event(Waiting(node, (peer,), round(waited, 1), round(left, 1), why))

    return tell


def _check_voucher_options(contract: Contract, node: Node, options: NodeOptions) -> None:
    real = not contract.trust.simulated
    if real and (options.party_key is not None or options.party_keys):
        raise VoucherRefused(
            f"a party's key does not belong on the host of node {node.name}",
            expected=f"a voucher by party {node.party}'s key server, after it has attested the node",
            seen="--party-key",
            remedy="give --key-server instead: --party-key is for simulated contracts only",
        )
    if options.party_key is None and options.key_server is None:
        raise VoucherRefused(
            f"nobody vouches for node {node.name}",
            expected=f"the key server of party {node.party}"
            + ("" if real else ", or the party's key"),
            seen="none",
            remedy="give --key-server HOST:PORT"
            + ("" if real else ", or --party-key FILE; coterie contract keygen makes one"),
        )
