"""The bodies of a receipt's entries: one strict model per kind.

Every value has exactly one encoding: lower-case hex, padded base64, times in UTC with their zone.
Names are limited to those that a contract can hold. Texts are printable, since receipts are shown
on terminals.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from coterie.attestation.verdict import Verdict
from coterie.contract import Contract
from coterie.contract.schema import Name
from coterie.kinds import Stamp
from coterie.runs.records import Validated, WorkerAbsence


def _base64(text: str) -> str:
    try:
        octets = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error
    if base64.b64encode(octets).decode() != text:
        raise ValueError("not the one base64 spelling of its value")
    return text


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("not a time") from error
    if moment.tzinfo is None or moment.astimezone(UTC).isoformat() != text:
        raise ValueError("not a time in UTC in its one spelling")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable text")
    return text


def _by_name(absence: WorkerAbsence) -> WorkerAbsence:
    _NAME.validate_python(absence.worker)
    return absence


_NAME = TypeAdapter[str](Name)
Base64 = Annotated[str, Field(max_length=1 << 18), AfterValidator(_base64)]
Moment = Annotated[str, Field(max_length=40), AfterValidator(_moment)]
Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
Text = Annotated[str, Field(max_length=400), AfterValidator(_printable)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
ServerReason = Literal["start", "restart", "renewal"]
Ending = Literal["returned", "failed", "stopped"]
Format = Literal[2, 3]
RUN_FORMAT: Format = 2
# Its own number: older releases do not know the entries of TensorFlow clusters.
CLUSTER_FORMAT: Format = 3


class Body(BaseModel):
    """Content of an entry; its class is the entry's kind."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    kind: ClassVar[str]


class Server(Body):
    """The node that writes the receipt introduces its key, which signs this entry and those after it.

    Attributes:
        reason: ``start`` of the receipt, ``restart`` of the process, or ``renewal`` of the key.
        certificate: Its certificate with claims and quote, DER.
        voucher: Its party's voucher, CBOR.
        collateral: Collateral of its platform, if the server had some.
        lost: Bytes of an incomplete last line that were removed after a crash.
    """

    kind = "server"

    reason: ServerReason
    certificate: Base64
    voucher: Base64
    collateral: dict[str, str] | None
    lost: Count


class PartySignature(BaseModel):
    """A party's signature on the contract."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    party: Name
    signature: Hex64


class Agreement(Body):
    """The contract of the run.

    Attributes:
        format: Version of receipts: ``CLUSTER_FORMAT`` if the contract is for a TensorFlow program,
            otherwise ``RUN_FORMAT``.
        stamp: ``SIMULATED`` if the TEE proves nothing.
        digest: The contract's digest.
        contract: The contract's canonical form, without addresses.
        signatures: Signatures of the parties that have signed it.
    """

    kind = "contract"

    format: Format
    stamp: Stamp
    digest: Hex32
    contract: dict[str, JsonValue]
    signatures: Annotated[tuple[PartySignature, ...], Field(strict=False)]


def format_of(contract: Contract) -> Format:
    """Version of the receipts of a contract's runs."""
    return RUN_FORMAT if contract.tensorflow is None else CLUSTER_FORMAT


class Signed(Body):
    """The vendor's statements by which evidence was verified; other entries name their digest."""

    kind = "collateral"

    digest: Hex32
    fields: dict[str, str]


class Appraised(BaseModel):
    """The verdict on evidence in short: ``attestation.verdict.Verdict`` without its checks."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    tcb_status: Text
    advisories: Annotated[tuple[Text, ...], Field(strict=False)]
    measurements: dict[Text, Text]
    fmspc: Text
    ppid: Text
    evaluation_number: Count
    expiry: Moment

    @classmethod
    def of(cls, verdict: Verdict) -> Appraised:
        """Makes the short form of a verdict."""
        return cls(
            tcb_status=verdict.tcb_status,
            advisories=verdict.advisories,
            measurements=dict(verdict.measurements),
            fmspc=verdict.fmspc,
            ppid=verdict.ppid,
            evaluation_number=verdict.evaluation_number,
            expiry=verdict.expiry.astimezone(UTC).isoformat(),
        )


class SessionProof(BaseModel):
    """A node's quote for its session with the server, and what it must cover.

    Attributes:
        quote: The quote made for that session.
        exporter: Keying material exported from the session (RFC 8446, 7.5): a digest, of no other
            use.
        nonce: The server's nonce.
        dialled: Whether the node opened the connection.
        server_key: SHA-256 of the server's key in that session.
        tokens: The node's tokens of attestation services, if the contract demands any.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    quote: Base64
    exporter: Hex32
    nonce: Hex32
    dialled: bool
    server_key: Hex32
    tokens: Base64 | None = None


