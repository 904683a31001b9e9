"""The calls between nodes, each listed once; handlers, permissions and clients derive from it.

``rpc.py`` carries them over gRPC, ``data_calls.py`` over data connections, ``in_process.py`` within a process. A new call needs an entry
here, a method in the protocol (``wire/ps.proto``), and the service's method that serves it.
"""

from __future__ import annotations

from typing import Final

from coterie.kinds import Role
from coterie.ps.call_metrics import exchange_work
from coterie.ps.methods import Port, ReplyStream, RequestStream, Unary
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.codecs import EXCHANGE, protobuf_codec

_PS = "/coterie.ps.v3.ParameterServer/"
_RECEIVER = "/coterie.ps.v3.ShardReceiver/"

_TRAINING: Final[frozenset[Role]] = frozenset({"worker", "chief"})
_ALL: Final[frozenset[Role]] = frozenset({"worker", "chief", "ps"})
_CHIEF: Final[frozenset[Role]] = frozenset({"chief"})
_SERVER: Final[frozenset[Role]] = frozenset({"ps"})

_MODEL_SECONDS = 6 * 3600.0  # a stalled connection is dropped long before that
_DATA_SECONDS = 3600.0


class ParameterServerPort(Port):
    """A parameter server shard's calls. Every call may raise any CoterieError."""

    # A worker or the chief joins (again) and waits for the others.
    join = Unary(_PS + "Join", _TRAINING, protobuf_codec(pb.JoinRequest, pb.JoinReply))
    # The chief sends the initial dense parameters.
    initialize = Unary(
        _PS + "Initialize", _CHIEF, protobuf_codec(pb.InitializeRequest, pb.InitializeReply)
    )
    # Pushes a step and pulls the state after it.
    exchange = Unary(_PS + "Exchange", _TRAINING, EXCHANGE, work=exchange_work, bulk=True)
    # Reads rows for evaluation.
    lookup = Unary(_PS + "Lookup", _TRAINING, protobuf_codec(pb.LookupRequest, pb.LookupReply))
    # Adds evaluation counts.
    report = Unary(_PS + "Report", _TRAINING, protobuf_codec(pb.ReportRequest, pb.ReportReply))
    # The caller no longer needs the server.
    leave = Unary(_PS + "Leave", _TRAINING, protobuf_codec(pb.LeaveRequest, pb.LeaveReply))
    # Streams the shard's part of the trained model.
    download = ReplyStream(
        _PS + "Download",
        _TRAINING,
        protobuf_codec(pb.DownloadRequest, pb.DownloadPart),
        seconds=_MODEL_SECONDS,
    )
    # The node that the contract names sends the model that the run starts from.
    start = RequestStream(
        _PS + "Start",
        _TRAINING,
        protobuf_codec(pb.StartPart, pb.StartReply),
        seconds=_MODEL_SECONDS,
    )
    # Reads the state of the run.
    status = Unary(_PS + "Status", _ALL, protobuf_codec(pb.StatusRequest, pb.StatusReply))
    # Reports why the caller ends or pauses.
    tell = Unary(_PS + "Tell", _ALL, protobuf_codec(pb.TellRequest, pb.TellReply))
    # A shard registers (again) with shard 0 and waits for the other shards.
    enlist = Unary(_PS + "Enlist", _SERVER, protobuf_codec(pb.EnlistRequest, pb.EnlistReply))
    # A shard reports its staged pushes to shard 0 and waits for the decision.
    commit = Unary(_PS + "Commit", _SERVER, protobuf_codec(pb.CommitRequest, pb.CommitReply))
    # A shard sends shard 0 its part of the model's digest.
    conclude = Unary(
        _PS + "Conclude", _SERVER, protobuf_codec(pb.ConcludeRequest, pb.ConcludeReply)
    )


class DataReceiverPort(Port):
    """The chief's calls to a worker of mode ``sdt``. Every call may raise any CoterieError."""

    # Waits until the worker needs its training data.
    watch = Unary(_RECEIVER + "Watch", _CHIEF, protobuf_codec(pb.WatchRequest, pb.WatchReply))
    # Streams the worker's training data.
    deliver = RequestStream(
        _RECEIVER + "Deliver",
        _CHIEF,
        protobuf_codec(pb.DeliverRequest, pb.DeliverReply),
        seconds=_DATA_SECONDS,
    )
