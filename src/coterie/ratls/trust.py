"""Trust as one explicit object that is passed around, never ambient."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.collateral_source import (
    CachedCollateral,
    CollateralSource,
    SimulatedCollateral,
    StapledOnly,
)
from coterie.attestation.tee.base import Tee
from coterie.contract import Contract, Node
from coterie.contract.moments import check_in_force
from coterie.errors import ContractInvalid, CoterieError, EvidenceRefused, PeerUnreachable
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.voucher import Voucher, VoucherSource, verify_voucher

Clock = Callable[[], datetime]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """What a node shows to its peers.

    Attributes:
        identity: Its key and certificate.
        voucher: Its party's word for that key.
    """

    identity: NodeIdentity
    voucher: Voucher

    @property
    def expires_at(self) -> datetime:
        """The earlier end of certificate and voucher, UTC."""
        return min(self.identity.certificate.not_after, self.voucher.expires_at)


class _Renewal:
    """One attempt to make new credentials.

    Attributes:
        ended: Whether it is over.
        error: Why it failed, if it did.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.error: Exception | None = None


class CredentialKeeper:
    """Makes a node's credentials and renews them in time; one per process. Thread-safe.

    Renewal means a new key. The old credentials stay at hand until they expire, for peers that
    attested them. Where the voucher comes over a network, a renewal runs beside everything else, and
    what is held is shown as long as it holds: an absent key server stops no handshake before that.

    Args:
        contract: The contract that the node runs under.
        node: The node.
        tee: What makes its quotes.
        vouchers: Where its party vouches for it.
        clock: The time now, UTC.
        incarnation: Number of this start of the node.
        wait_seconds: How long a renewal is waited for when nothing that is held holds any more.
    """

    def __init__(
        self,
        contract: Contract,
        node: Node,
        tee: Tee,
        vouchers: VoucherSource,
        clock: Clock,
        *,
        incarnation: int,
        wait_seconds: float = 5.0,
    ) -> None:
        self._contract = contract
        self._node = node
        self._tee = tee
        self._vouchers = vouchers
        self._clock = clock
        self._incarnation = incarnation
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._held: tuple[Credentials, ...] = ()
        self._renew_at: datetime | None = None
        self._renewal: _Renewal | None = None

    @property
    def incarnation(self) -> int:
        """Number of this start of the node."""
        return self._incarnation

    def current(self) -> Credentials:
        """The credentials to show now; renewed where their end is near.

        Raises:
            ContractExpired: The contract has ended.
            EnvironmentUnfit: The TEE cannot make a quote.
            VoucherRefused: The party does not vouch for this node.
            PeerUnreachable: What is held has run out, and the party's key server has not answered yet.
        """
        check_in_force(self._contract, self._clock())
        renewal = self._renewed()
        with self._lock:
            shown = self._held[0] if self._held else None
        if renewal is None or (shown is not None and self._clock() < shown.expires_at):
            assert shown is not None
            return shown
        if not renewal.ended.wait(self._wait_seconds):
            raise PeerUnreachable(
                f"the credentials of node {self._node.name} have run out",
                expected="a new voucher by its party",
                seen="no answer of its key server yet",
                remedy="start the key server; it is asked again and again",
            )
        if renewal.error is not None:
            raise renewal.error
        with self._lock:
            return self._held[0]

    def held(self) -> tuple[Credentials, ...]:
        """The newest credentials, then older ones that peers may still have pinned; none that ran out.

        Never waits for a network.
        """
        self._renewed()
        with self._lock:
            now = self._clock()
            return tuple(item for item in self._held if now < item.expires_at)

    def is_own_key(self, spki_sha256: bytes) -> bool:
        """Whether a key is one of this node's own."""
        with self._lock:
            return any(item.identity.spki_digest == spki_sha256 for item in self._held)

    def _renewed(self) -> _Renewal | None:
        """The renewal that is under way, or has just been made; None where none is due."""
        with self._lock:
            if self._renew_at is not None and self._clock() < self._renew_at:
                return None
            if self._renewal is not None:
                return self._renewal
            renewal = self._renewal = _Renewal()
        if self._held and self._vouchers.over_network:
            threading.Thread(
                target=self._renew, args=(renewal,), name="credentials", daemon=True
            ).start()
        else:
            self._renew(renewal)
        return renewal

    def _renew(self, renewal: _Renewal) -> None:
        fresh: Credentials | None = None
        try:
            now = self._clock()
            fresh = self._make(now)
        except Exception as error:  # noqa: BLE001 (raised where nothing else holds)
            renewal.error = error
        with self._lock:
            if fresh is not None:
                self._take(fresh, now)
            elif self._held:
                self._put_off()
            self._renewal = None
        renewal.ended.set()
        if renewal.error is not None and self._held:
            _log.warning("cannot renew this node's credentials yet: %s", renewal.error)

    def _take(self, fresh: Credentials, now: datetime) -> None:
        self._held = (fresh, *(old for old in self._held if now < old.expires_at))
        margin = min(
            timedelta(minutes=self._contract.trust.reattestation_minutes),
            (fresh.expires_at - now) / 2,
        )
        self._renew_at = fresh.expires_at - margin

    def _put_off(self) -> None:
        """Until a quarter of the rest is over, as long as there is one."""
        try:
            now = self._clock()
        except CoterieError:
            return  # by a clock that is wrong nothing is put off
        rest = self._held[0].expires_at - now
        if rest > timedelta():
            self._renew_at = now + rest / 4

    def _make(self, now: datetime) -> Credentials:
        identity = NodeIdentity.create(
            self._contract, self._node, self._tee, incarnation=self._incarnation, at=now
        )
        voucher = self._vouchers.vouch(identity)
        # A party key that is not the contract's should fail here, not at some peer.
        verify_voucher(voucher, identity.claims, contract=self._contract, at=now)
        return Credentials(identity, voucher)