class AttestedNode(Body):
    """A node that joined was attested by the server.

    Attributes:
        node: Its name.
        incarnation: Number of its start.
        attested_at: When.
        certificate: Its certificate with claims and quote, DER.
        voucher: Its party's voucher, CBOR.
        session: Its quote for the session.
        collateral: Digest of the collateral by which both quotes were verified.
        verdict: The verdict on the session quote.
    """

    kind = "attested"

    node: Name
    incarnation: Count
    attested_at: Moment
    certificate: Base64
    voucher: Base64
    session: SessionProof
    collateral: Hex32
    verdict: Appraised


class NodeJoined(Body):
    """A node joined; a worker brings examples, and the SHA-256 of its training shard."""

    kind = "joined"

    node: Name
    incarnation: Count
    examples: Count
    data_set: Hex32 | None


class NodeLeftOut(Body):
    """From ``step`` on, the run does not wait for a node."""

    kind = "left_out"

    node: Name
    step: Count


class NodeReturned(Body):
    """A worker takes part again from ``step`` on."""

    kind = "returned"

    node: Name
    step: Count


class PeerRefused(Body):
    """A peer was refused in the handshake."""

    kind = "refused"

    error: Text
    reason: Text


class ProgramBegun(Body):
    """The server's TensorFlow program begins: all nodes that it speaks with were attested.

    Attributes:
        program: SHA-256 of the program.
        wheel: Digest of the installed TensorFlow's code.
    """

    kind = "program"

    program: Hex32
    wheel: Hex32


class ProgramEnded(Body):
    """The server's process ends: its program has, or the process was told to end.

    Attributes:
        how: ``returned`` or ``failed``: the program; ``stopped``: the process was told to end.
        refused_calls: Refused calls of attested nodes; absent where calls are not inspected.
        not_kept: As in ``Outcome``.
    """

    kind = "ended"

    how: Ending
    refused_calls: Count | None
    not_kept: dict[Name, Count]


class RunBegun(Body):
    """The server began a run from nothing; ``run`` is its random name."""

    kind = "begun"

    run: Hex32


class StartTaken(Body):
    """A node sent the model that the run starts from; the server has verified all of it.

    Attributes:
        node: The node that sent it.
        model: The model's digest.
        contract: Digest of the contract that it was trained under.
        step: Number of updates that it holds.
        optimizer_state: Digest of its optimizers' state; ``new`` if their state starts again;
            absent if they have none.
        receipt: Hash of the last entry of its run's receipt, if the contract names it.
    """

    kind = "start"

    node: Name
    model: Hex32
    contract: Hex32
    step: Count
    optimizer_state: Annotated[str, Field(pattern=r"^([0-9a-f]{64}|new)$")] | None
    receipt: Hex32 | None


class ServerResumed(Body):
    """The server's process was started again and went on from a checkpoint of a run."""

    kind = "resumed"

    step: Count
    digest: Hex32
    run: Hex32


class ServerRestarted(Body):
    """All shards went back to a step because one of them had lost its state."""

    kind = "restarted"

    step: Count


class Checkpoint(Body):
    """A checkpoint is durable on every shard.

    Attributes:
        step: Number of updates that it holds.
        digest: SHA-256 of its manifest.
        examples: Examples trained since the last entry of this kind.
        loss: Mean over the windows of steps that were reported since then; absent if there were
            none.
    """

    kind = "checkpoint"

    step: Count
    digest: Hex32
    examples: Count
    loss: float | None


class ServerFailed(Body):
    """The server ended with an error."""

    kind = "failed"

    error: Text
    reason: Text


class Outcome(Body):
    """The outcome of the run, always the last entry. Its numbers are those of ``result.json``.

    Attributes:
        run: Random name of the run; a server may have begun several.
        checkpoint: Digest of the last checkpoint, from which the outcome was made.
        model_step: The step after which the model was taken: the last, or that of the best
            validation.
        validations: Validations during training.
        optimizer_state: Digest of the optimizers' state, if a party receives it.
        not_kept: Numbers of refusals (``refused``) and later attestations (by node) without
            entries.
    """

    kind = "outcome"

    steps: Count
    examples: Count
    nodes: Count
    train_loss: float | None
    validation_auc: float | None
    test_auc: float | None
    test_logloss: float | None
    test_accuracy: float | None
    test_calibration: float | None
    absences: Annotated[
        tuple[Annotated[WorkerAbsence, AfterValidator(_by_name)], ...], Field(strict=False)
    ]
    model_digest: Hex32
    model_step: Count
    validations: Annotated[tuple[Validated, ...], Field(strict=False)]
    run: Hex32
    checkpoint: Hex32
    optimizer_state: Hex32 | None = None
    not_kept: dict[Name, Count]


KINDS: dict[str, type[Body]] = {kind.kind: kind for kind in Body.__subclasses__()}
