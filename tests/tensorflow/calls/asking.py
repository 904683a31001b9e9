"""Requests as TensorFlow 2.21's master sends them in between-graph replication, and the same with anything else in them."""

from __future__ import annotations

from collections.abc import Mapping

from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.protobuf.config_pb2 import ConfigProto
from tensorflow.core.protobuf.tensorflow_server_pb2 import ServerDef

from coterie.tensorflow.calls.rules import Task

PS = Task("ps", 0)
WORKERS = Task("worker", 0), Task("worker", 1)
HANDLE = "11b21b9255080dac"


def device(task: Task) -> str:
    """The processor of a task."""
    return f"{task}/device:CPU:0"


def encoded(fields: Mapping[int, int | bytes | str]) -> bytes:
    """A message of protobuf, in the order of the numbers as they are given."""
    octets = b""
    for number, value in fields.items():
        octets += field(number, value)
    return octets


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a message of protobuf: a number, or what has a length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    octets = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(octets)) + octets


def _varint(value: int) -> bytes:
    octets = b""
    while value > 0x7F:
        octets += bytes([value & 0x7F | 0x80])
        value >>= 7
    return octets + bytes([value])


def key(source: Task = PS, target: Task = WORKERS[1], edge: str = "edge_28_table") -> str:
    """The name of a tensor."""
    return f"{device(source)};f953cd8c3fc7aee1;{device(target)};{edge};0:0"


def tensor(name: str | bytes | None = None) -> bytes:
    """RecvTensor."""
    return encoded({1: 7, 2: key() if name is None else name, 7: 1 << 63})


def server_def(caller: Task = WORKERS[1]) -> ServerDef:
    """Of the session on a parameter server."""
    said = ServerDef(job_name="ps", protocol="grpc")
    coordination = said.default_session_config.experimental.coordination_config
    coordination.service_type, coordination.service_leader = "standalone", str(caller)
    return said


def created(caller: Task = WORKERS[1], server: ServerDef | None = None, more: bytes = b"") -> bytes:
    """CreateWorkerSession."""
    octets = (server or server_def(caller)).SerializeToString()
    return encoded({1: HANDLE, 2: octets}) + more + encoded({5: str(caller), 6: 5})


def node(op: str = "NoOp", name: str = "one") -> NodeDef:
    """An operation on the parameter server."""
    return NodeDef(name=name, op=op, device=device(PS))


def send(source: Task, target: Task, op: str = "_Send") -> NodeDef:
    """An operation that sends or receives."""
    one = node(op, f"{op}_one")
    one.attr["send_device"].s = device(source).encode()
    one.attr["recv_device"].s = device(target).encode()
    one.attr["tensor_name"].s = b"edge_28_table"
    one.attr["T" if "Send" in op else "tensor_type"].type = 1
    return one


def graph(*nodes: NodeDef) -> GraphDef:
    """A graph, with the empty library that TensorFlow sends."""
    one = GraphDef(node=nodes)
    one.versions.producer, one.versions.min_consumer = 2474, 12
    one.library.SetInParent()
    return one


def config() -> ConfigProto:
    """Of a session."""
    said = ConfigProto(intra_op_parallelism_threads=1, device_filters=["/job:ps"])
    said.experimental.disable_optimize_for_static_graph = True
    return said


def registered(
    one: GraphDef | bytes | None = None, session: ConfigProto | None = None, **given: bytes
) -> bytes:
    """RegisterGraph."""
    octets = one if isinstance(one, bytes) else (one or graph(node())).SerializeToString()
    fields: dict[int, int | bytes | str] = {1: HANDLE, 2: octets}
    fields |= {4: given.get("graph_options", b""), 5: given.get("debug_options", b""), 6: 1}
    return encoded({**fields, 8: (session or config()).SerializeToString()})


RUN: Mapping[int, int | bytes | str] = {
    1: "0" * 15 + "1",
    2: 7,
    5: b"",
    8: HANDLE,
    9: 1,
    10: 1,
    11: 9,
}
