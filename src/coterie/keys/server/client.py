"""A node's client of its party's key server. Every request has a new attestation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from coterie.address import Address
from coterie.attestation.collateral_source import CollateralSource
from coterie.attestation.tee.base import Tee
from coterie.attestation.tokens.sources import TokenSource
from coterie.contract import Contract
from coterie.contract.signatures import verify_statement
from coterie.errors import (
    CoterieError,
    KeyRefused,
    MessageRefused,
    PeerUnreachable,
    SignatureRefused,
)
from coterie.keys.key_shares import SHARE_BYTES
from coterie.keys.server.messages import (
    GRANT_BYTES,
    HELLO_BYTES,
    PLAIN,
    PROTOCOL,
    Grant,
    KeyRequest,
    ServerHello,
    Wanted,
)
from coterie.ratls.connect import Destination
from coterie.ratls.credentials import Clock
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import KeyReader
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.refusals import Refused, Tally, log_refusal
from coterie.ratls.request import Exchange, dialled, fresh_evidence
from coterie.ratls.tokens import own_tokens
from coterie.ratls.voucher import Voucher
from coterie.sealed.sealed_file import ID_BYTES, KEY_BYTES
from coterie.waiting import Backoff, Failure, WaitSink, trying, untold

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 2.0


_out_of_order = partial(MessageRefused, "the key server sent a message out of order")


@dataclass(frozen=True)
class KeyServerClient:
    """Client of a party's key server; also a VoucherSource.

    Attributes:
        address: The server's address: an untrusted hint.
        contract: Names the party's key.
        party: The party that the key server must belong to.
        tee: Makes this node's quotes.
        collateral: Source of collateral for this node's quotes, if the server has none.
        clock: The time now, UTC.
        patience_seconds: How long requests are repeated while the server does not answer, or not
            with its party's signature.
        waiter: Waits for some seconds; returns whether to stop waiting.
        failed: Called for answers without a valid proof, as `Tally` reports them; requests go on.
        on_wait: Called, at growing intervals, while the server has not answered with its party's
            signature.
        tokens: Source of this node's tokens, if the contract demands any of its role.
    """

    address: Address
    contract: Contract
    party: str
    tee: Tee
    collateral: CollateralSource
    clock: Clock
    patience_seconds: float = 0.0
    waiter: Callable[[float], bool] = threading.Event().wait
    failed: Refused = log_refusal
    on_wait: WaitSink = untold
    tokens: TokenSource | None = None
    over_network: ClassVar[bool] = True

    def vouch(self, identity: NodeIdentity) -> Voucher:
        """Requests the party's voucher for an identity.

        Raises:
            KeyRefused: The party does not vouch for this node, or another party's server answers.
            CoterieError: The server refuses the evidence, or cannot be reached.
        """
        return Voucher.from_cbor(self._ask(identity, "voucher"))

    def data_key(self, identity: NodeIdentity, set_id: bytes) -> bytes:
        """Requests the key of a sealed data set, 32 bytes.

        Raises:
            KeyRefused: This node may not have it, or another party's server answers.
            CoterieError: The server refuses the evidence, or cannot be reached.
        """
        key = self._ask(identity, "data", set_id=set_id)
        if len(key) != KEY_BYTES:
            raise _out_of_order(f"a key of {KEY_BYTES} bytes", f"{len(key)} bytes")
        return key

    def model_key(self, identity: NodeIdentity) -> tuple[bytes, bytes] | None:
        """Requests id and key, 32 bytes each, for sealing the party's trained model.

        The answer is None if the party lets this node keep the model open.

        Raises:
            KeyRefused: This node may not have it, or another party's server answers.
            CoterieError: The server refuses the evidence, or cannot be reached.
        """
        content = self._ask(identity, "model")
        if content == PLAIN:
            return None
        if len(content) != ID_BYTES + KEY_BYTES:
            raise _out_of_order(f"a key of {ID_BYTES + KEY_BYTES} bytes", f"{len(content)} bytes")
        return content[:ID_BYTES], content[ID_BYTES:]

    def share(self, identity: NodeIdentity, voucher: Voucher) -> bytes:
        """Requests the party's share of the key of the run's checkpoints, 32 bytes.

        Args:
            identity: Identity of the parameter server, which may belong to another party.
            voucher: Voucher of the parameter server's own party.

        Raises:
            KeyRefused: This node may not have it, or another party's server answers.
            CoterieError: The server refuses evidence or voucher, or cannot be reached.
        """
        share = self._ask(identity, "share", voucher=voucher.to_cbor())
        if len(share) != SHARE_BYTES:
            raise _out_of_order(f"a share of {SHARE_BYTES} bytes", f"{len(share)} bytes")
        return share

    def _ask(
        self, identity: NodeIdentity, wanted: Wanted, *, set_id: bytes = b"", voucher: bytes = b""
    ) -> bytes:
        wish = _Wish(wanted, set_id, voucher)
        deadline = Deadline.after(self.patience_seconds)
        nothing_yet = f"the key server of {self.party} has not answered yet at {self.address}"
        with trying(nothing_yet, self.patience_seconds, self.on_wait) as failure:
            return self._persist(identity, wish, deadline, failure)

    def _persist(
        self, identity: NodeIdentity, wish: _Wish, deadline: Deadline, failure: Failure
    ) -> bytes:
        backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        tally = Tally(self.failed)
        while True:
            try:
                return _converse(self, identity, wish)
            except CoterieError as error:
                failure.note(error)
                # Until the party's signature on the session is checked, an attacker may have
                # answered.
                left = deadline.remaining()
                if not error.may_pass or left <= 0 or self.waiter(min(backoff.pause(), left)):
                    raise
                if not isinstance(error, PeerUnreachable):  # waiting is not reported each time
                    tally.note(str(self.address), error)


@dataclass(frozen=True)
class _Wish:
    wanted: Wanted
    set_id: bytes
    voucher: bytes


def _converse(client: KeyServerClient, identity: NodeIdentity, wish: _Wish) -> bytes:
    """Makes one request."""
    at, name = client.clock(), f"the key server of {client.party}"
    server = KeyReader(name)  # accept any key for now: the party's signature authenticates it later
    destination = Destination(
        client.address,
        name,
        expected="a listening key server",
        remedy="start it with `coterie keyserver`, or correct --key-server",
    )
    with dialled(destination, identity, server, alpn=PROTOCOL.alpn, at=at) as connection:
        exchange = Exchange(
            connection,
            PROTOCOL,
            side="dialler",
            own_key=identity.spki_digest,
            peer_key=server.sha256,
            peer_name=name,
        )
        hello = exchange.receive(ServerHello, most=HELLO_BYTES)
        _check_signature(client, exchange.statement, hello.signature)
        exchange.peer_proved = True
        quote, staple = fresh_evidence(
            client.tee,
            client.collateral,
            exchange.binding.own_report_data(hello.nonce),
            staple=hello.wants_collateral,
            at=at,
        )
        request = KeyRequest(
            wanted=wish.wanted,
            set_id=wish.set_id,
            voucher=wish.voucher,
            quote=quote,
            collateral=staple,
            tokens=own_tokens(client.tokens, identity),
        )
        exchange.send(request)
        return exchange.receive(Grant, most=GRANT_BYTES).content


def _check_signature(client: KeyServerClient, statement: bytes, signature: bytes) -> None:
    try:
        verify_statement(client.contract, client.party, statement, signature, at=client.clock())
    except SignatureRefused as error:
        raise KeyRefused(
            f"what answers is not the key server of party {client.party}",
            expected=error.expected,
            seen=error.seen,
            remedy="correct --key-server; a key server must be started with the key that the "
            f"contract names for {client.party}",
        ) from error
