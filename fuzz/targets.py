"""What is fuzzed, one function per reader of a stranger's bytes.

Each takes any bytes. A refusal by an error of the tree is the expected end; whatever else a target
raises is a finding, and so is an accepted input that breaks what the target asserts of it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import get_args

import numpy as np
from google.protobuf.message import DecodeError

from coterie.attestation.appraiser import assess
from coterie.attestation.authentic import AnyCollateral, AnyQuote
from coterie.attestation.collateral import Collateral
from coterie.attestation.endorsed.document import read_endorsement
from coterie.attestation.endorsed.signature import verify_signature
from coterie.attestation.evidence import read_collateral
from coterie.attestation.pccs import Answer, PccsCollateral
from coterie.attestation.quote import Quote, parse_quote
from coterie.attestation.snp.quote import parse_snp_quote, read_table
from coterie.attestation.tee.by_kind import root_for
from coterie.attestation.tee.simulated.azure import SimulatedVm
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.publisher import SimulatedPublisher
from coterie.attestation.tee.simulated.quotes import EnclaveFields, sgx_quote
from coterie.attestation.tee.simulated.snp_vendor import GuestFields, SimulatedAmd
from coterie.attestation.tee.simulated.tokens import SimulatedTokens
from coterie.attestation.tokens.verification import verify_tokens
from coterie.attestation.verdict import CheckList
from coterie.attestation.vtpm.hcl_report import HclReport
from coterie.attestation.vtpm.quote import parse_vtpm_quote
from coterie.attestation.vtpm.runtime_data import RuntimeData
from coterie.attestation.vtpm.tpm_quote import TpmQuote
from coterie.contract import Contract, parse_contract
from coterie.contract.endorsement_trust import SIMULATED_PUBLISHER
from coterie.contract.token_trust import SIMULATED_SERVICE, TokenTrust
from coterie.errors import CoterieError, EvidenceRefused, HandshakeFailed, MessageRefused
from coterie.keys.server import messages as key_messages
from coterie.kinds import SigningKey, TeeKind
from coterie.plane.choice import choice, computing_with
from coterie.plane.numpy_kernels import NumpyKernels
from coterie.plane.packing import unpack_differences, unpack_zeros
from coterie.ps.call_metrics import ignore_call
from coterie.ps.caller import Caller
from coterie.ps.checkpoints.records import NoCheckpoints
from coterie.ps.data_calls import DataCalls, DataService
from coterie.ps.driver import Driver
from coterie.ps.methods import Unary
from coterie.ps.ports import ParameterServerPort
from coterie.ps.service import ParameterService
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeRequest
from coterie.ps.wire.lossy_coding import Bfloat16Coding, Int8Coding, TopCoding
from coterie.ps.wire.push_coding import Float32Coding, PushCoding
from coterie.ratls.certificate import read_certificate
from coterie.ratls.claims import Claims, foreign_pubkey_hash
from coterie.ratls.deadline import Deadline
from coterie.ratls.evidence import (
    LEGACY_OIDS,
    InteroperableEvidence,
    read_evidence,
    read_interoperable,
)
from coterie.ratls.frames import MAX_FRAME_BYTES, FrameReader, frame
from coterie.ratls.guests import ThrowAwayIdentity, unproved_key
from coterie.ratls.messages import CODEC, Hello, Refusal
from coterie.ratls.session import Session, SessionInputs
from coterie.ratls.tls import TlsConnection
from coterie.ratls.voucher import Voucher
from coterie.receipts import entries
from coterie.receipts.chain import server_key
from coterie.receipts.entry_types import Server
from coterie.status import messages as status
from coterie.trained.trained_model import TrainedModel
from fuzz import tensorflow_calls
from fuzz.scripted import ScriptedStream

EXCHANGE_BYTES = 1 << 16
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
PKI = SimulatedPki()
QUOTE = sgx_quote(PKI, EnclaveFields(mrenclave=bytes(range(32))))
PARSED = parse_quote(QUOTE)
COLLATERAL = PKI.collateral(AT)
AMD = SimulatedAmd()
SNP_QUOTES = tuple(
    replace(AMD, key=key).evidence(GuestFields(bytes(range(48)))) for key in get_args(SigningKey)
)
SNP_COLLATERAL = AMD.collateral(AT)
MACHINES = (SimulatedVm(), SimulatedVm(tdx=True))
VTPM_QUOTES = tuple(vm.evidence(bytes(64), (4, 7, 11)) for vm in MACHINES)
TDX_COLLATERAL = SimulatedPki(tee="TDX").collateral(AT)
PUBLISHED = SimulatedPublisher(snp=((1, bytes(48)),), tdx=((8, bytes(48)),)).document()
ENDORSEMENT = read_endorsement(PUBLISHED)
DEMANDED = TokenTrust(
    service="google",
    issuer="https://tokens.example",
    audience="fuzz",
    keys=(SIMULATED_SERVICE,),
    algorithms=("ES256",),
    nonce_claim="eat_nonce",
)
TOKEN = SimulatedTokens((DEMANDED,), lambda: AT).tokens(bytes(64))
SERVER = ThrowAwayIdentity.create(AT)
CHAIN_HEADERS = (
    "tcb-info-issuer-chain",
    "sgx-enclave-identity-issuer-chain",
    "sgx-pck-crl-issuer-chain",
)
_TEXT = b"""
format = 1
name = "fuzz"
mode = "hfl"
parties = [{name = "a"}, {name = "b"}]
nodes = [
  {name = "ps", role = "ps", party = "a"},
  {name = "w1", role = "worker", party = "a"},
  {name = "w2", role = "worker", party = "b"},
]
[trust]
tee = "simulated"
[trust.roles.ps]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
[trust.roles.worker]
measurement = "own"
accepted_tcb_statuses = ["UpToDate"]
"""
CONTRACT: Contract = parse_contract(_TEXT, "fuzz")
SMALL_RUN: Contract = parse_contract(
    _TEXT
    + b"""
