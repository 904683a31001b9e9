"""Writes the receipt of a run on shard 0, from attested peers and events.

Values that grow with the number of steps are summed. Entries that strangers can cause without limit
are only counted after the first few. A node's evidence is written when it joins, so that a peer
that only connects cannot fill the disk.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from coterie.attestation.clock import clock_is_behind
from coterie.attestation.collateral import Collateral
from coterie.attestation.quote import parse_quote
from coterie.contract import canonical_json, contract_digest
from coterie.contract.signatures import ContractSignature
from coterie.errors import CoterieError, EvidenceRefused, ReceiptRefused
from coterie.ps.wire.checkpoint_messages import ReceiptHead
from coterie.ratls.credentials import Credentials
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.peer import Peer
from coterie.ratls.trust import TrustContext
from coterie.receipts import entries, entry_types
from coterie.receipts.chain import Chain
from coterie.receipts.entry_types import Body
from coterie.receipts.file import ReceiptFile
from coterie.receipts.from_events import attested_body, body_of, outcome_of, start_body
from coterie.runs import events
from coterie.runs.outcome import RunEnd
from coterie.runs.result import RunResult
from coterie.runs.run_files import RECEIPT

_KEPT_REFUSALS = 100
_KEPT_ATTESTATIONS = 100
_CLOCK_TOLERANCE = timedelta(minutes=1)
_log = logging.getLogger(__name__)


class Recorder:
    """Keeps a run's receipt. Thread-safe.

    If the receipt cannot be written any more, the run goes on, and ``finish`` says why.

    Args:
        folder: The server's folder; a receipt in it is continued.
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
        self._proved: dict[str, Peer] = {}  # newest attested peer by node
        self._joined: dict[str, int] = {}  # incarnation that joined by node
        self._certificates: set[bytes] = set()  # digests of those with an entry
        self._attestations: Counter[str] = Counter()
        self._not_kept: Counter[str] = Counter()
        self._refusals = self._refusals_not_kept = 0
        self._examples = self._told = 0
        self._loss = 0.0
        self._failure: CoterieError | None = None
        self._file = ReceiptFile(folder / RECEIPT)
        try:
            self._go_on()
            if not self._chain.complete:
                self._begin(signatures)
        except BaseException:
            self._file.close()
            raise

    # --- what is recorded ----------------------------------------------------------------------

    def attested(self, peer: Peer) -> None:
        """Keeps the evidence of a peer after its handshake. Called before the peer's first call."""
        if peer.proof is None:
            return
        renewed = self._renewed(peer.proof.own_key)  # may ask a PCCS, so outside of the lock
        with self._lock:
            if not self._closed:
                self._guarded(lambda: self._take_peer(peer, renewed))

    def on_event(self, event: events.Event) -> None:
        """Records an event of shard 0."""
        with self._lock:
            if isinstance(event, events.StepDone):
                self._examples += event.examples
                if event.loss is not None:
                    self._told += event.over_examples
                    self._loss += event.loss * event.over_examples
            elif not self._closed:
                self._guarded(lambda: self._take(event))

    def finish(self, result: RunResult, end: RunEnd) -> None:
        """Writes the outcome.

        Args:
            result: The run's result.
            end: The run and its last checkpoint.

        Raises:
            EnvironmentUnfit: The receipt cannot be written, or could not be written earlier.
            ReceiptRefused: It already holds another outcome.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            not_kept = dict(self._not_kept)
            if self._refusals_not_kept:
                not_kept["refused"] = self._refusals_not_kept
            outcome = outcome_of(result, end, not_kept)
            if not self._chain.complete:
                self._append(outcome, durably=True)
                return
            assert self._chain.last is not None
            kept = self._chain.last.body
            if kept.model_copy(update={"not_kept": outcome.not_kept}) != outcome:
                raise ReceiptRefused(
                    "the receipt holds another outcome than this run's",
                    place=self._chain.last.place,
                    expected=str(outcome)[:400],
                    seen=str(kept)[:400],
                    remedy="keep both files and report this",
                )

    def head(self) -> ReceiptHead | None:
        """The last entry. Waits until it is durable, so that no crash removes a reported entry."""
        with self._lock:
            if self._on_disk < len(self._digests) and self._failure is None:
                self._guarded(self._sync)
            if not self._on_disk:
                return None
            return ReceiptHead(self._on_disk, self._digests[self._on_disk - 1])

    def holds(self, head: ReceiptHead) -> bool:
        """Whether the receipt contains that entry."""
        with self._lock:
            known = self._digests[head.entries - 1 : head.entries]
            return known == [head.digest]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    # --- inside the lock -----------------------------------------------------------------------

    @property
    def _closed(self) -> bool:
        return self._chain.complete or self._failure is not None

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
        known = self._proved.get(peer.node)
        if known is None or peer.incarnation >= known.incarnation:
            self._proved[peer.node] = peer
        if peer.role == "ps" or self._joined.get(peer.node) == peer.incarnation:
            self._keep_peer(peer)

    def _take(self, event: events.Event) -> None:
        match event:
            case events.Joined() as joined:
                self._take_join(joined)
            case events.StartTaken() as taken:
                peer, start = self._proved.get(taken.node), self._trust.contract.start
                if peer is not None:
                    self._keep_peer(peer)
                assert start is not None  # without a start in the contract, no node may send one
                self._append(start_body(taken, start))
            case events.CheckpointWritten(step, digest):
                loss = self._loss / self._told if self._told else None
                self._append(
                    entry_types.Checkpoint(
                        step=step, digest=digest, examples=self._examples, loss=loss
                    )
                )
                self._examples = self._told = 0
                self._loss = 0.0
            case events.Refused(count=count):
                # Entries beyond the bound are only counted.
                if self._refusals < _KEPT_REFUSALS:
                    self._append(body_of(event))
                    self._refusals += 1
                    count -= 1
                self._refusals_not_kept += count
            case events.Failed():
                self._append(body_of(event), durably=True)
            case _:
                if (body := body_of(event)) is not None:
                    self._append(body)

    def _take_join(self, joined: events.Joined) -> None:
        peer = self._proved.get(joined.node)
        if peer is None or peer.incarnation != joined.incarnation or not self._keep_peer(peer):
            return  # already counted, or replaced by a newer process, which joins itself
        self._joined[joined.node] = joined.incarnation
        self._append(body_of(joined))

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

    def _keep_collateral(self, collateral: Collateral) -> str:
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
        tee = contract.trust.tee
        self._append(
            entry_types.Agreement(
                format=2,
                stamp="SIMULATED" if tee == "simulated" else tee,
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
            quote = parse_quote(shown.identity.certificate.evidence.quote)
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

    def _sync(self) -> None:
        self._file.sync()
        self._on_disk = len(self._digests)
