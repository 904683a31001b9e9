"""The session exchange without sockets: two state machines and whoever sits between them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coterie.contract import canonical_json
from coterie.errors import (
    ContractMismatch,
    CoterieError,
    EvidenceRefused,
    HandshakeFailed,
    MessageRefused,
    VoucherRefused,
)
from coterie.kinds import TeeKind
from coterie.ratls.frames import MAX_FRAME_BYTES, FrameReader, frame
from coterie.ratls.messages import (
    CODEC,
    Acceptance,
    ContractMessage,
    EvidenceMessage,
    Hello,
    Refusal,
)
from coterie.ratls.schema import Message
from coterie.ratls.session import Session, SessionInputs
from coterie.ratls.session_binding import Direction, session_report_data
from coterie.ratls.trust import TrustContext
from coterie.ratls.verify import judge_certificate, judge_session
from tests.ratls.kinds import TEES, mixed, trust

if TYPE_CHECKING:
    from tests.ratls.conftest import World

EXPORTER = b"\x5a" * 32


def proving(
    quote: Callable[[bytes], bytes], collateral: bytes = b""
) -> Callable[..., tuple[bytes, bytes]]:
    """Makes evidence with a quote of one's choice."""

    def prove(report_data: bytes, *, staple: bool) -> tuple[bytes, bytes]:
        return quote(report_data), collateral if staple else b""

    return prove


def quoted(side: SessionInputs, report_data: bytes) -> bytes:
    return side.prove(report_data, staple=False)[0]


def inputs(own: TrustContext, peer: TrustContext, side: Direction) -> SessionInputs:
    credentials = own.credentials.current()
    at = own.clock()
    judged = judge_certificate(
        peer.credentials.current().identity.certificate_der, own, expected_node=None, at=at
    )

    def judge(quote: bytes, expected: bytes, stapled: bytes) -> None:
        judge_session(judged, quote, expected, stapled, trust=own, at=at)

    return SessionInputs(
        side=side,
        contract=own.contract,
        own=credentials.identity.claims,
        peer=judged.claims,
        exporter=EXPORTER,
        nonce=secrets.token_bytes(32),
        voucher=credentials.voucher.to_cbor(),
        at=at,
        wants_collateral=False,
        prove=proving(own.tee.quote),
        judge=judge,
        judge_tokens=lambda _: None,
    )


@dataclass(frozen=True)
class Sides:
    dialler: SessionInputs
    listener: SessionInputs


@pytest.fixture
def sides(world: World) -> Sides:
    worker, server = world.trust("acme-worker"), world.trust("ps0")
    return Sides(inputs(worker, server, "dialler"), inputs(server, worker, "listener"))


def decoded(frames: bytes) -> list[Message]:
    reader = FrameReader(CODEC, MAX_FRAME_BYTES)
    reader.feed(frames)
    messages = []
    while (message := reader.next_message()) is not None:
        messages.append(message)
    return messages


def evidence_from(sender: SessionInputs, nonce: bytes) -> bytes:
    """What an honest sender answers to a nonce."""
    return Session(sender).receive(frame(Hello(nonce=nonce, wants_collateral=False)))


def state(session: Session) -> str:
    return session.state


class TestTheHonestExchange:
    def test_ends_with_both_sides_accepting(self, sides: Sides) -> None:
        dialler, listener = Session(sides.dialler), Session(sides.listener)
        until = sides.dialler.at + timedelta(minutes=9)

        to_dialler = listener.receive(dialler.start())
        to_listener = dialler.receive(listener.start())
        assert dialler.receive(to_dialler) == b""
        assert state(dialler) == "ready"
        assert listener.receive(to_listener) == b""
        assert state(listener) == "acceptance"
        listener.receive(dialler.acknowledge(grpc_port=0, valid_until=until))
        assert state(listener) == "ready"
        dialler.receive(listener.acknowledge(grpc_port=4711, valid_until=until))

        assert (dialler.state, listener.state) == ("done", "done")
        assert dialler.peer_acceptance.grpc_port == 4711
        assert dialler.peer_acceptance.valid_until == int(until.timestamp())
        assert dialler.peer_voucher.node == "ps0"

    def test_does_not_depend_on_how_the_bytes_arrive(self, sides: Sides) -> None:
        dialler, listener = Session(sides.dialler), Session(sides.listener)
        stream = listener.receive(dialler.start())
        out = dialler.receive(listener.start())

        for i in range(len(stream)):
            assert dialler.receive(stream[i : i + 1]) == b""

        assert state(dialler) == "ready"
        assert listener.receive(out) == b""

    def test_the_dialler_is_not_done_before_the_listener_has_accepted(self, sides: Sides) -> None:
        dialler, listener = Session(sides.dialler), Session(sides.listener)
        dialler.receive(listener.start())
        dialler.receive(listener.receive(dialler.start()))

        dialler.acknowledge(grpc_port=0, valid_until=sides.dialler.at + timedelta(hours=1))

        assert state(dialler) == "acceptance"


