"""Each message is bounded by what it may be, in its place: nothing longer is waited for or decoded."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import cbor2
import pytest

from coterie.contract.loading import MAX_CONTRACT_BYTES
from coterie.errors import MessageRefused
from coterie.keys.server import messages as keys
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.progress import Progress
from coterie.ratls import messages
from coterie.ratls.evidence import MAX_QUOTE_BYTES
from coterie.ratls.messages import FrameReader, decode_message
from coterie.ratls.session import Session
from coterie.ratls.voucher import MAX_VOUCHER_BYTES
from coterie.status import messages as status
from coterie.text import MAX_TEXT
from tests.ratls.conftest import World
from tests.ratls.test_session import evidence_from, inputs

REFUSAL = messages.Refusal(
    dict.fromkeys(("error", "what", "expected", "seen", "remedy", "failed_check"), "€" * MAX_TEXT)
)


def content(frame: bytes) -> int:
    return len(frame) - 4


def test_the_longest_message_of_every_kind_fits_its_bound() -> None:
    hello = messages.encode_message(messages.Hello(bytes(32), wants_collateral=True))
    assert content(hello) <= messages.HELLO_BYTES
    assert content(messages.encode_message(REFUSAL)) <= messages.REFUSAL_BYTES
    acceptance = messages.encode_message(messages.Acceptance(65_535, 253_402_300_799))
    assert content(acceptance) <= messages.ACCEPTANCE_BYTES
    contract = messages.ContractMessage(bytes(MAX_CONTRACT_BYTES))
    assert content(messages.encode_message(contract)) <= messages.CONTRACT_BYTES
    for staple in (0, messages.MAX_STAPLE_BYTES):
        evidence = messages.EvidenceMessage(
            bytes(MAX_QUOTE_BYTES), bytes(MAX_VOUCHER_BYTES), bytes(staple)
        )
        most = messages.evidence_bytes(stapled=staple > 0)
        assert content(messages.encode_message(evidence)) <= most < messages.MAX_FRAME_BYTES
        request = keys.KeyRequest(
            "share", b"", bytes(MAX_VOUCHER_BYTES), bytes(MAX_QUOTE_BYTES), bytes(staple)
        )
        assert content(keys.encode_message(request)) <= keys.request_bytes(stapled=staple > 0)
    greeting = keys.ServerHello(bytes(32), bytes(64), wants_collateral=True)
    assert content(keys.encode_message(greeting)) <= keys.HELLO_BYTES
    assert content(keys.encode_message(keys.Grant(bytes(MAX_VOUCHER_BYTES)))) <= keys.GRANT_BYTES
    ask = status.Ask("p" * 63, bytes(64), bytes(32), wants_collateral=True)
    assert content(status.encode_message(ask)) <= status.ASK_BYTES
    assert status.decode_message(status.encode_message(ask)[4:], status.ASK_ITEMS) == ask


@pytest.mark.parametrize("nodes", [3, 1024])
def test_the_longest_answer_about_a_contracts_nodes_fits_its_bound(nodes: int) -> None:
    names = tuple("n" * 63 for _ in range(nodes))
    peer = status.SeenPeer("n" * 63, 2**63, "s" * 100, "m" * 128, 2**33, 2**33)
    checkpoint = DurableCheckpoint(2**60, bytes(32))
    overview = Progress("training", 2**62, 2**62, 2**62, names, names, names, names, checkpoint)
    answer = status.Answer(
        bytes(MAX_QUOTE_BYTES), bytes(MAX_VOUCHER_BYTES), b"", overview, (peer,) * nodes
    )
    frame = status.encode_message(answer)
    assert content(frame) <= status.answer_bytes(nodes, stapled=False)
    assert status.decode_message(frame[4:], status.answer_items(nodes)) == answer


def flood(size: int) -> bytes:
    """A frame of very many items, as the first octets of a map with a kind."""
    head = b"\xa1\x64kind\x9a" + (size - 11).to_bytes(4, "big")
    return size.to_bytes(4, "big") + head + b"\x80" * (size - len(head))


EXCHANGES: dict[str, tuple[Callable[[bytes], object], int]] = {
    "node": (decode_message, messages.HELLO_BYTES),
    "ask": (lambda data: status.decode_message(data, status.ASK_ITEMS), status.ASK_BYTES),
    "request": (keys.decode_message, keys.request_bytes(stapled=False)),
}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_long_frame_is_refused_by_its_length_alone(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, most = EXCHANGES[exchange]

    def loads(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cbor2, "loads", loads)
    with pytest.raises(MessageRefused) as refused:
        FrameReader(decode, most).feed(flood(2_000_000)[:4])
    assert refused.value.expected == f"at most {most} bytes here"
    assert refused.value.seen == "2000000 bytes"
    with pytest.raises(MessageRefused) as refused:
        FrameReader(decode, most).read_message(lambda: flood(most))
    assert "items" in refused.value.seen


def test_what_is_due_bounds_the_exchange_at_every_step(world: World) -> None:
    worker, server = world.trust("acme-worker"), world.trust("ps0")
    honest, ours = inputs(worker, server, "dialler"), inputs(server, worker, "listener")

    def most(session: Session) -> int:
        with pytest.raises(MessageRefused) as refused:
            session.receive((messages.MAX_FRAME_BYTES).to_bytes(4, "big"))
        return int(refused.value.expected.split()[2])

    assert most(Session(ours)) == messages.HELLO_BYTES
    greeted = Session(ours)
    hello = messages.encode_message(messages.Hello(secrets.token_bytes(32), wants_collateral=False))
    greeted.receive(hello)
    assert most(greeted) == messages.evidence_bytes(stapled=False)
    proved = Session(ours)
    proved.receive(hello)
    proved.receive(evidence_from(honest, ours.nonce))
    assert proved.peer_proved
    assert most(proved) == messages.ACCEPTANCE_BYTES


def test_what_is_sent_ahead_is_bounded_too() -> None:
    reader = FrameReader(decode_message, messages.HELLO_BYTES)
    with pytest.raises(MessageRefused, match="does not allow") as refused:
        reader.feed(messages.HELLO_BYTES.to_bytes(4, "big") + bytes(1 << 17))
    assert refused.value.seen == "more, sent ahead"
