"""The key server's side of a connection: verify the node, decide, write the journal, answer."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from datetime import datetime
from typing import assert_never

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.contract.expiry import check_in_force
from coterie.errors import CoterieError
from coterie.keys.key_shares import party_share
from coterie.keys.server.journal import Journal
from coterie.keys.server.messages import (
    PLAIN,
    PROTOCOL,
    Grant,
    KeyRequest,
    ServerHello,
    request_bytes,
)
from coterie.keys.server.policy import KeyPolicy
from coterie.ratls.claims import Claims
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import ThrowAwayIdentity
from coterie.ratls.request import Exchange, tls_session, told_of_refusals
from coterie.ratls.schema import NONCE_BYTES
from coterie.ratls.tokens import demanded_of
from coterie.ratls.trust import RelyingParty
from coterie.ratls.verify import CertificateJudge, JudgedCertificate
from coterie.ratls.voucher import VOUCHER_LIFETIME, sign_voucher


class KeyService:
    """Answers one request per connection.

    Args:
        policy: The policy.
        key: The party's private key.
        trust: Verifies nodes by the policy's rules.
        journal: Every answer is written to it before it is sent.
        decided: Called for every request with the claims, the request, and the refusal, if any.
    """

    def __init__(
        self,
        policy: KeyPolicy,
        key: Ed25519PrivateKey,
        trust: RelyingParty,
        journal: Journal,
        decided: Callable[[Claims, str, CoterieError | None], None] = lambda *_: None,
    ) -> None:
        self._policy = policy
        self._key = key
        self._trust = trust
        self._journal = journal
        self._decided = decided

    def handle(self, sock: socket.socket, seconds: float) -> None:
        """Serves a connection; it is closed in the end.

        Raises:
            CoterieError: The node got no key; the reason was sent to it if possible.
        """
        with sock:  # if TLS began, it was already closed in order
            at = self._trust.clock()
            server = ThrowAwayIdentity.create(at)
            judge = CertificateJudge(self._trust, expected_node=None, at=at)
            with tls_session(
                sock,
                server,
                judge,
                side="listener",
                at=at,
                deadline=Deadline.after(seconds),
                peer_name="the node",
                alpn=PROTOCOL.alpn,
            ) as connection:
                exchange = Exchange(
                    connection,
                    PROTOCOL,
                    side="listener",
                    own_key=server.spki_sha256,
                    peer_key=judge.judged.certificate.spki_sha256,
                    peer_name="the node",
                )
                with told_of_refusals(connection):
                    exchange.send(Grant(content=self._converse(exchange, judge.judged, at)))

    def _converse(self, exchange: Exchange, judged: JudgedCertificate, at: datetime) -> bytes:
        hello = ServerHello(
            nonce=secrets.token_bytes(NONCE_BYTES),
            signature=self._key.sign(exchange.statement),
            wants_collateral=judged.collateral is None,
        )
        exchange.send(hello)
        demanded = demanded_of(judged.claims, self._trust)
        most = request_bytes(stapled=hello.wants_collateral, tokens=bool(demanded))
        request = exchange.receive(KeyRequest, most=most)
        exchange.judge(
            judged,
            request.quote,
            request.collateral,
            request.tokens,
            nonce=hello.nonce,
            trust=self._trust,
            at=at,
        )
        return self._answer(judged, request, at)

    def _answer(self, judged: JudgedCertificate, request: KeyRequest, at: datetime) -> bytes:
        claims = judged.claims
        refusal: CoterieError | None = None
        content = b""
        try:
            content = self._decide(claims, request, at)
        except CoterieError as error:
            refusal = error
        self._journal.add(
            {
                "at": at.isoformat(timespec="seconds"),
                "node": claims.node,
                "role": claims.role,
                "party": claims.party,
                "incarnation": claims.incarnation,
                "key": claims.pubkey_hash.hex(),
                "contract": claims.contract_digest.hex(),
                "wanted": request.wanted,
                "set_id": request.set_id.hex(),
                "outcome": type(refusal).__name__ if refusal else "granted",
            }
        )
        self._decided(claims, request.wanted, refusal)
        if refusal is not None:
            raise refusal
        return content

    def _decide(self, claims: Claims, request: KeyRequest, at: datetime) -> bytes:
        policy = self._policy
        check_in_force(policy.contract, at)
        match request.wanted:
            case "voucher":
                policy.check_voucher(claims)
                return sign_voucher(self._key, claims, expiry=at + VOUCHER_LIFETIME).to_cbor()
            case "data":
                return policy.data_key(claims, request)
            case "model":
                key = policy.model_key(claims)
                return PLAIN if key == "plain" else key.set_id + key.key
            case "share":
                policy.check_share(claims, request.voucher, at=at)
                return party_share(self._key, policy.contract)
            case _:
                assert_never(request.wanted)
