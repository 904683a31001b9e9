"""The visitor's side: judges the server like any peer, and proves by its party's key who asks."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.address import Address
from coterie.attestation.verdict import Verdict
from coterie.contract import contract_digest
from coterie.contract.signatures import sign_statement
from coterie.errors import ContractMismatch, MessageRefused
from coterie.keys.server.service import ServerIdentity
from coterie.ratls.connect import Destination
from coterie.ratls.handshake import HANDSHAKE_SECONDS
from coterie.ratls.issue import spki_der
from coterie.ratls.messages import NONCE_BYTES, FrameReader, Refusal
from coterie.ratls.session import EXPORTER_BYTES, refused_by_peer, session_report_data
from coterie.ratls.tls import TlsConnection
from coterie.ratls.trust import RelyingParty
from coterie.ratls.verify import JudgedCertificate, judge_certificate, judge_session
from coterie.ratls.voucher import Voucher, verify_voucher
from coterie.status.messages import (
    ALPN,
    EXPORTER_LABEL,
    Answer,
    Ask,
    Message,
    answer_bytes,
    answer_items,
    decode_message,
    encode_message,
    session_statement,
)


@dataclass(frozen=True)
class AttestedStatus:
    """An answer of a server that has proved itself.

    Attributes:
        answer: What it says.
        verdict: How its session quote was judged.
        incarnation: Number of its process's start.
    """

    answer: Answer
    verdict: Verdict
    incarnation: int


def ask_status(
    address: Address, node: str, trust: RelyingParty, key: Ed25519PrivateKey, party: str
) -> AttestedStatus:
    """Asks a parameter server where the run stands.

    Args:
        address: Its attestation port; an untrusted hint.
        node: Who must answer.
        trust: Judges it.
        key: The asking party's private key.
        party: Its name in the contract.

    Raises:
        PeerUnreachable: Nobody answers there.
        EvidenceRefused: The server's evidence failed a check.
        VoucherRefused: Its voucher is missing or wrong.
        ContractMismatch: It runs under another contract.
        HandshakeFailed: It refused this visitor and says why.
        SignatureRefused: The key is not the party's.
    """
    return _Visit(address, node, trust).run(key, party)


class _Visit:
    """One connection."""

    def __init__(self, address: Address, node: str, trust: RelyingParty) -> None:
        self._address = address
        self._node = node
        self._trust = trust
        self._at: datetime = trust.clock()
        self._identity = ServerIdentity.create(self._at)
        self._key = hashlib.sha256(spki_der(self._identity.private_key.public_key())).digest()
        self._judged: JudgedCertificate | None = None

    def run(self, key: Ed25519PrivateKey, party: str) -> AttestedStatus:
        with Destination(self._address, self._node).conversation(
            self._identity, self._judge, alpn=ALPN, at=self._at, seconds=HANDSHAKE_SECONDS
        ) as connection:
            return self._converse(connection, key, party)

    def _judge(self, der: bytes) -> bytes:
        self._judged = judge_certificate(der, self._trust, expected_node=self._node, at=self._at)
        return self._judged.certificate.spki_der

    def _converse(
        self, connection: TlsConnection, key: Ed25519PrivateKey, party: str
    ) -> AttestedStatus:
        judged = self._judged
        assert judged is not None  # TLS does not complete without the callback
        contract = self._trust.contract
        if not hmac.compare_digest(judged.claims.contract_digest, contract_digest(contract)):
            raise ContractMismatch(
                f"{self._node} runs under another contract",
                expected=f"contract {contract_digest(contract).hex()}",
                seen=f"contract {judged.claims.contract_digest.hex()}",
                remedy="give --contract the file that the node was started with",
            )
        exporter = connection.exporter(EXPORTER_LABEL, EXPORTER_BYTES)
        server_key, nonce = judged.certificate.spki_sha256, secrets.token_bytes(NONCE_BYTES)
        statement = session_statement(
            exporter=exporter, server_key=server_key, visitor_key=self._key
        )
        signature = sign_statement(contract, key, party, statement)
        connection.send(
            encode_message(Ask(party, signature, nonce, wants_collateral=judged.collateral is None))
        )
        answer = self._receive(connection, stapled=judged.collateral is None)
        # Its party's word is cheap to check, and whoever has it is no stranger: so it comes first.
        verify_voucher(
            Voucher.from_cbor(answer.voucher), judged.claims, contract=contract, at=self._at
        )
        fresh = judge_session(
            judged,
            answer.quote,
            session_report_data(
                "listener",
                exporter=exporter,
                own_key=server_key,
                peer_key=self._key,
                peer_nonce=nonce,
            ),
            answer.collateral,
            trust=self._trust,
            at=self._at,
        )
        return AttestedStatus(answer, fresh.verdict, judged.claims.incarnation)

    def _receive(self, connection: TlsConnection, *, stapled: bool) -> Answer:
        nodes = len(self._trust.contract.nodes)
        frames: FrameReader[Message] = FrameReader(
            partial(decode_message, items=answer_items(nodes)), answer_bytes(nodes, stapled=stapled)
        )
        message = frames.read_message(connection.receive)
        if isinstance(message, Refusal):
            raise refused_by_peer(message, self._node)
        if not isinstance(message, Answer):
            raise MessageRefused(
                f"{self._node} sent a message out of order",
                expected="an answer",
                seen=type(message).__name__,
                remedy="run the same version of Coterie on both sides",
            )
        return message