[data]
rows = 8
[model]
embedding_dim = 2
bottom = [2]
top = [1]
[training]
batch = 4
""",
    "fuzz",
)
KERNELS = (NumpyKernels(), choice().kernels)
# Not `tell`, by which a worker may end the run that the next input needs.
CALLS = tuple(
    method
    for method in ParameterServerPort.methods()
    if isinstance(method, Unary) and method.name != "Tell"
)
DENSE, SUMS, DIM, WIDTH = 600, 3, 3, 1
CODINGS: tuple[PushCoding, ...] = (
    Float32Coding(DENSE + SUMS, DIM + WIDTH),
    Bfloat16Coding(DENSE + SUMS, DIM + WIDTH),
    Int8Coding(DENSE, SUMS, DIM, WIDTH),
    TopCoding(DENSE, SUMS, DIM, WIDTH, share=0.1),
)
OWN = Claims(
    pubkey_hash=bytes(32), contract_digest=bytes(32), node="ps", role="ps", party="a", incarnation=1
)
PEER = OWN.model_copy(update={"node": "w1", "role": "worker"})


def quote(data: bytes) -> None:
    """A quote: parsed strictly, and judged if it parses."""
    try:
        parsed = parse_quote(data)
    except EvidenceRefused:
        return
    if parsed.pck_chain_pem.encode() in data:
        assert data.startswith(parsed.canonical)
        assert not data[len(parsed.canonical) :].strip(b"\0")
    assert parse_quote(parsed.canonical) == parsed
    with suppress(EvidenceRefused):
        parsed.platform()
    kind = parsed.kind
    verdict = assess(data, COLLATERAL, kind=kind, root=root_for(kind), policies=(), at=AT).verdict
    # The report of an accepted quote is signed, so only the seed's can be.
    assert verdict is None or parsed.canonical[:432] == QUOTE[:432]


def snp(data: bytes) -> None:
    """SNP evidence and a host's table of certificates: parsed strictly, and judged if it parses."""
    with suppress(EvidenceRefused):
        read_table(data)
    try:
        parsed = parse_snp_quote(data)
    except EvidenceRefused:
        return
    _check_judged(data, parsed, SNP_COLLATERAL, SNP_QUOTES)


