"""A gRPC channel to one attested node, which attests again by itself before its time is up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Self

import grpc

from coterie import grpc_settings
from coterie.address import Address
from coterie.errors import CoterieError, PeerUnreachable
from coterie.ratls.call_limits import CallLimits
from coterie.ratls.channel_pool import ChannelPool
from coterie.ratls.deadline import Deadline
from coterie.ratls.handshake import AttestedPeer, dial
from coterie.ratls.link import Link
from coterie.ratls.peer import Peer
from coterie.ratls.pins import PinBoard
from coterie.ratls.refusals import Refused, Tally, log_refusal
from coterie.ratls.request import HANDSHAKE_SECONDS
from coterie.ratls.trust import TrustContext
from coterie.waiting import Backoff, Failure, WaitSink, trying, untold

Waiter = Callable[[float], bool]

_FIRST_DELAY_SECONDS = 0.05
_LONGEST_DELAY_SECONDS = 2.0


class AttestedChannel:
    """Calls to one attested node.

    The constructor dials until the node has proved itself, so a returned channel is attested. When three
    quarters of the pin's time are over, or after a call found the connection broken, the next call
    attests anew first; calls under way end on the old connection. Until the node has proved itself,
    whatever answers in its place, or nothing, is no reason to give up: anybody on the way can do that.
    What the node itself says then, or what is found about it, counts at once.

    Args:
        trust: This node's trust.
        address: ``HOST:PORT`` of the node's attestation port; an untrusted hint.
        expected_node: The node's name.
        max_message_bytes: Longest message, both ways.
        patience_seconds: How long a node is dialled again that does not answer, or not with proof.
        waiter: Waits between two attempts for so many seconds; True means: give up, as `close` does.
        calls: How long silence on the connection is borne.
        failed: Told of answers that were no proof, as `Tally` tells; others follow.
        on_wait: Told, at growing intervals, that the node has not proved itself: since how many
            seconds, for how many more it is dialled, and what was tried and failed.

    Raises:
        EnvironmentUnfit: gRPC would accept TLS 1.2.
        PeerUnreachable: The node did not answer in time.
        TrustError: It was refused, or refused this node; if nobody proved himself, the last reason.
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
        # Not held while anybody is dialled: whoever has a link that holds goes on with it.
        self._changed = threading.Condition()
        self._attesting = False
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
        """The node as it was attested last."""
        with self._changed:
            return self._attested.peer

    def reattest(self) -> Peer:
        """Attests anew now.

        Raises:
            CoterieError: As for the constructor.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._attesting)
            self._attesting = True
        self._replace(self._patience)
        return self.peer

    def close(self) -> None:
        """Closes; calls under way are cancelled, waiting ends."""
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
                # Who goes on while another one renews must not arrive after the pin has ended.
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
            # The pin still holds, so go on and try again when a quarter of the rest is over.
            with self._changed:
                self._renew_at = now + (self._attested.peer.expires_at - now) / 4

    def _replace(self, patience_seconds: float) -> None:
        """Attests anew; only who has set ``_attesting`` calls it, and it is unset in the end."""
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
            # What this side lacks itself is no matter of patience.
            self._trust.clock()
            self._trust.credentials.current()
            try:
                attested = dial(self._address, self._expected_node, self._trust, admit=self._pin)
                return self._open(attested), attested
            except CoterieError as error:
                left = deadline.remaining()
                if not error.may_pass or left <= 0:
                    raise
                if not isinstance(error, PeerUnreachable):  # waiting is no news
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
        return Link(channel, peer.call_token)

    def _unreachable(self, seen: str) -> CoterieError:
        return PeerUnreachable(
            f"{self._expected_node} cannot be reached at {self._address}",
            expected="its attestation port, and its gRPC port",
            seen=seen,
            remedy="start that node, correct its address, and open both ports",
        )
