"""The server's side: answers a visitor whose party is one of the contract's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from coterie.attestation.collateral_source import stapled
from coterie.contract.signatures import verify_statement
from coterie.errors import (
    CallRefused,
    CoterieError,
    HandshakeFailed,
    MessageRefused,
    PeerUnreachable,
    SignatureRefused,
)
from coterie.ps.progress import Progress
from coterie.ratls.guests import Reception, Visit
from coterie.ratls.messages import FrameReader, Refusal
from coterie.ratls.peer import Peer
from coterie.ratls.session import EXPORTER_BYTES, session_report_data
from coterie.ratls.trust import TrustContext
from coterie.status.messages import (
    ALPN,
    ASK_BYTES,
    ASK_ITEMS,
    EXPORTER_LABEL,
    Answer,
    Ask,
    SeenPeer,
    decode_message,
    encode_message,
    session_statement,
)


@dataclass(frozen=True)
class StatusService:
    """Answers visitors.

    Attributes:
        trust: This node's.
        overview: Where the run stands now.
        peers: Who has proved itself now.
    """

    trust: TrustContext
    overview: Callable[[], Progress]
    peers: Callable[[], tuple[Peer, ...]]

    @property
    def reception(self) -> Reception:
        """For the attestation port."""
        return Reception(ALPN, self._serve)

    def _serve(self, visit: Visit) -> None:
        """Answers one question.

        Raises:
            CallRefused: The visitor is of no party of the contract.
            CoterieError: The visitor went away, or sent something else.
        """
        try:
            answer = self._answer(visit)
        except (PeerUnreachable, HandshakeFailed):
            raise  # the visitor is gone
        except CoterieError as error:
            with suppress(CoterieError):  # the visitor went away; the refusal stands all the same
                visit.connection.send(encode_message(Refusal(error.to_dict())))
            raise
        visit.connection.send(encode_message(answer))

    def _answer(self, visit: Visit) -> Answer:
        frames = FrameReader(partial(decode_message, items=ASK_ITEMS), ASK_BYTES)
        ask = frames.read_message(visit.connection.receive)
        if not isinstance(ask, Ask):
            raise MessageRefused(
                "the visitor sent a message out of order",
                expected="a question",
                seen=type(ask).__name__,
                remedy="run the same version of Coterie on both sides",
            )
        exporter = visit.connection.exporter(EXPORTER_LABEL, EXPORTER_BYTES)
        own_key = visit.credentials.identity.spki_digest
        try:
            verify_statement(
                self.trust.contract,
                ask.party,
                session_statement(exporter=exporter, server_key=own_key, visitor_key=visit.key),
                ask.signature,
                at=visit.at,
            )
        except SignatureRefused as error:
            raise CallRefused(
                "only parties of the contract may ask for the status",
                expected=error.expected,
                seen=error.seen,
                remedy="ask with --party-key: the key that the contract names for your party",
            ) from error
        quote = self.trust.tee.quote(
            session_report_data(
                "listener",
                exporter=exporter,
                own_key=own_key,
                peer_key=visit.key,
                peer_nonce=ask.nonce,
            )
        )
        collateral = b""
        if ask.wants_collateral:
            collateral = stapled(self.trust.collateral, quote, visit.at)
        return Answer(
            quote,
            visit.credentials.voucher.to_cbor(),
            collateral,
            self.overview(),
            tuple(_seen(peer) for peer in self._newest_peers()),
        )

    def _newest_peers(self) -> tuple[Peer, ...]:
        """One per node: a renewed certificate stands beside the old one for a while."""
        newest: dict[str, Peer] = {}
        for peer in self.peers():
            known = newest.get(peer.node)
            if known is None or known.attested_at < peer.attested_at:
                newest[peer.node] = peer
        order = self.trust.contract.node_names
        return tuple(newest[name] for name in order if name in newest)


def _seen(peer: Peer) -> SeenPeer:
    return SeenPeer(
        node=peer.node,
        incarnation=peer.incarnation,
        tcb_status=peer.verdict.tcb_status,
        measurement=next(iter(dict(peer.verdict.measurements).values()), ""),
        attested_at=int(peer.attested_at.timestamp()),
        until=int(peer.expires_at.timestamp()),
    )
