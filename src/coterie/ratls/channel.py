"""A gRPC channel to one attested node, which attests the node again before its pin expires."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Self

import grpc

from coterie import grpc_settings
from coterie.address import Address
from coterie.errors import CoterieError, PeerUnreachable
from coterie.ratls.call_limits import CallLimits
from coterie.ratls.channel_pool import ChannelPool
from coterie.ratls.data_connections import connect_data
from coterie.ratls.deadline import Deadline
from coterie.ratls.handshake import AttestedPeer, dial
from coterie.ratls.link import Link
from coterie.ratls.peer import Peer
from coterie.ratls.pins import PinBoard
from coterie.ratls.refusals import Refused, Tally, log_refusal
from coterie.ratls.request import HANDSHAKE_SECONDS
from coterie.ratls.tls_stream import TlsStream, connection_lost
from coterie.ratls.trust import TrustContext
from coterie.waiting import Backoff, Failure, WaitSink, trying, untold

Waiter = Callable[[float], bool]

_FIRST_DELAY_SECONDS = 0.05
_LONGEST_DELAY_SECONDS = 2.0


class AttestedChannel:
    """Calls to one attested node.

    The constructor connects until the node is attested, so every returned channel is attested.
    After three quarters of the pin's time, or after a call found the connection broken, the next
    call attests the node again; calls in progress end on the old connection. Before the node is
    attested, a wrong answer or none is not a reason to give up, since an attacker on the network
    can cause that. After that, the node's own refusals and findings about it are final.

    Args:
        trust: This node's trust.
        address: ``HOST:PORT`` of the node's attestation port; an untrusted hint.
        expected_node: The node's name.
        max_message_bytes: Longest message, both ways.
        patience_seconds: How long connecting is repeated while the node does not answer, or not
            with valid evidence.
        waiter: Waits between two attempts for so many seconds; returns True to give up, as after
            `close`.
        calls: Bounds of the time without an answer.
        failed: Called for answers without valid evidence, as `Tally` reports them; attempts go on.
        on_wait: Called, at growing intervals, while the node is not attested: seconds so far,
            seconds left, and the failed attempts.

    Raises:
        EnvironmentUnfit: gRPC would accept TLS 1.2.
        PeerUnreachable: The node did not answer in time.
        TrustError: It was refused, or refused this node; if no answer was authentic, the last
            reason.
        ContractMismatch: The contracts differ; the values are named.
    """

    def __init__(
        self,
        trust: TrustContext,
        address: str,
        expected_node: str,
        max_message_bytes: int,
        *,
        patience_seconds: float = 60.0,
        waiter: Waiter | None = None,
        calls: CallLimits | None = None,
        failed: Refused = log_refusal,
        on_wait: WaitSink = untold,
    ) -> None:
        grpc_settings.check()
        self._trust = trust
        self._address = Address.parse(address)
        self._expected_node = expected_node
        self._max_message_bytes = max_message_bytes
        self._patience = patience_seconds
        self._calls = calls or CallLimits()
        self._failed = Tally(failed)
        self._on_wait = on_wait
        self._closed = threading.Event()
        self._waiter = waiter or self._closed.wait
        # Guards the link, its renewal time and `_attesting`. It is not held while a connection is
        # made, so that calls can go on over a valid link.
        self._changed = threading.Condition()
        self._attesting = False  # whether a thread attests the node at present; only one does
        self._pins = PinBoard()
        self._link, self._attested = self._connect(patience_seconds)
        self._renew_at = self._renewal_time()
        self._channel = ChannelPool(self._lease, self.close)

    @property
    def channel(self) -> ChannelPool:
        """The channel for stubs. Calls may raise what the constructor raises."""
        return self._channel

    @property
    def peer(self) -> Peer:
        """The node as last attested."""
        with self._changed:
            return self._attested.peer

    @contextmanager
    def data_connection(self) -> Iterator[TlsStream]:
        """A data connection for one call, of the session that is attested at that time.

        If the call raises, the connection is closed, and the next call attests the node again.

        Raises:
            PeerUnreachable: No connection can be made.
            CoterieError: As for the constructor.
        """
        link = self._lease()
        code = grpc.StatusCode.UNAVAILABLE
        try:
            stream = link.take_stream()
            try:
                yield stream
            except BaseException:
                link.drop_stream(stream)
                raise
            link.give_back(stream)
            code = grpc.StatusCode.OK
        finally:
            link.end(code)

    def reattest(self) -> Peer:
        """Attests the node again now.

        Raises:
            CoterieError: As for the constructor.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._attesting)
            self._attesting = True
        self._replace(self._patience)
        return self.peer

    def close(self) -> None:
        """Closes the channel; cancels calls in progress and ends waiting."""
        self._closed.set()
        with self._changed:
            self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lease(self) -> Link:
        while True:
            with self._changed:
                if self._closed.is_set():
                    raise self._unreachable("this side has closed the channel")
                now = self._trust.clock()
                end = self._attested.peer.expires_at
                holds = not self._link.suspect and now < end
                # A call on the old link during a renewal must arrive before the pin expires.
                enough = self._renew_at + (end - self._renew_at) / 2
                if holds and now < (enough if self._attesting else self._renew_at):
                    self._link.begin()
                    return self._link
                if self._attesting:
                    self._changed.wait()
                    continue
                self._attesting = True
            if holds:
                self._renew(now)
            else:
                self._replace(self._patience)

    def _renew(self, now: datetime) -> None:
        try:
            self._replace(0.0)
        except CoterieError as error:
            if not error.may_pass:
                raise
            # The pin is still valid: go on, and try again after a quarter of the remaining time.
            with self._changed:
                self._renew_at = now + (self._attested.peer.expires_at - now) / 4

    def _replace(self, patience_seconds: float) -> None:
        """Attests the node again; only the thread that set ``_attesting`` calls it."""
        try:
            link, attested = self._connect(patience_seconds)
        except BaseException:
            with self._changed:
                self._attesting = False
                self._changed.notify_all()
            raise
        with self._changed:
            self._attesting = False
            self._changed.notify_all()
            if self._closed.is_set():
                link.close()
                return
            self._link.retire()
            self._link, self._attested = link, attested
            self._renew_at = self._renewal_time()

    def _renewal_time(self) -> datetime:
        peer = self._attested.peer
        return peer.attested_at + (peer.expires_at - peer.attested_at) * 3 / 4

    def _connect(self, patience_seconds: float) -> tuple[Link, AttestedPeer]:
        deadline = Deadline.after(patience_seconds)
        nothing_yet = f"{self._expected_node} has not answered yet at {self._address}"
        with trying(nothing_yet, patience_seconds, self._on_wait) as failure:
            return self._persist(deadline, failure)

    def _persist(self, deadline: Deadline, failure: Failure) -> tuple[Link, AttestedPeer]:
        backoff = Backoff(_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS)
        while True:
            # Repeating does not help against a fault of this side.
            self._trust.clock()
            self._trust.credentials.current()
            try:
                attested = dial(self._address, self._expected_node, self._trust, admit=self._pin)
                return self._open(attested), attested
            except CoterieError as error:
                left = deadline.remaining()
                if not error.may_pass or left <= 0:
                    raise
                if not isinstance(error, PeerUnreachable):  # waiting is not reported each time
                    self._failed.note(str(self._address), error)
                failure.note(error)
                if (
                    self._waiter(min(backoff.pause(), deadline.remaining()))
                    or self._closed.is_set()
                ):
                    raise self._unreachable("this side has closed the channel") from error

    def _pin(self, peer: Peer) -> int:
        self._pins.add(peer)
        return 0  # this side serves nothing

    def _open(self, attested: AttestedPeer) -> Link:
        peer, identity = attested.peer, attested.credentials.identity
        target = Address(self._address.host, peer.grpc_port)
        channel = grpc.secure_channel(
            str(target),
            grpc.ssl_channel_credentials(
                root_certificates=peer.certificate_pem,
                private_key=identity.private_key_pem(),
                certificate_chain=identity.certificate_pem,
            ),
            options=(
                ("grpc.ssl_target_name_override", peer.dns_name),
                ("grpc.max_receive_message_length", self._max_message_bytes),
                ("grpc.max_send_message_length", self._max_message_bytes),
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.enable_http_proxy", 0),
                ("grpc.service_config_disable_resolution", 1),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 2000),
                *self._calls.channel_options(),
            ),
        )
        try:
            grpc.channel_ready_future(channel).result(timeout=HANDSHAKE_SECONDS)
        except grpc.FutureTimeoutError as error:
            channel.close()
            raise self._unreachable(f"its gRPC server at {target} does not answer") from error
        except BaseException:
            channel.close()
            raise
        return Link(channel, peer.call_token, partial(self._connect_data, attested))

    def _connect_data(self, attested: AttestedPeer) -> TlsStream:
        try:
            return connect_data(
                attested, self._address, at=self._trust.clock(), seconds=HANDSHAKE_SECONDS
            )
        except CoterieError as error:
            # The answer may be an attacker's, so it is no reason to give up the node.
            raise connection_lost(self._expected_node, str(error)) from error

    def _unreachable(self, seen: str) -> CoterieError:
        return PeerUnreachable(
            f"{self._expected_node} cannot be reached at {self._address}",
            expected="its attestation port, and its gRPC port",
            seen=seen,
            remedy="start that node, correct its address, and open both ports",
        )
