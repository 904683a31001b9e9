"""Verifies the evidence in a receipt, with the code that verified it during the run.

Evidence is verified as of the time that the server states, with the collateral that the server
used. Others' signatures bound that time: a certificate is valid for a few hours around it, and
collateral that was issued later refuses it. A caller can give another time for all evidence.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from typing_extensions import override

from coterie.attestation.appraiser import Appraiser
from coterie.attestation.authentic import AnyCollateral, AnyQuote
from coterie.attestation.collateral_source import CachedCollateral, CollateralSource, StapledOnly
from coterie.attestation.evidence import read_collateral
from coterie.contract import Contract
from coterie.errors import CoterieError, EvidenceRefused, ReceiptRefused
from coterie.ratls.certificate import read_certificate
from coterie.ratls.session_binding import session_report_data
from coterie.ratls.tokens import judge_tokens
from coterie.ratls.trust import RelyingParty
from coterie.ratls.verify import JudgedCertificate, judge_certificate, judge_session
from coterie.ratls.voucher import Voucher, verify_voucher
from coterie.receipts import entries, entry_types
from coterie.receipts.entries import Entry, octets
from coterie.receipts.findings import Proved

_MAX_COLLATERAL = 512
T = TypeVar("T")


class EvidenceJudge:
    """Judges certificates, session quotes and vouchers.

    Args:
        collateral: Source of collateral that the receipt lacks.
        at: Time as of which to verify; if absent, the entries' own times.

    Attributes:
        digest: Digest of the contract, 32 bytes.
        proved: The evidence that was accepted.
        incarnation: Incarnation of the server's newest start among the verified ones.
    """

    def __init__(self, collateral: CollateralSource | None, at: datetime | None) -> None:
        self._source: CollateralSource = collateral or StapledOnly()
        self._at = at
        self._contract: Contract | None = None
        self._appraiser: Appraiser | None = None
        self._collateral: dict[str, AnyCollateral] = {}
        self._servers: list[tuple[Entry, entry_types.Server]] = []
        self._server_keys: set[str] = set()
        self.incarnation = -1
        self.digest = b""
        self.proved: list[Proved] = []

    def judge_by(self, contract: Contract, digest: bytes, appraiser: Appraiser) -> None:
        """Sets the appraiser, and the contract digest that claims must have."""
        self._contract, self.digest, self._appraiser = contract, digest, appraiser

    def keep_server(self, entry: Entry, server: entry_types.Server) -> None:
        """Keeps a key of the server. Its evidence is verified when all collateral was read.

        Raises:
            ReceiptRefused: Its certificate or collateral cannot be read.
        """
        certificate = within(entry, lambda: read_certificate(octets(server.certificate)))
        self._servers.append((entry, server))
        self._server_keys.add(certificate.spki_sha256.hex())
        if server.collateral is not None:
            digest = entries.collateral_digest(server.collateral)
            self.keep_collateral(entry, digest, server.collateral)

    def keep_collateral(self, entry: Entry, digest: str, fields: dict[str, str]) -> None:
        """Keeps collateral that other entries name.

        Raises:
            ReceiptRefused: It is malformed, or has another digest.
        """
        seen = entries.collateral_digest(fields)
        entry.check_same("the collateral has another digest than the receipt says", digest, seen)
        if len(self._collateral) >= _MAX_COLLATERAL:
            raise entry.refused("too much collateral", f"at most {_MAX_COLLATERAL}", "more")
        self._collateral[digest] = within(entry, lambda: read_collateral(entries.canonical(fields)))

    def judge_servers(self) -> None:
        """Verifies the evidence of every key that signs.

        Raises:
            ReceiptRefused: One fails; the place is its line.
        """
        for entry, server in self._servers:
            within(entry, partial(self._judge_server, entry, server))
        self._servers.clear()

    def _check_start(self, entry: Entry, server: entry_types.Server, incarnation: int) -> None:
        """Checks that a later process of the server has a larger incarnation."""
        before, self.incarnation = self.incarnation, incarnation
        fits = incarnation == before if server.reason == "renewal" else incarnation > before
        if not fits:
            raise entry.refused(
                f"a {server.reason} by another start of the server",
                f"start {before}" + ("" if server.reason == "renewal" else " is over: a later one"),
                f"start {incarnation}",
            )

    def judge_node(self, entry: Entry, node: entry_types.AttestedNode) -> None:
        """Verifies a node's evidence.

        Raises:
            ReceiptRefused: It fails; the place is its line.
        """
        within(entry, partial(self._judge_node, entry, node))

    @property
    def contract(self) -> Contract:
        """The receipt's contract: its second entry, so known before any node's evidence."""
        assert self._contract is not None
        return self._contract

    def _judge_server(self, entry: Entry, server: entry_types.Server) -> None:
        der = octets(server.certificate)
        at = self._at or entry.at
        lead = self.contract.receipt_keeper().name
        source: CollateralSource
        if server.collateral is not None:
            source = _Named(self._collateral[entries.collateral_digest(server.collateral)])
        else:
            source = _Fitting(tuple(self._collateral.values()), self._source)
        judged = self._judge(der, server.voucher, lead, source, at)
        if judged.verdict is None:
            raise ReceiptRefused(
                "the receipt is refused: the server's evidence cannot be judged",
                place=entry.place,
                expected="collateral of its platform, its own or brought by a node on another such",
                seen="none in the receipt",
                remedy="give --collateral DIR, a directory that `coterie attest fetch` filled",
            )
        self._check_start(entry, server, judged.claims.incarnation)
        self.proved.append(Proved.of(entry.line, server.reason, judged, judged.verdict, at))

    def _judge_node(self, entry: Entry, node: entry_types.AttestedNode) -> None:
        said = datetime.fromisoformat(node.attested_at)
        at = self._at or said
        if said > entry.at:
            limit = f"{entry.at.isoformat()} or before"
            raise entry.refused("it was attested after it was written", limit, node.attested_at)
        collateral = self._collateral.get(node.collateral)
        if collateral is None:
            raise entry.refused("its collateral is missing", f"collateral {node.collateral}")
        source = _Named(collateral)
        judged = self._judge(octets(node.certificate), node.voucher, node.node, source, at)
        claimed = judged.claims.incarnation
        entry.check_same("it claims another start than the receipt says", node.incarnation, claimed)
        session = node.session
        if session.server_key not in self._server_keys:
            what = "its session was with another key than the server's"
            raise entry.refused(what, "the key of a server entry before it", session.server_key)
        fresh = judge_session(
            judged,
            octets(session.quote),
            session_report_data(
                "dialler" if session.dialled else "listener",
                exporter=bytes.fromhex(session.exporter),
                own_key=judged.certificate.spki_sha256,
                peer_key=bytes.fromhex(session.server_key),
                peer_nonce=bytes.fromhex(session.nonce),
            ),
            b"",
            trust=self._trust(source, at),
            at=at,
        )
        tokens = octets(session.tokens) if session.tokens is not None else b""
        trust = self._trust(source, at)
        fresh = judge_tokens(fresh, judged, tokens, trust=trust, at=at)
        again = entry_types.Appraised.of(fresh.verdict)
        what = "its evidence gives another verdict than the receipt says"
        entry.check_same(what, node.verdict, again)
        self.proved.append(Proved.of(entry.line, "attested", judged, fresh.verdict, at))

    def _judge(
        self, der: bytes, voucher: str, node: str, source: CollateralSource, at: datetime
    ) -> JudgedCertificate:
        judged = judge_certificate(der, self._trust(source, at), expected_node=node, at=at)
        if not hmac.compare_digest(judged.claims.contract_digest, self.digest):
            raise EvidenceRefused(
                "contract_digest",
                f"{node} claims another contract than the receipt's",
                expected=self.digest.hex(),
                seen=judged.claims.contract_digest.hex(),
                remedy="evidence of another run was put into this receipt",
            )
        verify_voucher(
            Voucher.from_cbor(octets(voucher)), judged.claims, contract=self.contract, at=at
        )
        return judged

    def _trust(self, source: CollateralSource, at: datetime) -> RelyingParty:
        assert self._appraiser is not None
        return RelyingParty(
            contract=self.contract,
            appraiser=self._appraiser,
            collateral=CachedCollateral(source, kinds=self.contract.trust.kinds),
            clock=lambda: at,
        )


@dataclass(frozen=True)
class _Named(CollateralSource):
    """Collateral source with the collateral that an entry names."""

    collateral: AnyCollateral

    @override
    def collateral_for(self, quote: AnyQuote, at: datetime) -> AnyCollateral:
        return self.collateral


@dataclass(frozen=True)
class _Fitting(CollateralSource):
    """Collateral source with all of a receipt's: gives the newest for a platform as of a time."""

    held: tuple[AnyCollateral, ...]
    otherwise: CollateralSource

    @override
    def collateral_for(self, quote: AnyQuote, at: datetime) -> AnyCollateral:
        fitting = {
            held.freshness().newest: held
            for held in self.held
            if held.is_for(quote) and held.freshness().newest <= at
        }
        return fitting[max(fitting)] if fitting else self.otherwise.collateral_for(quote, at)


def within(entry: Entry, judge: Callable[[], T]) -> T:
    """Adds an entry's place to the errors that are raised inside the context."""
    try:
        return judge()
    except ReceiptRefused:
        raise
    except CoterieError as error:
        check = f"[{error.failed_check}] " if isinstance(error, EvidenceRefused) else ""
        what = f"the receipt is refused: {check}{error.what}"
        raise ReceiptRefused.because_of(error, what, place=entry.place) from error
