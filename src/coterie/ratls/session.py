"""The exchange that follows the TLS handshake, as a state machine without I/O.

The rules, the same for both sides:

1. Each first sends a hello with a fresh nonce, once.
2. Each sends a quote made for this session: report data = SHA-256(label || direction || TLS exporter ||
   own key's hash || peer key's hash || peer's nonce) || 32 zero bytes. So evidence that was replayed,
   relayed from another connection or reflected does not fit. The party's voucher is sent with it,
   and collateral if the peer asked for it.
3. Each verifies the peer's voucher, which no stranger has and which is cheap to check, then both
   quotes (the certificate's and the session's), then the tokens of attestation services that the
   contract demands besides. Stapled collateral is read only after the checks that need none.
4. If the contract digests differ, each sends its contract, names the values that differ, and
   refuses.
5. Otherwise the dialler accepts. The listener pins the dialler and only then accepts, with its gRPC
   port. So a dialler that has the acceptance can call at once.

Any other message, order or form is refused. After a refusal nothing is accepted.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from coterie.contract import Contract, canonical_json, differences
from coterie.contract.loading import MAX_CONTRACT_BYTES
from coterie.errors import (
    ContractMismatch,
    CoterieError,
    EvidenceRefused,
    HandshakeFailed,
    MessageRefused,
    VoucherRefused,
)
from coterie.ratls.claims import Claims
from coterie.ratls.frames import FrameReader, frame
from coterie.ratls.messages import (
    ACCEPTANCE_BYTES,
    CODEC,
    CONTRACT_BYTES,
    HELLO_BYTES,
    Acceptance,
    ContractMessage,
    EvidenceMessage,
    Hello,
    Refusal,
    evidence_bytes,
)
from coterie.ratls.schema import Message
from coterie.ratls.session_binding import Binding, Direction
from coterie.ratls.voucher import Voucher, verify_voucher
from coterie.text import printable

EXPORTER_LABEL = b"EXPORTER-coterie-ra-tls-1"

State = Literal["hello", "evidence", "contract", "acceptance", "ready", "done", "refused"]


class Prove(Protocol):
    """Makes this side's evidence."""

    def __call__(self, report_data: bytes, *, staple: bool) -> tuple[bytes, bytes]:
        """Makes a quote over report data, and fetches its collateral."""
        ...


@dataclass(frozen=True)
class SessionInputs:
    """The inputs of one side of the exchange.

    Attributes:
        side: This end's side.
        contract: This node's contract.
        own: This node's claims.
        peer: The claims in the peer's certificate.
        exporter: Keying material exported from the TLS session, 32 bytes.
        nonce: 32 fresh random bytes.
        voucher: This node's voucher in CBOR; empty if it has none.
        at: Time as of which to verify, UTC.
        wants_collateral: Whether the peer must staple its collateral.
        prove: Makes a quote over 64 bytes of report data, and fetches collateral (JSON) for it if
            ``staple`` is set; otherwise, or if there is none, collateral is empty.
        tokens: This node's tokens; empty if the contract demands none of it.
        wants_tokens: Whether the contract demands tokens of the peer.
        judge_tokens: Verifies the peer's tokens, after ``judge`` has accepted its quotes. Raises
            EvidenceRefused.
        judge: Appraises the peer's certificate quote and the session quote: called with the
            session quote, its expected report data and the stapled collateral. Raises
            EvidenceRefused.
    """

    side: Direction
    contract: Contract
    own: Claims
    peer: Claims
    exporter: bytes
    nonce: bytes
    voucher: bytes
    at: datetime
    wants_collateral: bool
    prove: Prove
    judge: Callable[[bytes, bytes, bytes], None]
    judge_tokens: Callable[[bytes], None]
    wants_tokens: bool = False
    tokens: bytes = b""


