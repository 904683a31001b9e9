"""The key server as a process: listens, verifies evidence, decides, and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.address import Address
from coterie.attestation.appraiser import contracted_appraiser
from coterie.attestation.clock import FlooredClock
from coterie.attestation.collateral_options import collateral_from_options
from coterie.attestation.measurement import own_package_measurement
from coterie.contract.signatures import check_consent, check_party_key
from coterie.errors import CoterieError
from coterie.keys.server.journal import Journal
from coterie.keys.server.policy import KeyPolicy
from coterie.keys.server.service import KeyService
from coterie.ratls.claims import Claims
from coterie.ratls.credentials import Clock
from coterie.ratls.listener import AttestationListener, ListenerLimits, listen
from coterie.ratls.trust import RelyingParty

Tell = Callable[[Mapping[str, str]], None]


class KeyServer:
    """A party's key server.

    Args:
        policy: The policy.
        key: The party's private key.
        listen: ``HOST:PORT``; with port 0 the system chooses one.
        log: The journal.
        pccs_url: Address of a PCCS; in contracts for real TEEs only.
        kds_url: Address of AMD's key distribution service; in contracts with SEV-SNP only.
        collateral: Directory of collateral; in contracts for real TEEs only.
        tell: Called with its address, every request, and warnings about the policy, as flat
            strings.
        host_clock: The host's time, UTC.
        limits: Bounds of its port.

    Raises:
        ContractExpired: The contract has ended.
        SignatureRefused: The key is not the one that the contract names for the party, or parties
            have not signed the contract.
        ContractInvalid: An option has no meaning under this contract.
        JournalBroken: The journal cannot be gone on with.
    """

    def __init__(
        self,
        policy: KeyPolicy,
        key: Ed25519PrivateKey,
        *,
        listen: str,
        log: Path,
        pccs_url: str | None = None,
        kds_url: str | None = None,
        collateral: Path | None = None,
        tell: Tell = lambda _: None,
        host_clock: Clock = lambda: datetime.now(UTC),
        limits: ListenerLimits | None = None,
    ) -> None:
        clock = FlooredClock(host_clock(), clock=host_clock)
        check_party_key(policy.contract, key, policy.party, at=clock())
        check_consent(policy.contract, policy.contract_path, at=clock())
        own = None
        if policy.trust.simulated:
            own = own_package_measurement(tensorflow=policy.contract.tensorflow is not None)
        self._trust = RelyingParty(
            contract=policy.contract,
            appraiser=contracted_appraiser(policy.trust, own_measurement=own, folder=collateral),
            collateral=collateral_from_options(
                policy.trust.kinds,
                pccs_url=pccs_url,
                kds_url=kds_url,
                folder=collateral,
                observe=clock.observe,
            ),
            clock=clock,
        )
        self._policy = policy
        self._key = key
        self._listen = listen
        self._log = log
        self._tell = tell
        self._limits = limits

    @contextmanager
    def serving(self) -> Iterator[Address]:
        """Serves while the context is open; yields the address.

        Raises:
            AddressInUse: The port cannot be bound.
            JournalBroken: The journal cannot be gone on with.
        """
        wanted = Address.parse(self._listen)
        for warning in self._policy.warnings():
            self._tell(warning)
        journal = Journal(self._log)
        try:
            service = KeyService(self._policy, self._key, self._trust, journal, self._decided)
            sock = listen(wanted)
            address = Address(wanted.host, int(sock.getsockname()[1]))
            listener = AttestationListener(
                sock, service.handle, refused=self._refused, limits=self._limits
            )
            listener.start()
            self._tell({"event": "Listening", "party": self._policy.party, "address": str(address)})
            try:
                yield address
            finally:
                listener.stop()
        finally:
            journal.close()

    def _decided(self, claims: Claims, wanted: str, refusal: CoterieError | None) -> None:
        if refusal is None:
            self._tell({"event": "Granted", "node": claims.node, "wanted": wanted})

    def _refused(self, host: str, error: CoterieError, count: int) -> None:
        self._tell({"event": "Refused", "from": host, "count": str(count), **error.to_dict()})
