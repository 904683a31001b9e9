from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Checkpoint(_message.Message):
    __slots__ = ("step", "digest")
    STEP_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    step: int
    digest: bytes
    def __init__(self, step: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Remembered(_message.Message):
    __slots__ = ("run_id", "checkpoint", "receipt")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    checkpoint: Checkpoint
    receipt: ReceiptHead
    def __init__(self, run_id: _Optional[str] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., receipt: _Optional[_Union[ReceiptHead, _Mapping]] = ...) -> None: ...

class ReceiptHead(_message.Message):
    __slots__ = ("entries", "digest")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    entries: int
    digest: bytes
    def __init__(self, entries: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("train_examples", "remembered", "data_set_digest", "ps_incarnation", "step")
    TRAIN_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    REMEMBERED_FIELD_NUMBER: _ClassVar[int]
    DATA_SET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    train_examples: int
    remembered: Remembered
    data_set_digest: bytes
    ps_incarnation: int
    step: int
    def __init__(self, train_examples: _Optional[int] = ..., remembered: _Optional[_Union[Remembered, _Mapping]] = ..., data_set_digest: _Optional[bytes] = ..., ps_incarnation: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("pending", "ps_incarnation", "step", "steps", "steps_per_epoch", "shard", "shards", "lineage", "finished", "receipt", "receipt_kept", "validated")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_KEPT_FIELD_NUMBER: _ClassVar[int]
    VALIDATED_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    ps_incarnation: int
    step: int
    steps: int
    steps_per_epoch: int
    shard: int
    shards: int
    lineage: Lineage
    finished: bool
    receipt: ReceiptHead
    receipt_kept: bool
    validated: int
    def __init__(self, pending: _Optional[bool] = ..., ps_incarnation: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., shard: _Optional[int] = ..., shards: _Optional[int] = ..., lineage: _Optional[_Union[Lineage, _Mapping]] = ..., finished: _Optional[bool] = ..., receipt: _Optional[_Union[ReceiptHead, _Mapping]] = ..., receipt_kept: _Optional[bool] = ..., validated: _Optional[int] = ...) -> None: ...

class Lineage(_message.Message):
    __slots__ = ("run_id", "durable", "passed", "consents")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    CONSENTS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    durable: Checkpoint
    passed: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    consents: _containers.RepeatedCompositeFieldContainer[RollbackConsent]
    def __init__(self, run_id: _Optional[str] = ..., durable: _Optional[_Union[Checkpoint, _Mapping]] = ..., passed: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ..., consents: _Optional[_Iterable[_Union[RollbackConsent, _Mapping]]] = ...) -> None: ...

class RollbackConsent(_message.Message):
    __slots__ = ("checkpoint", "signatures", "run_id", "given_up")
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    GIVEN_UP_FIELD_NUMBER: _ClassVar[int]
    checkpoint: Checkpoint
    signatures: _containers.RepeatedCompositeFieldContainer[PartySignature]
    run_id: str
    given_up: Checkpoint
    def __init__(self, checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., signatures: _Optional[_Iterable[_Union[PartySignature, _Mapping]]] = ..., run_id: _Optional[str] = ..., given_up: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class PartySignature(_message.Message):
    __slots__ = ("party", "signature")
    PARTY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    party: str
    signature: bytes
    def __init__(self, party: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class InitializeRequest(_message.Message):
    __slots__ = ("dense_parameters",)
    DENSE_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    dense_parameters: bytes
    def __init__(self, dense_parameters: _Optional[bytes] = ...) -> None: ...

class InitializeReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExchangeRequestHead(_message.Message):
    __slots__ = ("ps_incarnation", "step", "pushes", "examples", "loss_sum", "sizes", "correct", "held_step")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PUSHES_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LOSS_SUM_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    CORRECT_FIELD_NUMBER: _ClassVar[int]
    HELD_STEP_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    step: int
    pushes: bool
    examples: int
    loss_sum: float
    sizes: _containers.RepeatedScalarFieldContainer[int]
    correct: int
    held_step: int
    def __init__(self, ps_incarnation: _Optional[int] = ..., step: _Optional[int] = ..., pushes: _Optional[bool] = ..., examples: _Optional[int] = ..., loss_sum: _Optional[float] = ..., sizes: _Optional[_Iterable[int]] = ..., correct: _Optional[int] = ..., held_step: _Optional[int] = ...) -> None: ...

class ExchangeReplyHead(_message.Message):
    __slots__ = ("pending", "step", "durable", "served_seconds", "waited_seconds", "sizes", "receipt", "differences")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    SERVED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WAITED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    step: int
    durable: Checkpoint
    served_seconds: float
    waited_seconds: float
    sizes: _containers.RepeatedScalarFieldContainer[int]
    receipt: ReceiptHead
    differences: bool
    def __init__(self, pending: _Optional[bool] = ..., step: _Optional[int] = ..., durable: _Optional[_Union[Checkpoint, _Mapping]] = ..., served_seconds: _Optional[float] = ..., waited_seconds: _Optional[float] = ..., sizes: _Optional[_Iterable[int]] = ..., receipt: _Optional[_Union[ReceiptHead, _Mapping]] = ..., differences: _Optional[bool] = ...) -> None: ...

class EnlistRequest(_message.Message):
    __slots__ = ("available", "attempt", "run_id")
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    available: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    attempt: int
    run_id: str
    def __init__(self, available: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ..., attempt: _Optional[int] = ..., run_id: _Optional[str] = ...) -> None: ...

class EnlistReply(_message.Message):
    __slots__ = ("pending", "ps_incarnation", "restores", "step", "finished", "excused", "run_id", "model_step")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    RESTORES_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    EXCUSED_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_STEP_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    ps_incarnation: int
    restores: bool
    step: int
    finished: bool
    excused: _containers.RepeatedScalarFieldContainer[str]
    run_id: str
    model_step: int
    def __init__(self, pending: _Optional[bool] = ..., ps_incarnation: _Optional[int] = ..., restores: _Optional[bool] = ..., step: _Optional[int] = ..., finished: _Optional[bool] = ..., excused: _Optional[_Iterable[str]] = ..., run_id: _Optional[str] = ..., model_step: _Optional[int] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("ps_incarnation", "step", "staged", "slice_norms", "durable", "writing", "waits")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    SLICE_NORMS_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    WRITING_FIELD_NUMBER: _ClassVar[int]
    WAITS_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    step: int
    staged: _containers.RepeatedScalarFieldContainer[int]
    slice_norms: bytes
    durable: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    writing: bool
    waits: bool
    def __init__(self, ps_incarnation: _Optional[int] = ..., step: _Optional[int] = ..., staged: _Optional[_Iterable[int]] = ..., slice_norms: _Optional[bytes] = ..., durable: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ..., writing: _Optional[bool] = ..., waits: _Optional[bool] = ...) -> None: ...

class CommitReply(_message.Message):
    __slots__ = ("pending", "weights", "absent", "checkpoint", "announced", "kept_step", "ended")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_FIELD_NUMBER: _ClassVar[int]
    KEPT_STEP_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    weights: bytes
    absent: _containers.RepeatedScalarFieldContainer[int]
    checkpoint: bool
    announced: Checkpoint
    kept_step: int
    ended: bool
    def __init__(self, pending: _Optional[bool] = ..., weights: _Optional[bytes] = ..., absent: _Optional[_Iterable[int]] = ..., checkpoint: _Optional[bool] = ..., announced: _Optional[_Union[Checkpoint, _Mapping]] = ..., kept_step: _Optional[int] = ..., ended: _Optional[bool] = ...) -> None: ...

class ConcludeRequest(_message.Message):
    __slots__ = ("ps_incarnation", "slice_digests", "durable", "state_digests")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SLICE_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    STATE_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    slice_digests: bytes
    durable: _containers.RepeatedCompositeFieldContainer[Checkpoint]
    state_digests: bytes
    def __init__(self, ps_incarnation: _Optional[int] = ..., slice_digests: _Optional[bytes] = ..., durable: _Optional[_Iterable[_Union[Checkpoint, _Mapping]]] = ..., state_digests: _Optional[bytes] = ...) -> None: ...

class ConcludeReply(_message.Message):
    __slots__ = ("pending", "excused")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    EXCUSED_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    excused: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pending: _Optional[bool] = ..., excused: _Optional[_Iterable[str]] = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("ps_incarnation", "times")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    TIMES_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    times: WorkerTimes
    def __init__(self, ps_incarnation: _Optional[int] = ..., times: _Optional[_Union[WorkerTimes, _Mapping]] = ...) -> None: ...

class WorkerTimes(_message.Message):
    __slots__ = ("steps", "prepare", "compute", "transport", "server", "wait")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    steps: int
    prepare: float
    compute: float
    transport: float
    server: float
    wait: float
    def __init__(self, steps: _Optional[int] = ..., prepare: _Optional[float] = ..., compute: _Optional[float] = ..., transport: _Optional[float] = ..., server: _Optional[float] = ..., wait: _Optional[float] = ...) -> None: ...

class LeaveReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DownloadRequest(_message.Message):
    __slots__ = ("optimizer_state",)
    OPTIMIZER_STATE_FIELD_NUMBER: _ClassVar[int]
    optimizer_state: bool
    def __init__(self, optimizer_state: _Optional[bool] = ...) -> None: ...

class DownloadPart(_message.Message):
    __slots__ = ("pending", "header", "rows")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    header: ModelHeader
    rows: ModelRows
    def __init__(self, pending: _Optional[bool] = ..., header: _Optional[_Union[ModelHeader, _Mapping]] = ..., rows: _Optional[_Union[ModelRows, _Mapping]] = ...) -> None: ...

class ModelHeader(_message.Message):
    __slots__ = ("step", "rows", "dense_parameters", "model_digest", "run_id")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DENSE_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    step: int
    rows: int
    dense_parameters: bytes
    model_digest: bytes
    run_id: str
    def __init__(self, step: _Optional[int] = ..., rows: _Optional[int] = ..., dense_parameters: _Optional[bytes] = ..., model_digest: _Optional[bytes] = ..., run_id: _Optional[str] = ...) -> None: ...

class ModelRows(_message.Message):
    __slots__ = ("row_ids", "values")
    ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    row_ids: bytes
    values: bytes
    def __init__(self, row_ids: _Optional[bytes] = ..., values: _Optional[bytes] = ...) -> None: ...

class StartOffer(_message.Message):
    __slots__ = ("ps_incarnation",)
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    def __init__(self, ps_incarnation: _Optional[int] = ...) -> None: ...

class StartPart(_message.Message):
    __slots__ = ("offer", "model", "optimizer_state")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_STATE_FIELD_NUMBER: _ClassVar[int]
    offer: StartOffer
    model: bytes
    optimizer_state: bytes
    def __init__(self, offer: _Optional[_Union[StartOffer, _Mapping]] = ..., model: _Optional[bytes] = ..., optimizer_state: _Optional[bytes] = ...) -> None: ...

class StartReply(_message.Message):
    __slots__ = ("pending", "ps_incarnation")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    ps_incarnation: int
    def __init__(self, pending: _Optional[bool] = ..., ps_incarnation: _Optional[int] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("ps_incarnation", "row_ids", "dense", "validates")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    DENSE_FIELD_NUMBER: _ClassVar[int]
    VALIDATES_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    row_ids: bytes
    dense: bool
    validates: int
    def __init__(self, ps_incarnation: _Optional[int] = ..., row_ids: _Optional[bytes] = ..., dense: _Optional[bool] = ..., validates: _Optional[int] = ...) -> None: ...

class LookupReply(_message.Message):
    __slots__ = ("dense_parameters", "rows", "trained", "pending")
    DENSE_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    dense_parameters: bytes
    rows: bytes
    trained: bytes
    pending: bool
    def __init__(self, dense_parameters: _Optional[bytes] = ..., rows: _Optional[bytes] = ..., trained: _Optional[bytes] = ..., pending: _Optional[bool] = ...) -> None: ...

class EvaluationCounts(_message.Message):
    __slots__ = ("split", "sums", "starts", "levels", "counts")
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    split: str
    sums: bytes
    starts: bytes
    levels: bytes
    counts: bytes
    def __init__(self, split: _Optional[str] = ..., sums: _Optional[bytes] = ..., starts: _Optional[bytes] = ..., levels: _Optional[bytes] = ..., counts: _Optional[bytes] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("ps_incarnation", "counts", "validates")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    VALIDATES_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    counts: _containers.RepeatedCompositeFieldContainer[EvaluationCounts]
    validates: int
    def __init__(self, ps_incarnation: _Optional[int] = ..., counts: _Optional[_Iterable[_Union[EvaluationCounts, _Mapping]]] = ..., validates: _Optional[int] = ...) -> None: ...

class ReportReply(_message.Message):
    __slots__ = ("pending", "model_digest")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    model_digest: bytes
    def __init__(self, pending: _Optional[bool] = ..., model_digest: _Optional[bytes] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("ps_incarnation", "step", "steps", "joined", "missing", "lineage", "waits_for", "reason")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    step: int
    steps: int
    joined: _containers.RepeatedScalarFieldContainer[str]
    missing: _containers.RepeatedScalarFieldContainer[str]
    lineage: Lineage
    waits_for: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, ps_incarnation: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., joined: _Optional[_Iterable[str]] = ..., missing: _Optional[_Iterable[str]] = ..., lineage: _Optional[_Union[Lineage, _Mapping]] = ..., waits_for: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class TellRequest(_message.Message):
    __slots__ = ("error", "reason", "goes_on")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GOES_ON_FIELD_NUMBER: _ClassVar[int]
    error: str
    reason: str
    goes_on: bool
    def __init__(self, error: _Optional[str] = ..., reason: _Optional[str] = ..., goes_on: _Optional[bool] = ...) -> None: ...

class TellReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ShardHeader(_message.Message):
    __slots__ = ("examples", "record_bytes", "data_digest", "sha256")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    RECORD_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    examples: int
    record_bytes: int
    data_digest: bytes
    sha256: bytes
    def __init__(self, examples: _Optional[int] = ..., record_bytes: _Optional[int] = ..., data_digest: _Optional[bytes] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class DeliverRequest(_message.Message):
    __slots__ = ("header", "records")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    header: ShardHeader
    records: bytes
    def __init__(self, header: _Optional[_Union[ShardHeader, _Mapping]] = ..., records: _Optional[bytes] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("wait",)
    WAIT_FIELD_NUMBER: _ClassVar[int]
    wait: bool
    def __init__(self, wait: _Optional[bool] = ...) -> None: ...

class WatchReply(_message.Message):
    __slots__ = ("pending",)
    PENDING_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    def __init__(self, pending: _Optional[bool] = ...) -> None: ...

class DeliverReply(_message.Message):
    __slots__ = ("examples", "sha256")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    examples: int
    sha256: bytes
    def __init__(self, examples: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...