def refused(victim: SessionInputs, evidence: bytes) -> EvidenceRefused:
    """Why a victim refuses evidence."""
    session = Session(victim)
    session.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))
    with pytest.raises(EvidenceRefused) as caught:
        session.receive(evidence)
    assert session.state == "refused"
    return caught.value


def test_evidence_of_another_program_is_refused(world: World, sides: Sides) -> None:
    other = world.trust("acme-worker", measurement=b"\x77" * 32)
    evidence = evidence_from(
        replace(sides.dialler, prove=proving(other.tee.quote)), sides.listener.nonce
    )

    assert refused(sides.listener, evidence).failed_check == "mrenclave"


class TestBinding:
    """Evidence of every kind holds for one session, one direction, two keys and one nonce."""

    @pytest.fixture(params=TEES)
    def sides(self, world: World, request: pytest.FixtureRequest) -> Sides:
        kind: TeeKind = request.param
        contract = mixed(world, kind, kind)
        worker, server = (
            trust(world, contract, name, TEES[kind]) for name in ("acme-worker", "ps0")
        )
        return Sides(inputs(worker, server, "dialler"), inputs(server, worker, "listener"))

    def test_replayed_evidence_is_refused(self, sides: Sides) -> None:
        earlier = evidence_from(sides.dialler, secrets.token_bytes(32))

        assert refused(sides.listener, earlier).failed_check == "session_binding"

    def test_relayed_evidence_is_refused(self, sides: Sides) -> None:
        """A man in the middle has a TLS session of his own with each side."""
        his_session = replace(sides.dialler, exporter=b"\xa5" * 32)
        relayed = evidence_from(his_session, sides.listener.nonce)

        assert refused(sides.listener, relayed).failed_check == "session_binding"

    def test_reflected_evidence_is_refused(self, sides: Sides) -> None:
        another_session = replace(
            sides.listener, nonce=secrets.token_bytes(32), voucher=sides.dialler.voucher
        )
        own = evidence_from(another_session, sides.listener.nonce)

        assert refused(sides.listener, own).failed_check == "session_binding"

    def test_evidence_of_the_other_direction_is_refused(self, sides: Sides) -> None:
        swapped = evidence_from(replace(sides.dialler, side="listener"), sides.listener.nonce)

        assert refused(sides.listener, swapped).failed_check == "session_binding"

    def test_evidence_for_another_listener_is_refused(self, sides: Sides) -> None:
        elsewhere = replace(
            sides.dialler, peer=sides.dialler.peer.model_copy(update={"pubkey_hash": bytes(32)})
        )
        evidence = evidence_from(elsewhere, sides.listener.nonce)

        assert refused(sides.listener, evidence).failed_check == "session_binding"

    def test_upper_report_data_that_is_not_zero_is_refused(self, sides: Sides) -> None:
        more = replace(
            sides.dialler,
            prove=proving(lambda data: quoted(sides.dialler, data[:63] + b"\1")),
        )
        evidence = evidence_from(more, sides.listener.nonce)

        assert refused(sides.listener, evidence).failed_check == "session_binding"

    def test_a_reflected_nonce_is_refused(self, sides: Sides) -> None:
        session = Session(sides.listener)

        with pytest.raises(EvidenceRefused) as caught:
            session.receive(session.start())

        assert caught.value.failed_check == "session_binding"

    def test_every_part_of_the_binding_changes_the_report_data(self) -> None:
        parts = {
            "exporter": b"a" * 32,
            "own_key": b"b" * 32,
            "peer_key": b"c" * 32,
            "peer_nonce": b"d" * 32,
        }
        honest = session_report_data("dialler", **parts)
        others = {session_report_data("listener", **parts)}
        others |= {session_report_data("dialler", **{**parts, name: bytes(32)}) for name in parts}

        assert len(honest) == 64
        assert honest[32:] == bytes(32)
        assert len(others) == 5
        assert honest not in others

    @pytest.mark.parametrize(("sender", "letter"), [("dialler", b"D"), ("listener", b"L")])
    def test_the_report_data_are_those_that_the_protocol_page_gives(
        self, sender: Direction, letter: bytes
    ) -> None:
        """Both sides compute them alike, so what was left out or renamed would not show between them."""
        bound = session_report_data(
            sender,
            exporter=b"a" * 32,
            own_key=b"b" * 32,
            peer_key=b"c" * 32,
            peer_nonce=b"d" * 32,
        )
        covered = b"coterie session evidence 1\0" + letter
        covered += b"a" * 32 + b"b" * 32 + b"c" * 32 + b"d" * 32
        assert bound == hashlib.sha256(covered).digest() + bytes(32)


