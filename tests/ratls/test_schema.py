"""Every message of every protocol: one encoding for each meaning, every key required, no value converted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from coterie.errors import CoterieError, MessageRefused
from coterie.keys.server.messages import PROTOCOL as KEYS_PROTOCOL
from coterie.keys.server.messages import Grant, KeyRequest, ServerHello
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.progress import Progress
from coterie.ratls import cbor
from coterie.ratls.claims import Claims
from coterie.ratls.evidence import InteroperableEvidence
from coterie.ratls.frames import frame
from coterie.ratls.messages import (
    CODEC,
    Acceptance,
    ContractMessage,
    EvidenceMessage,
    Hello,
    Refusal,
    WithTokens,
)
from coterie.ratls.schema import Codec, Message, Record
from coterie.ratls.voucher import Voucher
from coterie.status.messages import PROTOCOL as STATUS_PROTOCOL
from coterie.status.messages import Answer, Ask, ClusterAnswer, SeenCluster, SeenPeer, SeenRun
from tests.ratls.messages_of import CLAIMS, HANDSHAKE, KEYS, STATUS, VOUCHERS

BOUNDS = {"max_bytes": 1 << 21, "max_items": 200}


def decoding(codec: Codec) -> Callable[[bytes], Record]:
    return lambda data: codec.decode(data, **BOUNDS)


Records = st.SearchStrategy[Message] | st.SearchStrategy[Claims] | st.SearchStrategy[Voucher]
FORMATS: dict[str, tuple[Records, Callable[[bytes], Record]]] = {
    "handshake": (HANDSHAKE, decoding(CODEC)),
    "keys": (KEYS, decoding(KEYS_PROTOCOL.codec)),
    "status": (STATUS, decoding(STATUS_PROTOCOL.codec)),
    "claims": (CLAIMS, Claims.from_cbor),
    "voucher": (VOUCHERS, Voucher.from_cbor),
}


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_what_is_encoded_is_decoded_again(name: str, data: st.DataObject) -> None:
    records, decode = FORMATS[name]
    record = data.draw(records)
    assert decode(record.to_cbor()) == record


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_a_changed_byte_gives_another_meaning_or_none(name: str, data: st.DataObject) -> None:
    records, decode = FORMATS[name]
    record = data.draw(records)
    changed = bytearray(record.to_cbor())
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(changed))
    except CoterieError:
        return
    assert other != record
    assert other.to_cbor() == bytes(changed)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.binary(max_size=300))
def test_any_other_bytes_are_refused(name: str, data: bytes) -> None:
    try:
        record = FORMATS[name][1](data)
    except CoterieError:
        return
    assert record.to_cbor() == data


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_no_key_may_be_missing_or_added(name: str, data: st.DataObject) -> None:
    records, decode = FORMATS[name]
    encoded = data.draw(records).to_cbor()
    whole = cbor.decode_map(encoded, max_bytes=1 << 21, max_items=200)
    for key in whole:
        less = {other: value for other, value in whole.items() if other != key}
        with pytest.raises(CoterieError):
            decode(cbor.encode(less))
    with pytest.raises(CoterieError):
        decode(cbor.encode({**whole, "another": b""}))


def models(root: type[Record] = Record) -> Iterator[type[Record]]:
    for model in root.__subclasses__():
        if model.__module__.startswith("coterie."):
            yield model
            yield from models(model)


MODELS = [model for model in models() if model is not Message]


def parts_of(kind: object) -> Iterator[object]:
    """A type and all that it is made of."""
    yield kind
    for part in get_args(kind):
        yield from parts_of(part)


def test_the_walk_finds_every_model() -> None:
    assert {
        Acceptance, Answer, Ask, Claims, ContractMessage, EvidenceMessage, Grant, Hello, KeyRequest,
        Refusal, SeenCluster, SeenPeer, SeenRun, ServerHello, Voucher,
    } <= set(MODELS)  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_field_of_every_model_is_required_and_strict(model: type[Record]) -> None:
    """A default would accept a map without the key; a Literal of numbers accepts true for 1."""
    assert model.model_config["strict"]
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["frozen"]
    assert not model.model_config["validate_by_alias"]
    for name, field in model.model_fields.items():
        assert field.is_required() or issubclass(model, WithTokens), name
        for part in parts_of(field.annotation):
            assert get_origin(part) is not float, name
            assert part is not float, name
            if get_origin(part) is Literal:
                assert all(type(value) is str for value in get_args(part)), name


def test_tokens_are_the_only_field_that_a_map_may_lack_and_then_it_must() -> None:
    """Contracts without tokens keep the encoding that they had, and no message has two encodings."""
    for model in (one for one in MODELS if issubclass(one, WithTokens)):
        optional = [name for name, field in model.model_fields.items() if not field.is_required()]
        assert optional == ["tokens"]
    message = EvidenceMessage(quote=b"q", voucher=b"", collateral=b"")
    assert "tokens" not in message.to_map()
    assert CODEC.decode(message.to_cbor(), max_bytes=200) == message
    with pytest.raises(MessageRefused) as refused:
        CODEC.decode(cbor.encode({**message.to_map(), "tokens": b""}), max_bytes=200)
    assert refused.value.seen == "not canonical: encoded again, it gives other bytes"
    shown = EvidenceMessage(quote=b"q", voucher=b"", collateral=b"", tokens=b"a.b.c")
    assert CODEC.decode(shown.to_cbor(), max_bytes=200) == shown


class Trap(Message):
    """What pydantic alone would let pass."""

    KIND: ClassVar[str] = "trap"
    one: Literal[1]
    absent: Annotated[int, Field(ge=0)] = 0


TRAPS = Codec(Trap, between="two tests")


@pytest.mark.parametrize(
    "body", [{"one": True, "absent": 0}, {"one": 1.0, "absent": 0}, {"one": 1}, {"one": True}]
)
def test_what_pydantic_lets_pass_is_refused_since_it_is_encoded_otherwise(
    body: dict[str, object],
) -> None:
    assert Trap.model_validate(body)
    with pytest.raises(MessageRefused, match="cannot be read") as refused:
        TRAPS.decode(cbor.encode({"kind": "trap", **body}), max_bytes=100)
    assert refused.value.seen in {
        "not canonical: encoded again, it gives other bytes",
        "values of this type are not allowed",
    }
    assert TRAPS.decode(Trap(one=1, absent=0).to_cbor(), max_bytes=100) == Trap(one=1, absent=0)


@pytest.mark.parametrize("version", [True, 0, 2, None, "1"])
def test_a_version_is_exactly_the_number(version: object) -> None:
    hello = ServerHello(nonce=bytes(32), signature=bytes(64), wants_collateral=False)
    body = cbor.encode({**hello.to_map(), "version": version})
    with pytest.raises(MessageRefused) as refused:
        KEYS_PROTOCOL.codec.decode(body, max_bytes=1 << 10)
    assert refused.value.seen == f"version must be 1, not {version!r}"


# --- the bytes of the codecs that were written by hand -------------------------------------------

REFUSAL = Refusal(
    error="KeyRefused", what="wh\u00e4t", expected="e", seen="s", remedy="r", failed_check=""
)
ENDED = Progress(
    phase="finished",
    incarnation=5,
    step=3,
    steps=9,
    joined=("w1",),
    missing=("w2",),
    silent=("w1",),
    left_out=("w2",),
    checkpoint=None,
)
TRAINING = replace(
    ENDED, phase="training", left_out=(), checkpoint=DurableCheckpoint(2, b"\7" * 32)
)
SEEN = SeenPeer(
    node="w1",
    incarnation=7,
    tcb_status="UpToDate",
    measurement="ab" * 32,
    attested_at=1,
    until=2,
)
NONCE, SIGNATURE = bytes(range(32)), bytes(range(64))
VOUCHER = Voucher(
    contract_digest=b"c" * 32,
    node="acme-worker",
    role="worker",
    spki_sha256=b"k" * 32,
    incarnation=2**64 - 1,
    expiry=253_402_300_799,
    signature=b"s" * 64,
)


def request(wanted: str, **fields: bytes) -> KeyRequest:
    empty = {"set_id": b"", "voucher": b"", "quote": b"quote", "collateral": b""}
    return KeyRequest.model_validate({"wanted": wanted, **empty, **fields})


def answer(progress: Progress, collateral: bytes, peers: tuple[SeenPeer, ...]) -> Answer:
    return Answer(
        quote=b"quote",
        voucher=b"voucher",
        collateral=collateral,
        run=SeenRun.of(progress),
        peers=peers,
    )


CLUSTER = ClusterAnswer(
    quote=b"quote",
    voucher=b"voucher",
    collateral=b"",
    cluster=SeenCluster(
        phase="running", missing=("w2",), program=b"p" * 32, refusals=2, refused_calls=None
    ),
    peers=(SEEN,),
)


FRAMED: dict[tuple[str, str], tuple[Message, Codec]] = {
    ("handshake", "hello"): (Hello(nonce=NONCE, wants_collateral=True), CODEC),
    ("handshake", "evidence"): (
        EvidenceMessage(quote=b"quote", voucher=b"voucher", collateral=b"{}"),
        CODEC,
    ),
    ("handshake", "evidence, nothing else"): (
        EvidenceMessage(quote=b"q", voucher=b"", collateral=b""),
        CODEC,
    ),
    ("handshake", "contract"): (ContractMessage(contract=b'{"format":1}'), CODEC),
    ("handshake", "acceptance"): (Acceptance(grpc_port=50_051, valid_until=1_772_366_400), CODEC),
    ("handshake", "refusal"): (REFUSAL, CODEC),
    ("keys", "hello"): (
        ServerHello(nonce=NONCE, signature=SIGNATURE, wants_collateral=False),
        KEYS_PROTOCOL.codec,
    ),
    ("keys", "request for a voucher"): (request("voucher"), KEYS_PROTOCOL.codec),
    ("keys", "request for data"): (
        request("data", set_id=b"i" * 32, collateral=b"{}"),
        KEYS_PROTOCOL.codec,
    ),
    ("keys", "request for a share"): (
        request("share", voucher=b"voucher"),
        KEYS_PROTOCOL.codec,
    ),
    ("keys", "grant"): (Grant(content=b"plain"), KEYS_PROTOCOL.codec),
    ("keys", "refusal"): (REFUSAL, KEYS_PROTOCOL.codec),
    ("status", "ask"): (
        Ask(party="acme", signature=SIGNATURE, nonce=NONCE, wants_collateral=True),
        STATUS_PROTOCOL.codec,
    ),
    ("status", "answer"): (answer(TRAINING, b"{}", (SEEN,)), STATUS_PROTOCOL.codec),
    ("status", "answer at the end"): (answer(ENDED, b"", ()), STATUS_PROTOCOL.codec),
    ("status", "answer of a cluster"): (CLUSTER, STATUS_PROTOCOL.codec),
    ("status", "refusal"): (REFUSAL, STATUS_PROTOCOL.codec),
}
PAPERS = {
    "claims": Claims(
        pubkey_hash=b"k" * 32,
        contract_digest=b"c" * 32,
        node="acme-worker",
        role="worker",
        party="acme",
        incarnation=2**64 - 1,
    ).to_cbor(),
    "voucher": VOUCHER.to_cbor(),
    "voucher, signed bytes": VOUCHER.signed_bytes(),
    "evidence extension": InteroperableEvidence(b"quote", b"claims").to_extension(),
}
GOLDEN: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("golden_messages.json").read_text()
)


@pytest.mark.parametrize(("protocol", "name"), FRAMED)
def test_the_bytes_on_the_wire_are_those_of_the_codecs_before(protocol: str, name: str) -> None:
    """So the versions stay as they are: a node of the release before understands every message."""
    message, codec = FRAMED[protocol, name]
    before = bytes.fromhex(GOLDEN[protocol][name])
    assert frame(message) == before
    assert codec.decode(before[4:], **BOUNDS) == message


@pytest.mark.parametrize("name", PAPERS)
def test_papers_have_the_bytes_that_they_had_before(name: str) -> None:
    assert PAPERS[name] == bytes.fromhex(GOLDEN["papers"][name])


def test_no_bytes_of_before_are_left_out() -> None:
    named = {(protocol, name) for protocol in GOLDEN for name in GOLDEN[protocol]}
    assert named == {*FRAMED, *(("papers", name) for name in PAPERS)}
