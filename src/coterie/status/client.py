"""The guest's side of a status query: verifies the server, and authenticates by its party's key."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coterie.address import Address
from coterie.attestation.verdict import Verdict
from coterie.contract import Contract, contract_digest
from coterie.contract.signatures import sign_statement
from coterie.errors import ContractMismatch
from coterie.ratls.claims import Claims
from coterie.ratls.connect import Destination
from coterie.ratls.guests import ThrowAwayIdentity
from coterie.ratls.request import Exchange, dialled
from coterie.ratls.schema import NONCE_BYTES
from coterie.ratls.tokens import demanded_of
from coterie.ratls.trust import RelyingParty
from coterie.ratls.verify import CertificateJudge
from coterie.ratls.voucher import Voucher, verify_voucher
from coterie.status.messages import PROTOCOL, Answered, Ask, answer_bytes, answer_items


@dataclass(frozen=True)
class AttestedStatus:
    """The answer of an attested server.

    Attributes:
        answer: Its answer.
        verdict: The verdict on its session quote.
        incarnation: Its incarnation.
    """

    answer: Answered
    verdict: Verdict
    incarnation: int


def ask_status(
    address: Address, node: str, trust: RelyingParty, key: Ed25519PrivateKey, party: str
) -> AttestedStatus:
    """Asks a parameter server, or a node of a TensorFlow cluster, for its progress.

    Args:
        address: Its attestation port; an untrusted hint.
        node: The node that must answer.
        trust: Verifies it.
        key: The asking party's private key.
        party: Its name in the contract.

    Raises:
        PeerUnreachable: There is no answer.
        EvidenceRefused: The server's evidence failed a check.
        VoucherRefused: Its voucher is missing or wrong.
        ContractMismatch: It runs under another contract.
        HandshakeFailed: It refused this guest; the error has its reason.
        SignatureRefused: The key is not the party's.
    """
    at = trust.clock()
    visitor = ThrowAwayIdentity.create(at)
    judge = CertificateJudge(trust, expected_node=node, at=at)
    with dialled(
        Destination(address, node), visitor, judge, alpn=PROTOCOL.alpn, at=at
    ) as connection:
        judged = judge.judged
        _check_contract(judged.claims, trust.contract)
        exchange = Exchange(
            connection,
            PROTOCOL,
            side="dialler",
            own_key=visitor.spki_sha256,
            peer_key=judged.certificate.spki_sha256,
            peer_name=node,
        )
        ask = Ask(
            party=party,
            signature=sign_statement(trust.contract, key, party, exchange.statement),
            nonce=secrets.token_bytes(NONCE_BYTES),
            wants_collateral=judged.collateral is None,
        )
        exchange.send(ask)
        nodes = len(trust.contract.nodes)
        demanded = demanded_of(judged.claims, trust)
        most = answer_bytes(nodes, stapled=ask.wants_collateral, tokens=bool(demanded))
        answer = exchange.receive(Answered, most=most, items=answer_items(nodes))
        # Check the voucher first: it is cheap to check, and no stranger has one.
        voucher = Voucher.from_cbor(answer.voucher)
        verify_voucher(voucher, judged.claims, contract=trust.contract, at=at)
        fresh = exchange.judge(
            judged,
            answer.quote,
            answer.collateral,
            answer.tokens,
            nonce=ask.nonce,
            trust=trust,
            at=at,
        )
    return AttestedStatus(answer, fresh.verdict, judged.claims.incarnation)


def _check_contract(claims: Claims, contract: Contract) -> None:
    if not hmac.compare_digest(claims.contract_digest, contract_digest(contract)):
        what = f"{claims.node} runs under another contract"
        remedy = "give --contract the file that the node was started with"
        own = contract_digest(contract)
        raise ContractMismatch.differs(what, "contract", own, claims.contract_digest, remedy)
