"""Each message is bounded by what it may be, in its place: nothing longer is waited for or decoded."""

from __future__ import annotations

import secrets

import cbor2
import pytest

from coterie.contract.loading import MAX_CONTRACT_BYTES
from coterie.errors import MessageRefused
from coterie.keys.server import messages as keys
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.progress import Progress
from coterie.ratls import messages
from coterie.ratls.evidence import MAX_QUOTE_BYTES
from coterie.ratls.frames import MAX_FRAME_BYTES, FrameReader, frame
from coterie.ratls.schema import Codec
from coterie.ratls.session import Session
from coterie.ratls.voucher import MAX_VOUCHER_BYTES
from coterie.status import messages as status
from coterie.text import MAX_TEXT
from tests.ratls.conftest import World
from tests.ratls.test_session import evidence_from, inputs

REFUSAL = messages.Refusal.of(
    dict.fromkeys(("error", "what", "expected", "seen", "remedy", "failed_check"), "€" * MAX_TEXT)
)


def content(framed: bytes) -> int:
    return len(framed) - 4


def test_the_longest_message_of_every_kind_fits_its_bound() -> None:
    hello = frame(messages.Hello(nonce=bytes(32), wants_collateral=True))
    assert content(hello) <= messages.HELLO_BYTES
    assert content(frame(REFUSAL)) <= messages.REFUSAL_BYTES
    acceptance = frame(messages.Acceptance(grpc_port=65_535, valid_until=253_402_300_799))
    assert content(acceptance) <= messages.ACCEPTANCE_BYTES
    contract = messages.ContractMessage(contract=bytes(MAX_CONTRACT_BYTES))
    assert content(frame(contract)) <= messages.CONTRACT_BYTES
    for staple, tokens in ((0, 0), (messages.MAX_STAPLE_BYTES, messages.MAX_TOKENS_BYTES)):
        evidence = messages.EvidenceMessage(
            quote=bytes(MAX_QUOTE_BYTES),
            voucher=bytes(MAX_VOUCHER_BYTES),
            collateral=bytes(staple),
            tokens=bytes(tokens),
        )
        most = messages.evidence_bytes(stapled=staple > 0, tokens=tokens > 0)
        assert content(frame(evidence)) <= most < MAX_FRAME_BYTES
        request = keys.KeyRequest(
            wanted="share",
            set_id=b"",
            voucher=bytes(MAX_VOUCHER_BYTES),
            quote=bytes(MAX_QUOTE_BYTES),
            collateral=bytes(staple),
            tokens=bytes(tokens),
        )
        bound = keys.request_bytes(stapled=staple > 0, tokens=tokens > 0)
        assert content(frame(request)) <= bound
    greeting = keys.ServerHello(nonce=bytes(32), signature=bytes(64), wants_collateral=True)
    assert content(frame(greeting)) <= keys.HELLO_BYTES
    assert content(frame(keys.Grant(content=bytes(MAX_VOUCHER_BYTES)))) <= keys.GRANT_BYTES
    ask = status.Ask(party="p" * 63, signature=bytes(64), nonce=bytes(32), wants_collateral=True)
    assert content(frame(ask)) <= status.ASK_BYTES
    assert status.PROTOCOL.codec.decode(frame(ask)[4:], max_bytes=status.ASK_BYTES) == ask


@pytest.mark.parametrize("nodes", [3, 1024])
def test_the_longest_answer_about_a_contracts_nodes_fits_its_bound(nodes: int) -> None:
    names = tuple("n" * 63 for _ in range(nodes))
    peer = status.SeenPeer(
        node="n" * 63,
        incarnation=2**63,
        tcb_status="s" * 100,
        measurement="m" * 128,
        attested_at=2**33,
        until=2**33,
    )
    checkpoint = DurableCheckpoint(2**60, bytes(32))
    progress = Progress("training", 2**62, 2**62, 2**62, names, names, names, names, checkpoint)
    answer = status.Answer(
        quote=bytes(MAX_QUOTE_BYTES),
        voucher=bytes(MAX_VOUCHER_BYTES),
        collateral=b"",
        run=status.SeenRun.of(progress),
        peers=(peer,) * nodes,
    )
    most = status.answer_bytes(nodes, stapled=False)
    framed = frame(answer)
    assert content(framed) <= most
    decoded = status.PROTOCOL.codec.decode(
        framed[4:], max_bytes=most, max_items=status.answer_items(nodes)
    )
    assert decoded == answer


def flood(size: int) -> bytes:
    """A frame of very many items, as the first octets of a map with a kind."""
    head = b"\xa1\x64kind\x9a" + (size - 11).to_bytes(4, "big")
    return size.to_bytes(4, "big") + head + b"\x80" * (size - len(head))


EXCHANGES: dict[str, tuple[Codec, int]] = {
    "node": (messages.CODEC, messages.HELLO_BYTES),
    "ask": (status.PROTOCOL.codec, status.ASK_BYTES),
    "request": (keys.PROTOCOL.codec, keys.request_bytes(stapled=False)),
}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_long_frame_is_refused_by_its_length_alone(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, most = EXCHANGES[exchange]

    def loads(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cbor2, "loads", loads)
    with pytest.raises(MessageRefused) as refused:
        FrameReader(codec, most).feed(flood(2_000_000)[:4])
    assert refused.value.expected == f"at most {most} bytes here"
    assert refused.value.seen == "2000000 bytes"
    with pytest.raises(MessageRefused) as refused:
        FrameReader(codec, most).read_message(lambda: flood(most))
    assert "items" in refused.value.seen


def test_what_is_due_bounds_the_exchange_at_every_step(world: World) -> None:
    worker, server = world.trust("acme-worker"), world.trust("ps0")
    honest, ours = inputs(worker, server, "dialler"), inputs(server, worker, "listener")

    def most(session: Session) -> int:
        with pytest.raises(MessageRefused) as refused:
            session.receive((MAX_FRAME_BYTES).to_bytes(4, "big"))
        return int(refused.value.expected.split()[2])

    assert most(Session(ours)) == messages.HELLO_BYTES
    greeted = Session(ours)
    hello = frame(messages.Hello(nonce=secrets.token_bytes(32), wants_collateral=False))
    greeted.receive(hello)
    assert most(greeted) == messages.evidence_bytes(stapled=False)
    proved = Session(ours)
    proved.receive(hello)
    proved.receive(evidence_from(honest, ours.nonce))
    assert proved.peer_proved
    assert most(proved) == messages.ACCEPTANCE_BYTES


def test_what_is_sent_ahead_is_bounded_too() -> None:
    reader = FrameReader(messages.CODEC, messages.HELLO_BYTES)
    with pytest.raises(MessageRefused, match="longer than what is due") as refused:
        reader.feed(messages.HELLO_BYTES.to_bytes(4, "big") + bytes(1 << 17))
    assert refused.value.seen == "more, sent ahead"