class TestCollateral:
    @pytest.mark.parametrize("wanted", [False, True])
    def test_is_stapled_where_the_peer_asks_for_it(self, sides: Sides, wanted: bool) -> None:
        asked: list[bool] = []

        def prove(report_data: bytes, *, staple: bool) -> tuple[bytes, bytes]:
            asked.append(staple)
            return quoted(sides.dialler, report_data), b"collateral" if staple else b""

        session = Session(replace(sides.dialler, prove=prove))
        hello = frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=wanted))
        (sent,) = decoded(session.receive(hello))
        assert isinstance(sent, EvidenceMessage)
        assert sent.collateral == (b"collateral" if wanted else b"")
        assert asked == [wanted]


class TestRefusals:
    def test_no_voucher_is_refused(self, sides: Sides) -> None:
        session = Session(sides.listener)
        session.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))

        with pytest.raises(VoucherRefused, match="without a voucher"):
            session.receive(
                evidence_from(replace(sides.dialler, voucher=b""), sides.listener.nonce)
            )

    def test_an_unreadable_voucher_is_refused(self, sides: Sides) -> None:
        session = Session(sides.listener)
        session.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))

        with pytest.raises(VoucherRefused, match="cannot be read"):
            session.receive(
                evidence_from(replace(sides.dialler, voucher=b"\xa0"), sides.listener.nonce)
            )

    def test_the_peer_says_why_it_refuses(self, sides: Sides) -> None:
        dialler, listener = Session(sides.dialler), Session(sides.listener)
        dialler.receive(listener.start())
        reason = VoucherRefused("no voucher", expected="one", seen="none", remedy="get one")

        with pytest.raises(HandshakeFailed) as caught:
            dialler.receive(frame(Refusal.of(reason)))

        assert caught.value.what == "ps0 refused this node: VoucherRefused: no voucher"
        assert (caught.value.expected, caught.value.seen) == ("one", "none")
        assert caught.value.remedy == "get one"

    def test_a_contract_that_differs_is_asked_for_even_if_it_cannot_be_read(
        self, sides: Sides
    ) -> None:
        other = replace(
            sides.listener, own=sides.listener.own.model_copy(update={"contract_digest": bytes(32)})
        )
        session = Session(other)
        session.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))
        (sent,) = decoded(session.receive(evidence_from(sides.dialler, sides.listener.nonce)))
        assert isinstance(sent, ContractMessage)

        for theirs in (b"{x", b"[" * 100_000, b"{}"):
            again = Session(other)
            again.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))
            again.receive(evidence_from(sides.dialler, sides.listener.nonce))
            with pytest.raises(ContractMismatch) as caught:
                again.receive(frame(ContractMessage(contract=theirs)))
            assert caught.value.seen

    def test_a_contract_that_is_too_long_to_send_is_cut(
        self, sides: Sides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As canonical JSON it can be a little longer than its file, which is bounded."""
        monkeypatch.setattr("coterie.ratls.session.MAX_CONTRACT_BYTES", 100)
        own = sides.listener.own.model_copy(update={"contract_digest": bytes(32)})
        session = Session(replace(sides.listener, own=own))
        session.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))
        (sent,) = decoded(session.receive(evidence_from(sides.dialler, sides.listener.nonce)))
        assert isinstance(sent, ContractMessage)
        assert sent.contract == canonical_json(sides.listener.contract)[:100]

    def test_whom_no_party_vouches_for_is_not_shown_the_contract(self, sides: Sides) -> None:
        """Only a hint tells that the contracts differ too."""
        other = replace(
            sides.listener, own=sides.listener.own.model_copy(update={"contract_digest": bytes(32)})
        )
        session = Session(other)
        session.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))

        with pytest.raises(VoucherRefused, match="without a voucher") as caught:
            session.receive(
                evidence_from(replace(sides.dialler, voucher=b""), sides.listener.nonce)
            )

        assert "the contracts differ too" in caught.value.remedy

    def test_evidence_is_judged_once(self, sides: Sides) -> None:
        session = Session(sides.listener)
        session.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))
        evidence = evidence_from(sides.dialler, sides.listener.nonce)
        session.receive(evidence)
        assert state(session) == "acceptance"

        with pytest.raises(MessageRefused, match="out of order"):
            session.receive(evidence)

    @pytest.mark.parametrize(("seconds", "refused"), [(-1, True), (0, True), (1, False)])
    def test_an_acceptance_that_has_ended_already_is_refused(
        self, sides: Sides, seconds: int, refused: bool
    ) -> None:
        at = sides.dialler.at.replace(microsecond=0)
        dialler, listener = Session(replace(sides.dialler, at=at)), Session(sides.listener)
        dialler.receive(listener.start())
        dialler.receive(listener.receive(dialler.start()))
        dialler.acknowledge(grpc_port=0, valid_until=at + timedelta(hours=1))
        acceptance = frame(Acceptance(grpc_port=1, valid_until=int(at.timestamp()) + seconds))

        if refused:
            with pytest.raises(HandshakeFailed, match="until a time that has passed"):
                dialler.receive(acceptance)
        else:
            dialler.receive(acceptance)

        assert dialler.state == ("refused" if refused else "done")

    @pytest.mark.parametrize(
        "message",
        [
            EvidenceMessage(quote=b"q", voucher=b"", collateral=b""),
            ContractMessage(contract=b"{}"),
            Acceptance(grpc_port=1, valid_until=2**32),
            Refusal.of({}),
        ],
        ids=lambda message: type(message).__name__,
    )
    def test_nothing_but_hello_comes_first(self, sides: Sides, message: Message) -> None:
        with pytest.raises(MessageRefused):
            Session(sides.listener).receive(frame(message))

    def test_a_second_hello_is_refused(self, sides: Sides) -> None:
        session = Session(sides.listener)
        hello = frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False))
        session.receive(hello)

        with pytest.raises(MessageRefused):
            session.receive(hello)

    def test_an_acceptance_before_any_evidence_is_refused(self, sides: Sides) -> None:
        session = Session(sides.listener)
        session.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))

        with pytest.raises(MessageRefused):
            session.receive(frame(Acceptance(grpc_port=1, valid_until=2**32)))

    def test_after_a_refusal_nothing_is_accepted_any_more(self, sides: Sides) -> None:
        session = Session(sides.listener)
        with pytest.raises(MessageRefused):
            session.receive(frame(Acceptance(grpc_port=1, valid_until=2**32)))

        with pytest.raises(MessageRefused):
            session.receive(frame(Hello(nonce=secrets.token_bytes(32), wants_collateral=False)))


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.binary(max_size=200), max_size=4), st.booleans())
def test_whatever_a_peer_sends_the_end_is_an_error_of_the_tree(
    sides: Sides, pieces: list[bytes], after_hello: bool
) -> None:
    session = Session(sides.listener)
    if after_hello:
        session.receive(frame(Hello(nonce=bytes(32), wants_collateral=False)))
    accepted: Callable[[], bool] = lambda: session.state in {"ready", "done"}  # noqa: E731
    try:
        for piece in pieces:
            session.receive(len(piece).to_bytes(4, "big") + piece)
    except CoterieError:
        assert session.state == "refused"
    assert not accepted()
