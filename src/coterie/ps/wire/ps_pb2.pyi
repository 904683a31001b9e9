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

class JoinRequest(_message.Message):
    __slots__ = ("train_examples", "remembered", "data_set_digest")
    TRAIN_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    REMEMBERED_FIELD_NUMBER: _ClassVar[int]
    DATA_SET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    train_examples: int
    remembered: Checkpoint
    data_set_digest: bytes
    def __init__(self, train_examples: _Optional[int] = ..., remembered: _Optional[_Union[Checkpoint, _Mapping]] = ..., data_set_digest: _Optional[bytes] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("pending", "ps_incarnation", "step", "steps", "steps_per_epoch", "shard", "shards", "durable")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    ps_incarnation: int
    step: int
    steps: int
    steps_per_epoch: int
    shard: int
    shards: int
    durable: Checkpoint
    def __init__(self, pending: _Optional[bool] = ..., ps_incarnation: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., steps_per_epoch: _Optional[int] = ..., shard: _Optional[int] = ..., shards: _Optional[int] = ..., durable: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

class InitializeRequest(_message.Message):
    __slots__ = ("dense_parameters",)
    DENSE_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    dense_parameters: bytes
    def __init__(self, dense_parameters: _Optional[bytes] = ...) -> None: ...

class InitializeReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Push(_message.Message):
    __slots__ = ("examples", "loss_sum", "dense_gradient", "row_ids", "row_gradients")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    LOSS_SUM_FIELD_NUMBER: _ClassVar[int]
    DENSE_GRADIENT_FIELD_NUMBER: _ClassVar[int]
    ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    ROW_GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    examples: int
    loss_sum: float
    dense_gradient: bytes
    row_ids: bytes
    row_gradients: bytes
    def __init__(self, examples: _Optional[int] = ..., loss_sum: _Optional[float] = ..., dense_gradient: _Optional[bytes] = ..., row_ids: _Optional[bytes] = ..., row_gradients: _Optional[bytes] = ...) -> None: ...

class ExchangeRequest(_message.Message):
    __slots__ = ("ps_incarnation", "step", "push", "next_row_ids")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PUSH_FIELD_NUMBER: _ClassVar[int]
    NEXT_ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    step: int
    push: Push
    next_row_ids: bytes
    def __init__(self, ps_incarnation: _Optional[int] = ..., step: _Optional[int] = ..., push: _Optional[_Union[Push, _Mapping]] = ..., next_row_ids: _Optional[bytes] = ...) -> None: ...

class ExchangeReply(_message.Message):
    __slots__ = ("pending", "step", "dense_parameters", "rows", "durable", "staged")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    DENSE_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    step: int
    dense_parameters: bytes
    rows: bytes
    durable: Checkpoint
    staged: bool
    def __init__(self, pending: _Optional[bool] = ..., step: _Optional[int] = ..., dense_parameters: _Optional[bytes] = ..., rows: _Optional[bytes] = ..., durable: _Optional[_Union[Checkpoint, _Mapping]] = ..., staged: _Optional[bool] = ...) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("ps_incarnation", "step")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    step: int
    def __init__(self, ps_incarnation: _Optional[int] = ..., step: _Optional[int] = ...) -> None: ...

class CommitReply(_message.Message):
    __slots__ = ("step",)
    STEP_FIELD_NUMBER: _ClassVar[int]
    step: int
    def __init__(self, step: _Optional[int] = ...) -> None: ...

class LookupRequest(_message.Message):
    __slots__ = ("ps_incarnation", "row_ids", "dense")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ROW_IDS_FIELD_NUMBER: _ClassVar[int]
    DENSE_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    row_ids: bytes
    dense: bool
    def __init__(self, ps_incarnation: _Optional[int] = ..., row_ids: _Optional[bytes] = ..., dense: _Optional[bool] = ...) -> None: ...

class LookupReply(_message.Message):
    __slots__ = ("dense_parameters", "rows")
    DENSE_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    dense_parameters: bytes
    rows: bytes
    def __init__(self, dense_parameters: _Optional[bytes] = ..., rows: _Optional[bytes] = ...) -> None: ...

class EvaluationCounts(_message.Message):
    __slots__ = ("split", "counts", "sums")
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    SUMS_FIELD_NUMBER: _ClassVar[int]
    split: str
    counts: bytes
    sums: bytes
    def __init__(self, split: _Optional[str] = ..., counts: _Optional[bytes] = ..., sums: _Optional[bytes] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("ps_incarnation", "counts")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    counts: _containers.RepeatedCompositeFieldContainer[EvaluationCounts]
    def __init__(self, ps_incarnation: _Optional[int] = ..., counts: _Optional[_Iterable[_Union[EvaluationCounts, _Mapping]]] = ...) -> None: ...

class ReportReply(_message.Message):
    __slots__ = ("pending", "totals", "model_digest")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    pending: bool
    totals: _containers.RepeatedCompositeFieldContainer[EvaluationCounts]
    model_digest: bytes
    def __init__(self, pending: _Optional[bool] = ..., totals: _Optional[_Iterable[_Union[EvaluationCounts, _Mapping]]] = ..., model_digest: _Optional[bytes] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("ps_incarnation", "step", "steps", "joined", "missing", "durable")
    PS_INCARNATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    JOINED_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DURABLE_FIELD_NUMBER: _ClassVar[int]
    ps_incarnation: int
    step: int
    steps: int
    joined: _containers.RepeatedScalarFieldContainer[str]
    missing: _containers.RepeatedScalarFieldContainer[str]
    durable: Checkpoint
    def __init__(self, ps_incarnation: _Optional[int] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., joined: _Optional[_Iterable[str]] = ..., missing: _Optional[_Iterable[str]] = ..., durable: _Optional[_Union[Checkpoint, _Mapping]] = ...) -> None: ...

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

class DeliverReply(_message.Message):
    __slots__ = ("examples", "sha256")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    examples: int
    sha256: bytes
    def __init__(self, examples: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...