class Session:
    """One side of one exchange.

    Call `start` and `receive`, and send the bytes that they return. When `state` is ``ready``, call
    `acknowledge`. If anything raises, report it to the peer and close.
    """

    def __init__(self, inputs: SessionInputs) -> None:
        self._in = inputs
        self._binding = Binding(
            inputs.side, inputs.exporter, inputs.own.pubkey_hash, inputs.peer.pubkey_hash
        )
        self._frames = FrameReader(CODEC, HELLO_BYTES)
        self._peer_voucher: Voucher | None = None
        self._acceptance: Acceptance | None = None
        self._peer_proved = False
        self._state: State = "hello"

    @property
    def state(self) -> State:
        """The message that this side waits for; ``ready``: it waits for `acknowledge`."""
        return self._state

    @property
    def peer_proved(self) -> bool:
        """Whether the peer's evidence and voucher are valid; later messages are then its own."""
        return self._peer_proved

    @property
    def nonce(self) -> bytes:
        """This side's nonce, which the peer's quote covers."""
        return self._in.nonce

    @property
    def exporter(self) -> bytes:
        """Keying material exported from the TLS session."""
        return self._in.exporter

    @property
    def peer_voucher(self) -> Voucher:
        """The peer's voucher; known once the state is ``acceptance`` or later."""
        assert self._peer_voucher is not None
        return self._peer_voucher

    @property
    def peer_acceptance(self) -> Acceptance:
        """The peer's acceptance; the listener has it once ``ready``, the dialler once ``done``."""
        assert self._acceptance is not None
        return self._acceptance

    def start(self) -> bytes:
        """The first bytes to send."""
        hello = Hello(nonce=self._in.nonce, wants_collateral=self._in.wants_collateral)
        return frame(hello)

    def receive(self, data: bytes) -> bytes:
        """Takes bytes from the peer, in pieces of any size.

        Returns:
            Bytes to send.

        Raises:
            HandshakeFailed: The peer refused this side and says why.
            EvidenceRefused: The peer's evidence failed a check.
            VoucherRefused: Its voucher is missing or wrong.
            ContractMismatch: The contracts differ; the values are named.
            MessageRefused: A message of wrong form or order.
        """
        try:
            self._frames.feed(data)
            out = b""
            while (message := self._frames.next_message()) is not None:
                out += self._take(message)
            return out
        except CoterieError:
            self._state = "refused"
            raise

    def acknowledge(self, *, grpc_port: int, valid_until: datetime) -> bytes:
        """Accepts the peer; for the listener only after the peer is pinned.

        Args:
            grpc_port: Port of the listener's gRPC server; 0 for the dialler.
            valid_until: Time until which this side trusts the peer's certificate.

        Returns:
            Bytes to send.
        """
        assert self._state == "ready"
        self._state = "done" if self._in.side == "listener" else "acceptance"
        until = int(valid_until.timestamp())
        return frame(Acceptance(grpc_port=grpc_port, valid_until=until))

    def _take(self, message: Message) -> bytes:
        if isinstance(message, Refusal) and self._state != "hello":
            raise message.as_error(self._in.peer.node)
        match self._state, message:
            case "hello", Hello():
                return self._on_hello(message)
            case "evidence", EvidenceMessage():
                return self._on_evidence(message)
            case "contract", ContractMessage():
                raise self._mismatch(message.contract)
            case "acceptance", Acceptance():
                return self._on_acceptance(message)
        raise MessageRefused(
            "the peer sent a message out of order",
            expected=f"what follows in state {self._state}",
            seen=type(message).__name__,
        )

    def _on_hello(self, message: Hello) -> bytes:
        if hmac.compare_digest(message.nonce, self._in.nonce):
            raise EvidenceRefused(
                "session_binding",
                "the peer sent this node's own nonce back",
                expected="a nonce of its own",
                seen="a reflection",
                remedy="an attacker may reflect this node's messages: check the address",
            )
        quote, staple = self._in.prove(
            self._binding.own_report_data(message.nonce), staple=message.wants_collateral
        )
        self._state = "evidence"
        self._frames.most = evidence_bytes(
            stapled=self._in.wants_collateral, tokens=self._in.wants_tokens
        )
        return frame(
            EvidenceMessage(
                quote=quote,
                voucher=self._in.voucher,
                collateral=staple,
                tokens=self._in.tokens,
            )
        )

    def _on_evidence(self, message: EvidenceMessage) -> bytes:
        differ = not hmac.compare_digest(
            self._in.own.contract_digest, self._in.peer.contract_digest
        )
        try:
            voucher = Voucher.from_cbor(message.voucher) if message.voucher else None
            self._peer_voucher = verify_voucher(
                voucher, self._in.peer, contract=self._in.contract, at=self._in.at
            )
        except VoucherRefused as error:
            if differ:  # no contract for a peer without a valid voucher, so only a hint
                error.remedy += (
                    "; the contracts differ too: compare `coterie contract show` of both"
                )
            raise
        expected = self._binding.peer_report_data(self._in.nonce)
        self._in.judge(message.quote, expected, message.collateral)
        self._in.judge_tokens(message.tokens)
        self._peer_proved = True
        if differ:
            self._state = "contract"
            self._frames.most = CONTRACT_BYTES
            # Of one that is cut, the peer names the digest only.
            own = canonical_json(self._in.contract)[:MAX_CONTRACT_BYTES]
            return frame(ContractMessage(contract=own))
        self._state = "ready" if self._in.side == "dialler" else "acceptance"
        self._frames.most = ACCEPTANCE_BYTES
        return b""

    def _on_acceptance(self, message: Acceptance) -> bytes:
        if datetime.fromtimestamp(message.valid_until, UTC) <= self._in.at:
            raise HandshakeFailed(
                f"{self._in.peer.node} accepts this node until a time that has passed",
                expected=f"a time after {self._in.at.isoformat()}",
                seen=datetime.fromtimestamp(message.valid_until, UTC).isoformat(),
                remedy="set both machines' clocks",
            )
        self._acceptance = message
        self._state = "done" if self._in.side == "dialler" else "ready"
        return b""

    def _mismatch(self, theirs: bytes) -> ContractMismatch:
        try:
            lines = differences(canonical_json(self._in.contract), theirs)
        except (ValueError, RecursionError):
            lines = []
        named = [printable(line, 200) for line in lines[:10]]
        if len(lines) > 10:
            named.append(f"and {len(lines) - 10} more")
        return ContractMismatch(
            f"this node and {self._in.peer.node} hold contracts that differ",
            expected=f"contract {self._in.own.contract_digest.hex()}",
            seen="; ".join(named) or f"contract {self._in.peer.contract_digest.hex()}",
            remedy="agree on one contract, sign it, and start both nodes with that very file",
        )
