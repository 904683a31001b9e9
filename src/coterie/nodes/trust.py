"""A node's trust from what its host gives: TEE, vouchers, collateral, a clock with a floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from coterie.attestation.clock import FlooredClock
from coterie.attestation.collateral_source import (
    CachedCollateral,
    CollateralSource,
    DirectoryCollateral,
    SimulatedCollateral,
)
from coterie.attestation.pccs import PccsCollateral
from coterie.attestation.tee.opening import open_tee
from coterie.contract import Contract, Node
from coterie.contract.signatures import load_party_key
from coterie.errors import ContractInvalid, VoucherRefused
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.trust import Clock, StapledOnly, TrustContext, make_trust
from coterie.ratls.voucher import PartyKeyVouchers, Voucher, VoucherSource


@dataclass(frozen=True)
class NodeOptions:
    """What a node learns from its host; untrusted, made safe by claims, signatures and vouchers.

    Attributes:
        listen: ``HOST:PORT`` in place of the contract's address.
        addresses: Where other nodes listen, by name, in place of the contract's addresses.
        party_key: The party's private key; in simulated contracts only.
        pccs_url: Address of a PCCS; in contracts for real TEEs only.
        collateral: Directory of collateral; in contracts for real TEEs only. Beside a PCCS it
            keeps what that delivered.
    """

    listen: str | None
    addresses: Mapping[str, str]
    party_key: Path | None
    pccs_url: str | None = None
    collateral: Path | None = None


def node_trust(
    contract: Contract,
    node: Node,
    options: NodeOptions,
    *,
    incarnation: int,
    host_clock: Clock = lambda: datetime.now(UTC),
    root: Path = Path("/"),
) -> TrustContext:
    """Puts a node's trust together from what its host gives: TEE, vouchers, collateral, clock.

    The host's clock gets a floor: this start of the node, and the newest date of issue of any
    collateral that proved genuine. In simulated contracts the latter does not count, since
    everybody can sign any date.

    Args:
        contract: What was agreed.
        node: This node's entry in it.
        options: What the host gives.
        incarnation: Number of this start of the node.
        host_clock: The host's time, UTC.
        root: Root of the file tree in which the TEE's devices are.

    Raises:
        ContractInvalid: An option that has no meaning under this contract.
        VoucherRefused: There is no party key, or it is not the contract's, or nobody can vouch.
        EnvironmentUnfit: The contract's kind of TEE is not to be had here.
        EvidenceRefused: ``clock``: the host's clock was set back.
    """
    clock = FlooredClock(host_clock(), clock=host_clock)
    vouchers = _vouchers(contract, node, options, clock)
    collateral = _collateral(contract, options, clock)
    tee = open_tee(contract.trust.tee, root=root)
    return make_trust(
        contract,
        node.name,
        tee,
        vouchers,
        clock,
        collateral=collateral,
        incarnation=incarnation,
    )


def _vouchers(
    contract: Contract, node: Node, options: NodeOptions, clock: FlooredClock
) -> VoucherSource:
    real = contract.trust.tee != "simulated"
    if real and options.party_key is not None:
        raise VoucherRefused(
            f"a party's key does not belong on the host of node {node.name}",
            expected=f"a voucher by party {node.party}'s key server, after it has attested the node",
            seen="--party-key",
            remedy="leave --party-key out: it is for simulated contracts only",
        )
    if real:
        return NoKeyServer()
    if options.party_key is None:
        raise VoucherRefused(
            f"nobody vouches for node {node.name}",
            expected=f"the key of party {node.party}",
            seen="none",
            remedy="give --party-key FILE; coterie contract keygen makes one",
        )
    return PartyKeyVouchers(load_party_key(options.party_key), clock=clock)


class NoKeyServer:
    """Stands where a party's key server will: it vouches for nobody."""

    def vouch(self, identity: NodeIdentity) -> Voucher:
        """Refuses.

        Raises:
            VoucherRefused: Always.
        """
        raise VoucherRefused(
            f"nobody vouches for node {identity.claims.node}",
            expected=f"a voucher by the key server of party {identity.claims.party}",
            seen="no key server: this version does not have one yet",
            remedy='until there is one, run contracts with tee = "simulated"',
        )


def _collateral(contract: Contract, options: NodeOptions, clock: FlooredClock) -> CachedCollateral:
    kind = contract.trust.tee
    url, folder = options.pccs_url, options.collateral
    if kind == "simulated":
        for name, value in (("--pccs-url", url), ("--collateral", folder)):
            if value is not None:
                raise ContractInvalid(
                    f"{name} has no meaning under a simulated contract",
                    expected="a simulated node, which makes its vendor's collateral by itself",
                    seen=f"{name} {value}"[:200],
                    remedy=f"leave {name} out, or use a contract for a real TEE",
                )
        return CachedCollateral(SimulatedCollateral(), kind=kind)
    directory = None if folder is None else DirectoryCollateral(folder)
    source: CollateralSource = directory or StapledOnly()
    if url is not None:
        source = PccsCollateral(url)
    keep = directory if url is not None else None
    return CachedCollateral(source, kind=kind, directory=keep, observe=clock.observe)
