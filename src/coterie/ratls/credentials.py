"""A node's credentials, and their renewal before they expire."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from coterie.attestation.tee.base import Tee
from coterie.contract import Contract, Node
from coterie.contract.expiry import check_in_force
from coterie.errors import CoterieError, PeerUnreachable
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.voucher import Voucher, VoucherSource, verify_voucher

Clock = Callable[[], datetime]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """The credentials that a node shows to its peers.

    Attributes:
        identity: Its key and certificate.
        voucher: Its party's voucher for that key.
    """

    identity: NodeIdentity
    voucher: Voucher

    @property
    def expires_at(self) -> datetime:
        """The earlier expiry of certificate and voucher, UTC."""
        return min(self.identity.certificate.not_after, self.voucher.expires_at)


class _Renewal:
    """One attempt to make new credentials.

    Attributes:
        ended: Set when it has ended.
        error: Its error, if it failed.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.error: Exception | None = None


class CredentialKeeper:
    """Makes a node's credentials and renews them before they expire; one per process. Thread-safe.

    Renewal makes a new key. Old credentials are kept until they expire, for peers that attested
    them. If the voucher comes over a network, a renewal runs in the background, and the present
    credentials are used as long as they are valid. So an absent key server does not stop handshakes
    before that.

    Args:
        contract: The contract that the node runs under.
        node: The node.
        tee: Makes its quotes.
        vouchers: Source of its party's vouchers.
        clock: The time now, UTC.
        incarnation: Number of this start of the node.
        wait_seconds: How long to wait for a renewal if no credentials are valid any more.
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
        self._lock = threading.Lock()  # guards what follows; not held while a renewal is waited for
        self._held: tuple[Credentials, ...] = ()  # newest first
        self._renew_at: datetime | None = None
        self._renewal: _Renewal | None = None

    @property
    def incarnation(self) -> int:
        """Number of this start of the node."""
        return self._incarnation

    def current(self) -> Credentials:
        """The present credentials; renews them if they expire soon.

        Raises:
            ContractExpired: The contract has ended.
            EnvironmentUnfit: The TEE cannot make a quote.
            VoucherRefused: The party does not vouch for this node.
            PeerUnreachable: All credentials have expired, and the key server has not answered yet.
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
        """The newest credentials, then older valid ones, which peers may still have pinned.

        Never waits for a network.

        Raises:
            ContractExpired: The contract has ended.
        """
        check_in_force(self._contract, self._clock())
        self._renewed()
        with self._lock:
            now = self._clock()
            return tuple(item for item in self._held if now < item.expires_at)

    def is_own_key(self, spki_sha256: bytes) -> bool:
        """Whether a key is one of this node's own."""
        with self._lock:
            return any(item.identity.spki_digest == spki_sha256 for item in self._held)

    def _renewed(self) -> _Renewal | None:
        """The renewal that is in progress or was just started; None if none is due."""
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
        except Exception as error:  # noqa: BLE001 (raised if no other credentials are valid)
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
        """Postpones the next renewal by a quarter of the remaining time, if any."""
        try:
            now = self._clock()
        except CoterieError:
            return  # do not postpone by a wrong clock
        rest = self._held[0].expires_at - now
        if rest > timedelta():
            self._renew_at = now + rest / 4

    def _make(self, now: datetime) -> Credentials:
        identity = NodeIdentity.create(
            self._contract, self._node, self._tee, incarnation=self._incarnation, at=now
        )
        voucher = self._vouchers.vouch(identity)
        # A party key that is not the contract's should fail here and not at a peer.
        verify_voucher(voucher, identity.claims, contract=self._contract, at=now)
        return Credentials(identity, voucher)
