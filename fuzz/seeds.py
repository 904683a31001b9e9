"""Seeds: simulated evidence of every form, and the real vectors where they lie beside the checkout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import numpy as np
from asn1crypto import pem
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from coterie.attestation.pem import encode
from coterie.attestation.snp.products import Tcb
from coterie.attestation.tee.simulated.pki import SimulatedPki
from coterie.attestation.tee.simulated.quotes import TdFields, tdx_quote
from coterie.attestation.tee.simulated.snp_vendor import GuestFields, SimulatedAmd
from coterie.errors import StepRefused
from coterie.keys.server.messages import Grant, KeyRequest, ServerHello
from coterie.plane.numpy_kernels import NumpyKernels
from coterie.ps.checkpoints.records import DurableCheckpoint
from coterie.ps.progress import Progress
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, Push
from coterie.ratls.evidence import InteroperableEvidence
from coterie.ratls.frames import frame
from coterie.ratls.issue import issue_certificate
from coterie.ratls.messages import (
    Acceptance,
    ContractMessage,
    EvidenceMessage,
    Hello,
    Refusal,
)
from coterie.ratls.tls import ALPN
from coterie.ratls.voucher import Voucher
from coterie.ratls.wire_errors import error_octets
from coterie.receipts import entries, entry_types
from coterie.receipts.entry_types import Body
from coterie.status import messages as status
from coterie.trained.trained_model import TrainedModel
from fuzz import tensorflow_calls
from fuzz.targets import (
    AT,
    CALLS,
    CODINGS,
    COLLATERAL,
    DENSE,
    DIM,
    ENDORSEMENT,
    MACHINES,
    PEER,
    PKI,
    PUBLISHED,
    QUOTE,
    SERVER,
    SMALL_RUN,
    SNP_COLLATERAL,
    SNP_QUOTES,
    SUMS,
    TOKEN,
    VTPM_QUOTES,
    WIDTH,
)

VECTORS = Path(__file__).parents[2] / "shared" / "attestation-vectors"
CLOUD_VECTORS = VECTORS.with_name("attestation-vectors-cloud")


def seeds(target: str) -> Iterator[bytes]:
    """Valid and nearly valid inputs of a target."""
    return {
        "quote": _quotes,
        "snp": _snp,
        "vtpm": _vtpm,
        "endorsement": _endorsements,
        "token": _tokens,
        "certificate": _certificates,
        "throw-away": _throw_away,
        "connection": _connections,
        "evidence": _evidence,
        "claims": _claims,
        "messages": _messages,
        "collateral": _collateral,
        "pccs": _pccs,
        "calls": _calls,
        "exchanges": _exchanges,
        "packed": _packed,
        "gradients": _gradients,
        "keys": _keys,
        "model": _models,
        "visitors": _visitors,
        "receipt": _receipt,
        "tensorflow-frames": tensorflow_calls.frame_seeds,
        "tensorflow-requests": tensorflow_calls.request_seeds,
    }[target]()


def _quotes() -> Iterator[bytes]:
    tdx = SimulatedPki(tee="TDX")
    yield QUOTE
    yield QUOTE + bytes(64)
    for size in (584, 648, 885):
        body = TdFields(mrtd=b"\3" * 48).encode(size)
        yield tdx_quote(tdx, body, version=4 if size == 584 else 5)
    for file in sorted(VECTORS.glob("*/quote.bin")):
        yield file.read_bytes()


def _snp() -> Iterator[bytes]:
    yield from SNP_QUOTES
    turin = SimulatedAmd(product="Turin", key="vlek", tcb=Tcb(1, 1, 4, 71, fmc=1))
    for version in (2, 3, 5):
        yield turin.evidence(GuestFields(b"\3" * 48, version=version, platform_info=1))


def _endorsements() -> Iterator[bytes]:
    yield PUBLISHED
    yield PUBLISHED + b"\x1a\1x"
    yield ENDORSEMENT.statement


def _tokens() -> Iterator[bytes]:
    yield TOKEN
    yield TOKEN.rsplit(b".", 1)[0] + b".AA"


def _vtpm() -> Iterator[bytes]:
    yield from VTPM_QUOTES
    for machine in MACHINES:
        yield machine.runtime
        yield machine.quote(bytes(32), (0, 23)).message
    for file in sorted(CLOUD_VECTORS.glob("azure_*/hcl-report.bin")):
        yield file.read_bytes()


def _certificates() -> Iterator[bytes]:
    key = ec.derive_private_key(7, ec.SECP256R1())
    for buffer in _claims():
        yield issue_certificate(
            key,
            InteroperableEvidence(QUOTE, buffer),
            node="w1",
            party="a",
            at=AT,
            lifetime=timedelta(hours=12),
            serial=1,
        )
    for file in sorted((VECTORS / "ratls_certs").glob("*")):
        data = file.read_bytes()
        if data.startswith(b"-----BEGIN CERTIFICATE"):
            yield pem.unarmor(data)[2]
        elif data.startswith(b"\x30"):
            yield data


def _throw_away() -> Iterator[bytes]:
    yield SERVER.certificate_der
    for was, becomes in (
        ("a003020102", "a003020107"),  # the version
        ("06082a8648ce3d030107", "06082a8648ce3d03017f"),  # the curve
        ("06072a8648ce3d0201", "06072a8648ce3d027f"),  # the kind of key
    ):
        yield SERVER.certificate_der.replace(bytes.fromhex(was), bytes.fromhex(becomes), 1)
    yield from _certificates()


def _connections() -> Iterator[bytes]:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_alpn_protos([ALPN])
    client = SSL.Connection(context)
    client.set_connect_state()
    with suppress(SSL.WantReadError):
        client.do_handshake()
    hello = client.bio_read(1 << 14)
    yield hello
    yield hello + b"\x14\x03\x03\x00\x01\x01" * 40
    yield b"\x15\x03\x03\x00\x02\x02\x28"


def _pccs() -> Iterator[bytes]:
    old = PKI.trust_root.certificate.replace(
        bytes.fromhex("a003020102"), bytes.fromhex("a003020107"), 1
    )
    signature = COLLATERAL.tcb_info_signature.hex().encode()
    body = b'{"tcbInfo":%b,"signature":"%b"}' % (COLLATERAL.tcb_info.encode(), signature)
    for chain in (COLLATERAL.tcb_info_issuer_chain, encode(old)):
        yield quote(chain).encode() + b"\0" + body


def _evidence() -> Iterator[bytes]:
    for buffer in _claims():
        yield InteroperableEvidence(QUOTE, buffer).to_extension()
        yield InteroperableEvidence(b"\3\0", buffer).to_extension()


def _claims() -> Iterator[bytes]:
    yield PEER.to_cbor()
    yield b"\xa1" + b"\x6bpubkey-hash" + b"\x58\x25" + b"\x82\x01\x58\x20" + bytes(32) + b"\0"


def _messages() -> Iterator[bytes]:
    voucher = Voucher(
        contract_digest=bytes(32),
        node="w1",
        role="worker",
        spki_sha256=bytes(32),
        incarnation=1,
        expiry=1_900_000_000,
        signature=bytes(64),
    ).to_cbor()
    hello = frame(Hello(nonce=b"\2" * 32, wants_collateral=False))
    staple = COLLATERAL.to_json().encode()
    yield voucher
    yield hello
    yield hello + frame(EvidenceMessage(quote=QUOTE, voucher=voucher, collateral=b""))
    yield frame(EvidenceMessage(quote=QUOTE, voucher=b"", collateral=staple[:9000]))
    yield frame(ContractMessage(contract=b"{}"))
    yield frame(Acceptance(grpc_port=4711, valid_until=1_900_000_000))
    yield frame(Refusal.of({"error": "EvidenceRefused", "what": "no"}))


def _collateral() -> Iterator[bytes]:
    yield COLLATERAL.to_json().encode()
    yield SNP_COLLATERAL.to_json().encode()
    yield SimulatedPki(tee="TDX").collateral(AT).to_json().encode()
    for file in sorted(VECTORS.glob("*/collateral.json")):
        yield file.read_bytes()


def _visitors() -> Iterator[bytes]:
    voucher = Voucher(
        contract_digest=bytes(32),
        node="ps",
        role="ps",
        spki_sha256=bytes(32),
        incarnation=1,
        expiry=1_900_000_000,
        signature=bytes(64),
    ).to_cbor()
    run = Progress(
        "training", 1, 2, 9, ("w1",), ("w2",), ("w1",), (), DurableCheckpoint(1, bytes(32))
    )
    peers = (
        status.SeenPeer(
            node="w1",
            incarnation=1,
            tcb_status="UpToDate",
            measurement="00" * 32,
            attested_at=1,
            until=2,
        ),
    )
    ask = status.Ask(party="a", signature=bytes(64), nonce=bytes(32), wants_collateral=True)
    answer = status.Answer(
        quote=QUOTE,
        voucher=voucher,
        collateral=b"",
        run=status.SeenRun.of(run),
        peers=peers,
    )
    yield ask.to_cbor()
    yield answer.to_cbor()
    yield Refusal.of({"error": "CallRefused", "what": "no"}).to_cbor()


def _receipt() -> Iterator[bytes]:
    told: list[Body] = [
        entry_types.NodeJoined(node="w1", incarnation=1, examples=8, data_set="00" * 32),
        entry_types.Checkpoint(step=5, digest="00" * 32, examples=40, loss=0.5),
        entry_types.PeerRefused(error="EvidenceRefused", reason="no"),
    ]
    for der in _certificates():
        certificate = entries.text(der)
        told.append(
            entry_types.Server(
                reason="start", certificate=certificate, voucher="", collateral=None, lost=0
            )
        )
    for index, body in enumerate(told):
        said = entries.statement(index=index, at=AT, body=body, previous=entries.GENESIS)
        yield entries.canonical({**said, "signature": "00" * 64})


def _calls() -> Iterator[bytes]:
    """One good call of every method; the push completes half of a step."""
    parameters = sum(math.prod(p.shape) for p in SMALL_RUN.model.dense_parameters(SMALL_RUN.data))
    ids = np.arange(26, dtype="<i4") * 8
    push = Push(
        examples=4,
        loss_sum=2.5,
        correct=1,
        dense_gradient=np.ones(parameters, "<f4").tobytes(),
        row_ids=ids.tobytes(),
        row_gradients=np.ones((26, 2), "<f4").tobytes(),
    )
    good: dict[str, bytes] = {
        "join": pb.JoinRequest(train_examples=8, data_set_digest=bytes(32)).SerializeToString(),
        "exchange": b"".join(ExchangeRequest(1, 0, push, ids.tobytes()).encode()),
        "lookup": pb.LookupRequest(ps_incarnation=1, row_ids=ids.tobytes()).SerializeToString(),
        "report": pb.ReportRequest(ps_incarnation=1).SerializeToString(),
        "leave": pb.LeaveRequest(ps_incarnation=1).SerializeToString(),
        "status": b"",
        "initialize": pb.InitializeRequest(
            dense_parameters=bytes(push.dense_gradient)
        ).SerializeToString(),
        "enlist": pb.EnlistRequest(attempt=1).SerializeToString(),
        "commit": pb.CommitRequest(ps_incarnation=1, staged=[0]).SerializeToString(),
        "conclude": pb.ConcludeRequest(ps_incarnation=1).SerializeToString(),
    }
    for index, name in enumerate(method.attribute for method in CALLS):
        yield bytes([index]) + good[name]
    yield b"\1" + b"".join(ExchangeRequest(1, 0, None, ids.tobytes()).encode())


def _packed() -> Iterator[bytes]:
    old = np.arange(40, dtype=np.float32)
    for odd in (3, 4, 7):
        given = np.where(np.arange(40) % odd, np.float32(0), -old)
        kept, mask = NumpyKernels().pack_zeros(given)
        yield bytes([40]) + kept.tobytes() + mask.tobytes()
        given = np.where(np.arange(40) % odd, np.nextafter(old, np.float32(50)), given)
        made = NumpyKernels().pack_differences(old, given)
        yield bytes([40]) + made.wide.tobytes() + made.narrow.tobytes() + made.mask.tobytes()


def _gradients() -> Iterator[bytes]:
    values = np.linspace(-1, 1, DENSE + SUMS, dtype=np.float32)
    rows = np.linspace(-1, 1, 2 * (DIM + WIDTH), dtype=np.float32).reshape(2, -1)
    for index, coding in enumerate(CODINGS):
        yield bytes([index]) + coding.encode_dense(values)
        yield bytes([128 + index]) + coding.encode_rows(rows)
        yield bytes([index]) + coding.encode_dense(np.zeros_like(values))


def _exchanges() -> Iterator[bytes]:
    """The exchanges among the calls, as a server reads them, and replies as a worker does."""
    index = [method.attribute for method in CALLS].index("exchange")
    messages = [call[1:] for call in _calls() if call[0] == index]
    for message in messages:
        yield b"\1" + len(message).to_bytes(4, "little") + message
    yield b"\1" + b"".join(len(one).to_bytes(4, "little") + one for one in messages)
    error = error_octets(StepRefused("too late", expected="step 4", seen="step 3"))
    reply = b"".join(ExchangeReply(0, pending=True).encode())
    for kind, answer in enumerate((reply, error, error)):
        yield b"\0" + bytes([kind]) + len(answer).to_bytes(4, "little") + answer


def _keys() -> Iterator[bytes]:
    for message in (
        ServerHello(nonce=bytes(32), signature=bytes(64), wants_collateral=True),
        KeyRequest(wanted="voucher", set_id=b"", voucher=b"", quote=QUOTE, collateral=b""),
        KeyRequest(wanted="data", set_id=bytes(32), voucher=b"", quote=QUOTE, collateral=b"{}"),
        KeyRequest(wanted="model", set_id=b"", voucher=b"", quote=QUOTE, collateral=b""),
        KeyRequest(wanted="share", set_id=b"", voucher=b"voucher", quote=QUOTE, collateral=b""),
        Grant(content=bytes(64)),
        Refusal.of({"error": "KeyRefused", "what": "no"}),
    ):
        yield message.to_cbor()


def _models() -> Iterator[bytes]:
    dense = sum(p.size for p in SMALL_RUN.model.dense_parameters(SMALL_RUN.data))
    for rows in (0, 3):
        ids = np.arange(rows, dtype=np.int32) * 8
        model = TrainedModel.of(
            SMALL_RUN, 2, np.ones(dense, np.float32), ids, np.ones((rows, 2), np.float32)
        )
        with TemporaryDirectory() as folder:
            model.write(Path(folder) / "model")
            yield (Path(folder) / "model").read_bytes()