@dataclass(frozen=True, kw_only=True)
class RelyingParty:
    """All that is needed to judge a node of a contract; enough for who is no node itself.

    Attributes:
        contract: What was agreed.
        appraiser: Judges quotes, by the contract's ``[trust]`` section or a stricter one.
        collateral: Where collateral comes from; also remembers what peers staple.
        clock: The time now, UTC.
    """

    contract: Contract
    appraiser: Appraiser
    collateral: CachedCollateral
    clock: Clock

    def is_own_key(self, spki_sha256: bytes) -> bool:  # noqa: ARG002 (nodes have some)
        """Whether a key is one of this side's own node."""
        return False

    def is_own_name(self, node: str) -> bool:  # noqa: ARG002 (nodes have one)
        """Whether a name is that of this side's own node."""
        return False


class KeySource(Protocol):
    """Where a node gets keys: its party's key server."""

    def data_key(self, identity: NodeIdentity, set_id: bytes) -> bytes:
        """The key of a sealed data set, 32 bytes.

        Raises:
            CoterieError: This node may not have it, or the source cannot be reached.
        """
        ...

    def model_key(self, identity: NodeIdentity) -> tuple[bytes, bytes] | None:
        """Id and key, 32 bytes each, that the party's trained model is to be sealed under.

        None: the party lets this node keep the model open.

        Raises:
            CoterieError: This node may not have it, or the source cannot be reached.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class TrustContext(RelyingParty):
    """All that a node needs to prove itself and to judge its peers.

    Attributes:
        node: This node, one of the contract's.
        tee: What makes its quotes.
        credentials: This node's own keys, certificates and vouchers.
        keys: The party's key server, where there is one.
    """

    node: Node
    tee: Tee
    credentials: CredentialKeeper
    keys: KeySource | None = None

    def is_own_key(self, spki_sha256: bytes) -> bool:
        """See RelyingParty."""
        return self.credentials.is_own_key(spki_sha256)

    def is_own_name(self, node: str) -> bool:
        """See RelyingParty."""
        return node == self.node.name

    @property
    def reattestation(self) -> timedelta:
        """For how long a pinned certificate is trusted."""
        return timedelta(minutes=self.contract.trust.reattestation_minutes)


def make_trust(
    contract: Contract,
    node_name: str,
    tee: Tee,
    vouchers: VoucherSource,
    clock: Clock,
    *,
    collateral: CollateralSource | None = None,
    incarnation: int | None = None,
) -> TrustContext:
    """Puts a node's trust together.

    Args:
        contract: The contract to run under.
        node_name: Which of its nodes this is.
        tee: The TEE that this process runs in.
        vouchers: Where the node's party vouches for it.
        clock: The time now, UTC.
        collateral: Where collateral comes from; left out, a simulated node makes its own, and
            any other node takes what its peers staple. Nothing older replaces what was seen.
        incarnation: Number of this start of the node; by default the time now in microseconds.

    Raises:
        ContractInvalid: The contract has no such node.
        EvidenceRefused: ``tee_kind``: the TEE is of another kind than the contract's.
        VoucherRefused: The party does not vouch for this node.
        EnvironmentUnfit: The TEE cannot make a quote.
    """
    node = next((node for node in contract.nodes if node.name == node_name), None)
    if node is None:
        raise ContractInvalid(
            f"the contract has no node {node_name!r}",
            expected=f"one of {', '.join(node.name for node in contract.nodes)[:300]}",
            seen=node_name[:100],
            remedy="start the node under a name that the contract lists",
        )
    if tee.kind != contract.trust.tee:
        raise EvidenceRefused(
            "tee_kind",
            "this process runs in another kind of TEE than the contract demands",
            expected=contract.trust.tee,
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
        collateral = SimulatedCollateral() if tee.kind == "simulated" else StapledOnly()
    if not isinstance(collateral, CachedCollateral):
        collateral = CachedCollateral(collateral, kind=tee.kind)
    measurement = tee.describe().measurement
    return TrustContext(
        contract=contract,
        node=node,
        tee=tee,
        appraiser=Appraiser(
            contract.trust, own_measurement=bytes.fromhex(measurement) if measurement else None
        ),
        collateral=collateral,
        credentials=keeper,
        clock=clock,
    )