def _check_judged(
    data: bytes, parsed: AnyQuote, collateral: AnyCollateral, genuine: Collection[bytes]
) -> None:
    assert parsed.canonical == data
    with suppress(EvidenceRefused):
        parsed.platform()
    kind = parsed.kind
    outcome = assess(data, collateral, kind=kind, root=root_for(kind), policies=(), at=AT)
    # Everything in it is signed, or has one encoding.
    assert outcome.verdict is None or data in genuine


def endorsement(data: bytes) -> None:
    """A launch endorsement: read within its bounds, and accepted only as its publisher signed it."""
    try:
        parsed = read_endorsement(data)
        verify_signature(parsed, roots=(SIMULATED_PUBLISHER,), at=AT, checks=CheckList())
    except EvidenceRefused:
        return
    # Fields that are not known may stand around what is signed.
    assert parsed.statement == ENDORSEMENT.statement


def token(data: bytes) -> None:
    """A token of an attestation service: accepted only as the service signed it."""
    with suppress(EvidenceRefused):
        verify_tokens([data], [DEMANDED], report_data=bytes(64), at=AT, checks=CheckList())
        # What base64url leaves open in a last character is no part of the signed bytes.
        assert data.rsplit(b".", 1)[0] == TOKEN.rsplit(b".", 1)[0]


def vtpm(data: bytes) -> None:
    """Evidence of a virtual TPM and its parts: parsed strictly, and judged if it parses."""
    for read in (HclReport.parse, RuntimeData.parse, TpmQuote.parse):
        with suppress(EvidenceRefused):
            read(data)
    try:
        parsed = parse_vtpm_quote(data)
    except EvidenceRefused:
        return
    collateral = TDX_COLLATERAL if isinstance(parsed.hardware, Quote) else SNP_COLLATERAL
    _check_judged(data, parsed, collateral, VTPM_QUOTES)


def certificate(data: bytes) -> None:
    """A certificate in DER, as the TLS callback gets it."""
    try:
        found = read_certificate(data)
        found.check_validity(AT, longest=None)
        found.evidence.bound_report_data(found.spki_der)
        if isinstance(found.evidence, InteroperableEvidence):
            Claims.from_cbor(found.evidence.claims)
    except EvidenceRefused:
        return


def throw_away(data: bytes) -> None:
    """A certificate that proves nothing, of a visitor or a key server."""
    try:
        key = unproved_key(data, "the fuzzer")
    except HandshakeFailed:
        return
    assert len(key) == 91  # one encoding per key on P-256


def connection(data: bytes) -> None:
    """Whatever a stranger sends to a port that judges, before TLS has any keys."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        tls = TlsConnection(
            here,
            SERVER,
            lambda der: unproved_key(der, "the fuzzer"),
            listener=True,
            at=AT,
            deadline=Deadline.after(10),
            peer_name="the fuzzer",
        )
        try:
            tls.handshake()
        except CoterieError:
            tls.close()
            return
        raise AssertionError("a handshake without a key")


def pccs(data: bytes) -> None:
    """A PCCS's answer: issuer chains in headers up to the first NUL, then the body."""
    header, _, body = data.partition(b"\0")
    chain = header.decode("latin-1")
    answer = Answer(dict.fromkeys(CHAIN_HEADERS, chain), body)
    try:
        found = PccsCollateral("https://pccs.example", http=_Same(answer)).collateral_for(
            PARSED, AT
        )
    except CoterieError:
        return
    assert Collateral.from_json(found.to_json()) == found


def evidence(data: bytes) -> None:
    """The value of the evidence extension: behind a signature, so `certificate` seldom gets there."""
    with suppress(EvidenceRefused):
        read_evidence({LEGACY_OIDS[0]: data})
    try:
        found = read_interoperable(data)
    except EvidenceRefused:
        return
    assert found.to_extension() == data
    quote(found.quote)
    claims(found.claims)


def claims(data: bytes) -> None:
    """A claims buffer: ours strictly, other producers' too; one form per meaning."""
    with suppress(EvidenceRefused):
        foreign_pubkey_hash(data)
    try:
        found = Claims.from_cbor(data)
    except EvidenceRefused:
        return
    assert found.to_cbor() == data


