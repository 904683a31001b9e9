"""Trust as one explicit object that is passed to its users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from typing_extensions import override

from coterie.attestation.appraiser import Appraiser, contracted_appraiser
from coterie.attestation.collateral_source import (
    CachedCollateral,
    CollateralSource,
    SimulatedCollateral,
    StapledOnly,
)
from coterie.attestation.tee.base import Tee
from coterie.attestation.tokens.sources import TokenSource, simulated_tokens
from coterie.contract import Contract, Node
from coterie.errors import EvidenceRefused
from coterie.kinds import SIMULATED
from coterie.ratls.credentials import Clock, CredentialKeeper
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.voucher import VoucherSource
from coterie.spans import Tracer, untraced


@dataclass(frozen=True, kw_only=True)
class RelyingParty:
    """All that is needed to verify a node of a contract, also for clients that are not nodes.

    Attributes:
        contract: The contract.
        appraiser: Appraises quotes by the contract's ``[trust]`` section or a stricter one.
        collateral: Source of collateral; also caches what peers staple.
        clock: The time now, UTC.
    """

    contract: Contract
    appraiser: Appraiser
    collateral: CachedCollateral
    clock: Clock

    def is_own_key(self, spki_sha256: bytes) -> bool:  # noqa: ARG002 (nodes have some)
        """Whether a key belongs to this side's own node."""
        return False

    def is_own_name(self, node: str) -> bool:  # noqa: ARG002 (nodes have one)
        """Whether a name is that of this side's own node."""
        return False


class KeySource(Protocol):
    """A node's source of keys: its party's key server."""

    def data_key(self, identity: NodeIdentity, set_id: bytes) -> bytes:
        """The key of a sealed data set, 32 bytes.

        Raises:
            CoterieError: This node may not have it, or the source cannot be reached.
        """
        ...

    def model_key(self, identity: NodeIdentity) -> tuple[bytes, bytes] | None:
        """Id and key, 32 bytes each, for sealing the party's trained model.

        None: the party lets this node keep the model open.

        Raises:
            CoterieError: This node may not have it, or the source cannot be reached.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class TrustContext(RelyingParty):
    """All that a node needs for its own attestation and to verify its peers.

    Attributes:
        node: This node, one of the contract's.
        tee: Makes its quotes.
        credentials: This node's own keys, certificates and vouchers.
        keys: The party's key server, if there is one.
        tracer: Takes the spans of its handshakes.
        tokens: Source of its tokens of attestation services, if the contract demands any of its role.
    """

    node: Node
    tee: Tee
    credentials: CredentialKeeper
    keys: KeySource | None = None
    tracer: Tracer = untraced
    tokens: TokenSource | None = None

    @override
    def is_own_key(self, spki_sha256: bytes) -> bool:
        return self.credentials.is_own_key(spki_sha256)

    @override
    def is_own_name(self, node: str) -> bool:
        return node == self.node.name

    @property
    def reattestation(self) -> timedelta:
        """Time for which a pinned certificate is trusted."""
        return timedelta(minutes=self.contract.trust.reattestation_minutes)


def make_trust(
    contract: Contract,
    node_name: str,
    tee: Tee,
    vouchers: VoucherSource,
    clock: Clock,
    *,
    collateral: CollateralSource | None = None,
    folder: Path | None = None,
    tokens: TokenSource | None = None,
    incarnation: int | None = None,
) -> TrustContext:
    """Makes a node's trust.

    Args:
        contract: The contract to run under.
        node_name: Name of this node.
        tee: The TEE that this process runs in.
        vouchers: Source of the party's vouchers for the node.
        clock: The time now, UTC.
        collateral: Source of collateral. If absent, a simulated node makes its own, and any other
            node takes what its peers staple. Older parts never replace newer ones.
        folder: Directory of collateral, which may hold launch endorsements.
        tokens: Source of the node's tokens. If absent, a simulated node makes its own.
        incarnation: Number of this start of the node; by default the time now in microseconds.

    Raises:
        ContractInvalid: The contract has no such node.
        EvidenceRefused: ``tee_kind``: the TEE is of another kind than the contract gives this node.
        VoucherRefused: The party does not vouch for this node.
        EnvironmentUnfit: The TEE cannot make a quote.
    """
    node = contract.node(node_name)
    wanted = contract.kind_of(node)
    if tee.kind != wanted:
        raise EvidenceRefused(
            "tee_kind",
            "this process runs in another kind of TEE than the contract demands",
            expected=wanted,
            seen=tee.kind,
            remedy="simulated and real TEEs never mix: use the contract that is made for this TEE",
        )
    keeper = CredentialKeeper(
        contract,
        node,
        tee,
        vouchers,
        clock,
        incarnation=int(clock().timestamp() * 1e6) if incarnation is None else incarnation,
    )
    keeper.current()
    if collateral is None:
        collateral = SimulatedCollateral() if tee.kind in SIMULATED else StapledOnly()
    if not isinstance(collateral, CachedCollateral):
        collateral = CachedCollateral(collateral, kinds=contract.trust.kinds)
    measurement = tee.describe().measurement
    demanded = contract.table_of(node).tokens
    return TrustContext(
        contract=contract,
        node=node,
        tee=tee,
        appraiser=contracted_appraiser(
            contract.trust,
            own_measurement=bytes.fromhex(measurement) if measurement else None,
            folder=folder,
        ),
        collateral=collateral,
        credentials=keeper,
        tokens=tokens or (simulated_tokens(demanded, clock) if tee.kind in SIMULATED else None),
        clock=clock,
    )
