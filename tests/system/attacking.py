"""Messages that attack a TensorFlow cluster, and a client of stock TensorFlow that sends them."""

from __future__ import annotations

import secrets

import grpc
from tensorflow.core.framework.device_attributes_pb2 import DeviceAttributes
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.debug_pb2 import DebugOptions

from coterie.tensorflow.calls.rules import Task
from fuzz.speaking import SERVICE
from tests.system.clusters import (
    SECONDS,
)
from tests.tensorflow.calls.asking import (
    HANDLE,
    PS,
    WORKERS,
    created,
    device,
    encoded,
    graph,
    node,
    registered,
    send,
    server_def,
)

EDGE = "edge_1_secret"


def placed(one: NodeDef, task: Task) -> NodeDef:
    one.device = device(task)
    return one


def constant(text: str, task: Task) -> NodeDef:
    one = placed(node("Const", "secret"), task)
    one.attr["dtype"].type = 7
    one.attr["value"].tensor.CopyFrom(TensorProto(dtype=7, string_val=[text.encode()]))
    return one


def exchange(op: str, source: Task, target: Task, incarnation: int) -> NodeDef:
    one = placed(send(source, target, op), source if op == "_Send" else target)
    one.name = f"{op}_to_{target.role}"  # a session keeps what is of one name
    one.attr["tensor_name"].s = EDGE.encode()
    one.attr["T" if op == "_Send" else "tensor_type"].type = 7
    one.attr["send_device_incarnation"].i = incarnation - (incarnation >> 63 << 64)
    return one


def promising(text: str, target: Task, incarnation: int) -> bytes:
    """A graph of worker 0 that sends its secret."""
    sends = exchange("_Send", WORKERS[0], target, incarnation)
    sends.input.append("secret")
    octets: bytes = graph(constant(text, WORKERS[0]), sends).SerializeToString()
    return octets


def fetching(incarnation: int, own: int) -> bytes:
    """A graph of the parameter server that receives what worker 0 has sent it, and passes it on to worker 1."""
    receives, passes = (
        exchange("_Recv", WORKERS[0], PS, incarnation),
        exchange("_Send", PS, WORKERS[1], own),
    )
    passes.input.append(receives.name)
    octets: bytes = graph(receives, passes).SerializeToString()
    return octets


def watched(url: str) -> tuple[bytes, bytes]:
    """A graph of the parameter server, and options for a debugger that writes its tensors to a file."""
    options = DebugOptions()
    one = options.debug_tensor_watch_opts.add(node_name="secret", debug_ops=["DebugIdentity"])
    one.debug_urls.append(url)
    return graph(constant("x", PS)).SerializeToString(), options.SerializeToString()


def elsewhere(address: str, session: str) -> bytes:
    """A session at the parameter server in a cluster whose worker 0 is at an address."""
    said = server_def()
    said.cluster.job.add(name="ps").tasks[0] = "127.0.0.1:1"
    said.cluster.job.add(name="worker").tasks[0] = address
    return created(server=said).replace(HANDLE.encode(), session.encode(), 1)


def run(handle: str, session: str, step: int, more: bytes = b"") -> bytes:
    fields: dict[int, int | bytes | str] = {8: session, 10: 1, 11: secrets.randbits(62)}
    return encoded({1: handle, 2: step}) + more + encoded(fields)


def named(source: Task, target: Task, incarnation: int) -> str:
    return f"{device(source)};{incarnation:016x};{device(target)};{EDGE};0:0"


class PlainServer:
    """A stock TensorFlow server, called byte by byte."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        status = self.call("GetStatus", b"")
        self.incarnation: int = DeviceAttributes.FromString(status[2 : 2 + status[1]]).incarnation

    def call(self, method: str, message: bytes, seconds: float = SECONDS) -> bytes:
        asked = self._channel.unary_unary(
            SERVICE + method,
            request_serializer=lambda octets: octets,
            response_deserializer=lambda octets: octets,
        )
        answer: bytes = asked(message, timeout=seconds, wait_for_ready=True)
        return answer

    def session(self, message: bytes, handle: str) -> None:
        self.call("CreateWorkerSession", message.replace(HANDLE.encode(), handle.encode(), 1))

    def graph(self, octets: bytes, session: str, options: bytes = b"") -> str:
        message = registered(octets, debug_options=options)
        answer = self.call("RegisterGraph", message.replace(HANDLE.encode(), session.encode(), 1))
        return answer[2:].decode()
