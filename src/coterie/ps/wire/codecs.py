"""How the messages of every method become bytes and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from google.protobuf.message import Message

from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest
from coterie.ps.wire.strict import read_message

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Sent = TypeVar("Sent", bound=Message)
Received = TypeVar("Received", bound=Message)


@dataclass(frozen=True)
class Codec(Generic[Request, Reply]):
    """How a method's messages become bytes and back."""

    encode_request: Callable[[Request], bytes]
    decode_request: Callable[[bytes], Request]
    encode_reply: Callable[[Reply], bytes]
    decode_reply: Callable[[bytes], Reply]


def protobuf_codec(request: type[Sent], reply: type[Received]) -> Codec[Sent, Received]:
    """For methods whose messages are protobuf's."""
    return Codec(
        lambda message: message.SerializeToString(),
        partial(read_message, request),
        lambda message: message.SerializeToString(),
        partial(read_message, reply),
    )


JOIN = protobuf_codec(pb.JoinRequest, pb.JoinReply)
INITIALIZE = protobuf_codec(pb.InitializeRequest, pb.InitializeReply)
EXCHANGE = Codec(
    ExchangeRequest.encode, ExchangeRequest.decode, ExchangeReply.encode, ExchangeReply.decode
)
LOOKUP = protobuf_codec(pb.LookupRequest, pb.LookupReply)
REPORT = protobuf_codec(pb.ReportRequest, pb.ReportReply)
LEAVE = protobuf_codec(pb.LeaveRequest, pb.LeaveReply)
DOWNLOAD = protobuf_codec(pb.DownloadRequest, pb.DownloadPart)
START = protobuf_codec(pb.StartPart, pb.StartReply)  # a stream of requests
STATUS = protobuf_codec(pb.StatusRequest, pb.StatusReply)
TELL = protobuf_codec(pb.TellRequest, pb.TellReply)
ENLIST = protobuf_codec(pb.EnlistRequest, pb.EnlistReply)
COMMIT = protobuf_codec(pb.CommitRequest, pb.CommitReply)
CONCLUDE = protobuf_codec(pb.ConcludeRequest, pb.ConcludeReply)
DELIVER = protobuf_codec(pb.DeliverRequest, pb.DeliverReply)  # a stream of requests
WATCH = protobuf_codec(pb.WatchRequest, pb.WatchReply)
