"""A node's side of its party's key server: it proves itself anew for everything that it asks for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from coterie.address import Address
from coterie.attestation.collateral_source import CollateralSource, stapled
from coterie.attestation.tee.base import Tee
from coterie.contract import Contract
from coterie.errors import CoterieError, MessageRefused, PeerUnreachable
from coterie.keys.key_shares import SHARE_BYTES
from coterie.keys.sealed_file import ID_BYTES, KEY_BYTES
from coterie.keys.server.messages import (
    ALPN,
    GRANT_BYTES,
    HELLO_BYTES,
    PLAIN,
    Grant,
    KeyRequest,
    Message,
    ServerHello,
    Wanted,
    decode_message,
    encode_message,
)
from coterie.keys.server.session import EXPORTER_LABEL, request_report_data, verify_session
from coterie.ratls.connect import Destination
from coterie.ratls.credentials import Clock
from coterie.ratls.deadline import Deadline
from coterie.ratls.guests import unproved_key
from coterie.ratls.handshake import HANDSHAKE_SECONDS
from coterie.ratls.identity import NodeIdentity
from coterie.ratls.messages import FrameReader, Refusal
from coterie.ratls.refusals import Refused, Tally, log_refusal
from coterie.ratls.session import EXPORTER_BYTES, refused_by_peer
from coterie.ratls.tls import TlsConnection
from coterie.ratls.voucher import Voucher
from coterie.waiting import Backoff, Failure, WaitSink, trying, untold

_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 2.0


@dataclass(frozen=True)
class KeyServerClient:
    """Asks a party's key server; also a VoucherSource.

    Attributes:
        address: Where it listens: an untrusted hint.
        contract: Names the party's key.
        party: Whose key server it must be.
        tee: Makes this node's quotes.
        collateral: For this node's quotes, where the server has none.
        clock: The time now, UTC.
        patience_seconds: How long the server is asked again that does not answer, or not with its
            party's signature.
        waiter: Waits so many seconds; whether waiting is to end.
        failed: Told of answers that were no proof, as `Tally` tells; others follow.
        on_wait: Told, at growing intervals, that the server has not answered with its party's word.
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
    over_network: ClassVar[bool] = True

    def vouch(self, identity: NodeIdentity) -> Voucher:
        """The party's voucher for an identity.

        Raises:
            KeyRefused: The party does not vouch for this node, or another party's server answers.
            CoterieError: The server refuses the evidence, or cannot be reached.
        """
        return Voucher.from_cbor(self._ask(identity, "voucher"))

    def data_key(self, identity: NodeIdentity, set_id: bytes) -> bytes:
        """The key of a sealed data set, 32 bytes.

        Raises:
            KeyRefused: This node may not have it, or another party's server answers.
            CoterieError: The server refuses the evidence, or cannot be reached.
        """
        key = self._ask(identity, "data", set_id=set_id)
        if len(key) != KEY_BYTES:
            raise _out_of_order(f"a key of {KEY_BYTES} bytes", f"{len(key)} bytes")
        return key

    def model_key(self, identity: NodeIdentity) -> tuple[bytes, bytes] | None:
        """Id and key, 32 bytes each, that the party's trained model is to be sealed under.

        None: the party lets this node keep the model open.

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
        """The party's share of the key of the run's checkpoints, 32 bytes.

        Args:
            identity: Of the parameter server; it may be of another party.
            voucher: Of the parameter server's own party.

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
                return _Conversation(self, identity).run(wish)
            except CoterieError as error:
                failure.note(error)
                # Before the party has signed the session, anybody on the way may have answered.
                left = deadline.remaining()
                if not error.may_pass or left <= 0 or self.waiter(min(backoff.pause(), left)):
                    raise
                if not isinstance(error, PeerUnreachable):  # waiting is no news
                    tally.note(str(self.address), error)


@dataclass(frozen=True)
class _Wish:
    wanted: Wanted
    set_id: bytes
    voucher: bytes


class _Conversation:
    """One connection."""

    def __init__(self, client: KeyServerClient, identity: NodeIdentity) -> None:
        self._client = client
        self._identity = identity
        self._name = f"the key server of {client.party}"
        self._at: datetime = client.clock()
        self._server_key = b""
        self._frames = FrameReader(decode_message, HELLO_BYTES)
        self._proved = False

    def run(self, wish: _Wish) -> bytes:
        destination = Destination(
            self._client.address,
            self._name,
            expected="a listening key server",
            remedy="start it with `coterie keyserver`, or correct --key-server",
        )
        with destination.conversation(
            self._identity, self._judge, alpn=ALPN, at=self._at, seconds=HANDSHAKE_SECONDS
        ) as connection:
            return self._converse(connection, wish)

    def _judge(self, der: bytes) -> bytes:
        """Takes any key for now: the party's signature on the session says whether it counts."""
        spki = unproved_key(der, self._name)
        self._server_key = hashlib.sha256(spki).digest()
        return spki

    def _converse(self, connection: TlsConnection, wish: _Wish) -> bytes:
        exporter = connection.exporter(EXPORTER_LABEL, EXPORTER_BYTES)
        hello = self._receive(connection)
        if not isinstance(hello, ServerHello):
            raise _out_of_order("a hello", type(hello).__name__)
        node_key = self._identity.spki_digest
        verify_session(
            self._client.contract,
            self._client.party,
            hello.signature,
            exporter=exporter,
            server_key=self._server_key,
            node_key=node_key,
            at=self._client.clock(),
        )
        quote = self._client.tee.quote(
            request_report_data(
                exporter=exporter,
                node_key=node_key,
                server_key=self._server_key,
                nonce=hello.nonce,
            )
        )
        staple = b""
        if hello.wants_collateral:
            staple = stapled(self._client.collateral, quote, self._at)
        request = KeyRequest(wish.wanted, wish.set_id, wish.voucher, quote, staple)
        connection.send(encode_message(request))
        self._frames.most = GRANT_BYTES
        self._proved = True
        grant = self._receive(connection)
        if not isinstance(grant, Grant):
            raise _out_of_order("an answer", type(grant).__name__)
        return grant.content

    def _receive(self, connection: TlsConnection) -> Message:
        message = self._frames.read_message(connection.receive)
        if isinstance(message, Refusal):
            refusal = refused_by_peer(message, self._name)
            refusal.peer_proved = self._proved
            raise refusal
        return message


def _out_of_order(expected: str, seen: str) -> MessageRefused:
    return MessageRefused(
        "the key server sent a message out of order",
        expected=expected,
        seen=seen,
        remedy="run the same version of Coterie on both sides",
    )
