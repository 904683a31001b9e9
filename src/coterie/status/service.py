"""The server's side of a status query: answers guests of the contract's parties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coterie.contract.signatures import verify_statement
from coterie.errors import CallRefused, SignatureRefused
from coterie.ps.progress import Progress
from coterie.ratls.guests import Reception, Visit
from coterie.ratls.peer import Peer
from coterie.ratls.request import Exchange, fresh_evidence, told_of_refusals
from coterie.ratls.tokens import own_tokens
from coterie.ratls.trust import TrustContext
from coterie.status.messages import (
    ASK_BYTES,
    PROTOCOL,
    Answer,
    Answered,
    Ask,
    ClusterAnswer,
    SeenCluster,
    SeenPeer,
    SeenRun,
)


@dataclass(frozen=True)
class StatusService:
    """Answers guests.

    Attributes:
        trust: This node's trust.
        overview: Gives the progress of the run or cluster.
        peers: Gives the attested nodes.
    """

    trust: TrustContext
    overview: Callable[[], Progress | SeenCluster]
    peers: Callable[[], tuple[Peer, ...]]

    @property
    def reception(self) -> Reception:
        """The reception for the attestation port."""
        return Reception(PROTOCOL.alpn, self._serve)

    def _serve(self, visit: Visit) -> None:
        """Answers one question.

        Raises:
            CallRefused: The guest belongs to no party of the contract.
            CoterieError: The guest went away, or sent something else.
        """
        exchange = Exchange(
            visit.connection,
            PROTOCOL,
            side="listener",
            own_key=visit.credentials.identity.spki_digest,
            peer_key=visit.key,
            peer_name="the visitor",
        )
        with told_of_refusals(visit.connection):
            exchange.send(self._answer(exchange, visit))

    def _answer(self, exchange: Exchange, visit: Visit) -> Answered:
        ask = exchange.receive(Ask, most=ASK_BYTES)
        try:
            verify_statement(
                self.trust.contract, ask.party, exchange.statement, ask.signature, at=visit.at
            )
        except SignatureRefused as error:
            raise CallRefused(
                "only parties of the contract may ask for the status",
                expected=error.expected,
                seen=error.seen,
                remedy="ask with --party-key: the key that the contract names for your party",
            ) from error
        quote, staple = fresh_evidence(
            self.trust.tee,
            self.trust.collateral,
            exchange.binding.own_report_data(ask.nonce),
            staple=ask.wants_collateral,
            at=visit.at,
        )
        seen = self.overview()
        common = {
            "quote": quote,
            "voucher": visit.credentials.voucher.to_cbor(),
            "collateral": staple,
            "tokens": own_tokens(self.trust.tokens, visit.credentials.identity),
            "peers": tuple(_seen(peer) for peer in self._newest_peers()),
        }
        if isinstance(seen, SeenCluster):
            return ClusterAnswer.model_validate({**common, "cluster": seen})
        return Answer.model_validate({**common, "run": SeenRun.of(seen)})

    def _newest_peers(self) -> tuple[Peer, ...]:
        """The newest peer of each node; a renewed certificate is pinned beside the old one."""
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