def messages(data: bytes) -> None:
    """Handshake frames in two pieces, then the whole exchange, then a voucher."""
    reader = FrameReader(CODEC, MAX_FRAME_BYTES)
    cut = data[0] if data else 0
    try:
        for piece in (data[:cut], data[cut:]):
            reader.feed(piece)
            while (message := reader.next_message()) is not None:
                assert frame(message) in data
    except CoterieError:
        pass
    session = Session(_inputs())
    for first in (b"", frame(Hello(nonce=b"\1" * 32, wants_collateral=True))):
        try:
            session.receive(first + data)
        except CoterieError:
            assert session.state == "refused"
            session = Session(_inputs())
    try:
        assert Voucher.from_cbor(data).to_cbor() == data
    except CoterieError:
        return


def collateral(data: bytes) -> None:
    """Collateral in JSON, as a peer staples it: read, dated, joined, judged."""
    try:
        found = read_collateral(data)
        found.freshness()
        COLLATERAL.renewed_by(found)
        found.renewed_by(COLLATERAL)
    except EvidenceRefused:
        return
    of_kinds: tuple[tuple[bytes, TeeKind], ...] = (
        (QUOTE, "simulated"),
        (SNP_QUOTES[0], "simulated-snp"),
    )
    for quote_bytes, kind in of_kinds:
        outcome = assess(quote_bytes, found, kind=kind, root=root_for(kind), policies=(), at=AT)
        if outcome.verdict is not None:
            assert found == SNP_COLLATERAL or (
                isinstance(found, Collateral) and found.tcb_info == COLLATERAL.tcb_info
            )


def calls(data: bytes) -> None:
    """A call of an attested worker to a parameter server that waits for its first push."""
    service, worker = begun_server()
    method = CALLS[(data[0] if data else 0) % len(CALLS)]
    codec = method.codec
    try:
        reply = method.on(service)(worker, codec.decode_request(data[1:]))
    except (CoterieError, DecodeError):
        return
    assert codec.decode_reply(b"".join(codec.encode_reply(reply))) is not None


def packed(data: bytes) -> None:
    """Packed numbers, of both forms: one form of one content, whoever unpacks it."""
    size = data[0] if data else 0
    old = np.arange(size, dtype=np.float32)
    for compute in KERNELS:
        with computing_with(compute), suppress(MessageRefused):
            kept, mask = compute.pack_zeros(unpack_zeros(data[1:], size, "numbers"))
            assert kept.tobytes() + mask.tobytes() == data[1:]
        with computing_with(compute), suppress(MessageRefused):
            made = compute.pack_differences(old, unpack_differences(data[1:], old, "numbers"))
            parts = (made.wide, made.narrow, made.mask)
            assert b"".join(part.tobytes() for part in parts) == data[1:]


def gradients(data: bytes) -> None:
    """A worker's coded gradients: the first byte chooses coding and array, which the contract does elsewhere."""
    choice = data[0] if data else 0
    coding = CODINGS[choice % len(CODINGS)]
    try:
        if choice < 128:
            found = coding.decode_dense(data[1:])
            assert found.shape == (DENSE + SUMS,)
        else:
            found = coding.decode_rows(data[1:], 2)
            assert found.shape == (2, DIM + WIDTH)
    except MessageRefused:
        return
    assert np.isfinite(found).all()


def exchanges(data: bytes) -> None:
    """A data connection: as the server from a worker, or, by the first byte, the other way round."""
    service, worker = begun_server()
    exchange, stream = ParameterServerPort.exchange, ScriptedStream(data[1:])
    served = DataService(
        exchange, exchange.on(service), most_bytes=EXCHANGE_BYTES, observe=ignore_call
    )
    calls = DataCalls(lambda: nullcontext(stream), "ps", EXCHANGE_BYTES, ignore_call)
    try:
        if data[:1] == b"\0":
            calls.call(exchange, ExchangeRequest(1, 0, None, b""))
            return
        while stream.wait() and served.serve_one(stream, lambda: worker):
            pass
    except CoterieError:
        return
    assert stream.sent or not data[1:]


def keys(data: bytes) -> None:
    """A message between a node and a key server."""
    try:
        message = key_messages.PROTOCOL.codec.decode(data, max_bytes=MAX_FRAME_BYTES)
    except CoterieError:
        return
    assert message.to_cbor() == data


