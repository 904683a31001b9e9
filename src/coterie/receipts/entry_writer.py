"""Appends signed entries to a receipt: the file, this node's own evidence, and its peers'.

What a run and a TensorFlow cluster tell beyond that, ``recorder`` and ``cluster_recorder`` add.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from coterie.attestation.authentic import AnyCollateral
from coterie.attestation.clock import clock_is_behind
from coterie.attestation.evidence import parse_evidence
from coterie.contract import canonical_json, contract_digest
from coterie.contract.signatures import ContractSignature
from coterie.errors import CoterieError, EvidenceRefused
from coterie.ratls.credentials import Credentials
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.peer import Peer
from coterie.ratls.trust import TrustContext
from coterie.receipts import entries, entry_types
from coterie.receipts.chain import Chain
from coterie.receipts.entry_types import Body
from coterie.receipts.file import ReceiptFile
from coterie.receipts.from_events import attested_body, body_of
from coterie.runs import events
from coterie.runs.run_files import RECEIPT

_KEPT_REFUSALS = 100
_KEPT_ATTESTATIONS = 100
_CLOCK_TOLERANCE = timedelta(minutes=1)
_log = logging.getLogger(__name__)


class EntryWriter(ABC):
    """Writes entries. Thread-safe.

    If the receipt cannot be written any more, the run goes on; its end says why.

    Args:
        folder: The node's folder; a receipt in it is continued.
        trust: This node's trust; its key signs the entries.
        signatures: The parties' known signatures on the contract.

    Raises:
        ReceiptRefused: The existing receipt was altered, or is not of this contract and node.
        EvidenceRefused: ``clock``: this host's clock is behind the receipt; ``incarnation``: this
            process is older than the one that wrote it.
        EnvironmentUnfit: It cannot be written.
    """

    def __init__(
        self, folder: Path, trust: TrustContext, signatures: Iterable[ContractSignature] = ()
    ) -> None:
        self._trust = trust
        # Guards everything below, and the order of entries in the file.
        self._lock = threading.Lock()
        self._chain = Chain()
        self._digests: list[bytes] = []  # of all entries, in order
        self._on_disk = 0  # number of entries that are durable
        self._identity: NodeIdentity | None = None
        self._collateral: set[str] = set()
        self._certificates: set[bytes] = set()  # digests of those with an entry
        self._attestations: Counter[str] = Counter()
        self._not_kept: Counter[str] = Counter()
        self._refusals = self._refusals_not_kept = 0
        self._failure: CoterieError | None = None
        self._file = ReceiptFile(folder / RECEIPT)
        try:
            self._go_on()
            if not self._chain.complete:
                self._begin(signatures)
        except BaseException:
            self._file.close()
            raise

    def attested(self, peer: Peer) -> None:
        """Keeps the evidence of a peer after its handshake. Called before the peer's first call."""
        if peer.proof is None:
            return
        renewed = self._renewed(peer.proof.own_key)  # may ask a PCCS, so outside of the lock
        with self._lock:
            if not self._closed:
                self._guarded(lambda: self._take_peer(peer, renewed))

    def on_event(self, event: events.Event) -> None:
        """Records an event of this node."""
        with self._lock:
            if not self._closed:
                self._guarded(lambda: self._take(event))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    # --- inside the lock -----------------------------------------------------------------------

    @property
    def _closed(self) -> bool:
        return self._chain.complete or self._failure is not None

    @property
    def _counted_only(self) -> dict[str, int]:
        """What has no entry of its own, for the last one."""
        not_kept = dict(self._not_kept)
        if self._refusals_not_kept:
            not_kept["refused"] = self._refusals_not_kept
        return not_kept

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except CoterieError as error:
            self._failure = error
        except ValueError as error:  # a defect of the recorder must not end the training
            self._failure = CoterieError(
                "the receipt cannot hold what happened", seen=str(error)[:400]
            )

    def _take_peer(
        self, peer: Peer, renewed: tuple[NodeIdentity, entry_types.Server] | None
    ) -> None:
        if renewed is not None:
            self._show(*renewed)
        self._take_proved(peer)

    @abstractmethod
    def _take_proved(self, peer: Peer) -> None:
        """Writes a peer's evidence, if it is due."""

    @abstractmethod
    def _take(self, event: events.Event) -> None:
        """Writes an event's entries."""

    def _take_refusal(self, refused: events.Refused) -> None:
        """Writes a refusal; those beyond the bound are only counted."""
        count = refused.count
        if self._refusals < _KEPT_REFUSALS:
            self._append(body_of(refused))
            self._refusals += 1
            count -= 1
        self._refusals_not_kept += count

    def _keep_peer(self, peer: Peer) -> bool:
        """Writes a peer's evidence once per certificate; returns whether the receipt has it."""
        assert peer.proof is not None
        if peer.certificate_sha256 in self._certificates:
            return True
        if self._attestations[peer.node] >= _KEPT_ATTESTATIONS:
            self._not_kept[peer.node] += 1
            return False
        self._attestations[peer.node] += 1
        self._certificates.add(peer.certificate_sha256)
        self._append(attested_body(peer, peer.proof, self._keep_collateral(peer.proof.collateral)))
        return True

    def _keep_collateral(self, collateral: AnyCollateral) -> str:
        fields = entries.collateral_fields(collateral)
        digest = entries.collateral_digest(fields)
        if digest not in self._collateral:
            self._append(entry_types.Signed(digest=digest, fields=fields))
            self._collateral.add(digest)
        return digest

    # --- the server's own evidence -------------------------------------------------------------

    def _go_on(self) -> None:
        """Checks what an earlier process has written, since the host may have altered it."""
        if not self._file.holds:
            return
        from coterie.receipts.verification import Verifier

        trust = self._trust
        verifier = Verifier(
            lambda _: trust.appraiser, expected=trust.contract, collateral=trust.collateral
        )
        for entry in self._file.entries():
            self._take_entry(entry)
            verifier.take(entry)
            match entry.body:
                case entry_types.Signed(digest=digest):
                    self._collateral.add(digest)
                case entry_types.Server(collateral=fields) if fields is not None:
                    self._collateral.add(entries.collateral_digest(fields))
        if self._chain.length == 1:  # that process ended before its second entry
            self._file.clear()
            self._chain, self._collateral = Chain(), set()
            self._digests.clear()
            return
        newest = verifier.check_servers()
        own = trust.credentials.incarnation
        if own <= newest and not self._chain.complete:
            raise EvidenceRefused(
                "incarnation",
                "an older start of this server came after a newer one",
                expected=f"later than {newest}, which the receipt tells of",
                seen=str(own),
                remedy="of two processes of one node the newer one counts; if the host's clock was "
                "set back, correct it",
            )
        last = self._chain.last
        if last is not None and (now := trust.clock()) < last.at - _CLOCK_TOLERANCE:
            raise clock_is_behind(now, last.at)

    def _begin(self, signatures: Iterable[ContractSignature]) -> None:
        shown = self._trust.credentials.current()
        if self._chain.length:
            self._show(shown.identity, self._evidence(shown, "restart"))
            return
        self._show(shown.identity, self._evidence(shown, "start"))
        contract = self._trust.contract
        self._append(
            entry_types.Agreement(
                format=entry_types.format_of(contract),
                stamp=contract.trust.stamp,
                digest=contract_digest(contract).hex(),
                contract=entries.json_of(canonical_json(contract)),
                signatures=tuple(
                    entry_types.PartySignature(party=one.party, signature=one.signature)
                    for one in signatures
                ),
            ),
            durably=True,
        )

    def _renewed(self, key: bytes) -> tuple[NodeIdentity, entry_types.Server] | None:
        """This node's renewed key and its evidence, if a peer was shown a key that is newer."""
        known = self._identity
        if known is None or key == known.spki_digest:
            return None
        for shown in self._trust.credentials.held():
            newer = shown.identity.certificate.not_before >= known.certificate.not_before
            if shown.identity.spki_digest == key and newer:
                return shown.identity, self._evidence(shown, "renewal")
        return None

    def _show(self, identity: NodeIdentity, evidence: entry_types.Server) -> None:
        """Writes this node's own evidence; its key signs this entry and those after it."""
        if self._identity is None or self._identity.spki_digest != identity.spki_digest:
            self._identity = identity
            self._append(evidence, durably=True)
            if evidence.collateral is not None:
                self._collateral.add(entries.collateral_digest(evidence.collateral))

    def _evidence(self, shown: Credentials, reason: entry_types.ServerReason) -> entry_types.Server:
        fields = None
        try:
            quote = parse_evidence(shown.identity.certificate.evidence.quote)
            collateral = self._trust.collateral.collateral_for(quote, self._trust.clock())
        except CoterieError:  # nodes on the same kind of platform may supply it
            _log.info("no collateral for this node's own evidence: the receipt goes without")
        else:
            fields = entries.collateral_fields(collateral)
        return entry_types.Server(
            reason=reason,
            certificate=entries.text(shown.identity.certificate_der),
            voucher=entries.text(shown.voucher.to_cbor()),
            collateral=fields,
            lost=self._file.lost if reason != "renewal" else 0,
        )

    def _append(self, body: Body, *, durably: bool = False) -> None:
        assert self._identity is not None
        at = self._trust.clock()
        if self._chain.last is not None:
            # An earlier process may have written times slightly ahead.
            at = max(at, self._chain.last.at)
        fields = entries.statement(
            index=self._chain.length, at=at, body=body, previous=self._chain.head
        )
        fields["signature"] = self._identity.sign(entries.signed_bytes(fields)).hex()
        line = entries.canonical(fields)
        entry = entries.decode_line(line, self._chain.length + 1)
        self._file.append(line, durably=durably)
        self._take_entry(entry)
        if durably:
            self._on_disk = len(self._digests)

    def _take_entry(self, entry: entries.Entry) -> None:
        self._chain.take(entry)
        self._digests.append(bytes.fromhex(entry.digest))