def model(data: bytes) -> None:
    """The file of a trained model."""
    try:
        found = TrainedModel.from_bytes(data, "fuzz")
    except CoterieError:
        return
    assert found.file_bytes == len(data)


def visitors(data: bytes) -> None:
    """What a visitor and a server say to each other: one encoding per meaning."""
    try:
        message = status.PROTOCOL.codec.decode(
            data, max_bytes=MAX_FRAME_BYTES, max_items=status.answer_items(3)
        )
        if isinstance(message, status.Answer):
            assert status.SeenRun.of(message.run.progress) == message.run
    except CoterieError:
        return
    if isinstance(message, Refusal):
        assert str(message.as_error("the fuzzer")).isprintable()
    assert message.to_cbor() == data


def receipt(data: bytes) -> None:
    """A line of a receipt: read strictly, and the key that it introduces, if it does."""
    try:
        entry = entries.decode_line(data, 1)
        if isinstance(entry.body, Server):
            server_key(entry)
    except CoterieError:
        return
    assert entry.digest == entries.line_digest(data)
    assert data.isascii()


def begun_server() -> tuple[ParameterService, Caller]:
    """A server that both workers have joined, and one of them."""
    driver = Driver(
        SMALL_RUN,
        "ps",
        incarnation=1,
        monotonic=lambda: 0.0,
        on_event=lambda _: None,
        checkpoints=lambda *_: NoCheckpoints(),
        poll_seconds=0.0,
    )
    service = ParameterService(driver)
    driver.call(driver.core.restore(None, 1, "5e" * 32))
    workers = [Caller(name, "worker", 1) for name in ("w1", "w2")]
    for worker in workers:
        service.join(worker, pb.JoinRequest(train_examples=8, data_set_digest=bytes(32)))
    return service, workers[0]


@dataclass(frozen=True)
class _Same:
    """A service with one answer to everything, but for the name of what is signed."""

    answer: Answer

    def get(self, url: str, seconds: float = 0.0) -> Answer:  # noqa: ARG002 - protocol
        """The answer."""
        body = self.answer.body
        if url.endswith("/identity"):
            body = body.replace(b"tcbInfo", b"enclaveIdentity", 1)
        return Answer(self.answer.headers, body)


def _judge(quote_bytes: bytes, _: bytes, stapled: bytes) -> None:
    parse_quote(quote_bytes)
    if stapled:
        read_collateral(stapled)


def _inputs() -> SessionInputs:
    return SessionInputs(
        side="listener",
        contract=CONTRACT,
        own=OWN,
        peer=PEER,
        exporter=bytes(32),
        nonce=bytes(32),
        voucher=b"",
        at=AT,
        wants_collateral=False,
        prove=lambda _, *, staple: (QUOTE, b"{}" if staple else b""),
        judge=_judge,
        judge_tokens=lambda _: None,
    )


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        run: The function.
        max_bytes: Longest input that is tried.
    """

    run: Callable[[bytes], None]
    max_bytes: int


TARGETS = {
    "quote": Target(quote, 1 << 14),
    "snp": Target(snp, 1 << 14),
    "vtpm": Target(vtpm, 1 << 14),
    "endorsement": Target(endorsement, 1 << 13),
    "token": Target(token, 1 << 11),
    "certificate": Target(certificate, 1 << 14),
    "throw-away": Target(throw_away, 1 << 11),
    "connection": Target(connection, 1 << 14),
    "evidence": Target(evidence, 1 << 14),
    "claims": Target(claims, 1 << 13),
    "messages": Target(messages, 1 << 15),
    "collateral": Target(collateral, 1 << 16),
    "pccs": Target(pccs, 1 << 15),
    "exchanges": Target(exchanges, EXCHANGE_BYTES),
    "calls": Target(calls, 1 << 15),
    "packed": Target(packed, 1 << 10),
    "gradients": Target(gradients, 1 << 12),
    "keys": Target(keys, 1 << 13),
    "model": Target(model, 1 << 13),
    "visitors": Target(visitors, 1 << 15),
    "receipt": Target(receipt, 1 << 15),
    "tensorflow-frames": Target(tensorflow_calls.frames, tensorflow_calls.MOST_BYTES),
    "tensorflow-requests": Target(tensorflow_calls.requests, tensorflow_calls.MOST_BYTES),
}
