"""Calls of TensorFlow that a node reads before its TensorFlow does: what is fuzzed, and seeds.

A peer that has forged its evidence sends these. Refusals are of one kind, so any other error is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

from hyperframe.frame import GoAwayFrame, PingFrame, RstStreamFrame, WindowUpdateFrame

from coterie.contract.tensorflow_operations import HARMLESS
from coterie.errors import CallRefused
from coterie.tensorflow.calls import worker_pb2 as pb
from coterie.tensorflow.calls.http2 import PREFACE, Budget, CallReader
from coterie.tensorflow.calls.rules import Task, methods_for
from fuzz.speaking import SERVICE, Speaker, headers_of, message

PS, WORKER = Task("ps", 0), Task("worker", 1)
METHODS = methods_for(WORKER, "w1", PS, HARMLESS)
MOST_BYTES = 1 << 15
_HANDLE = "11b21b9255080dac"


def frames(data: bytes) -> None:
    """A connection of a worker to a parameter server, after HTTP/2's preface; in two pieces."""
    budget = Budget(MOST_BYTES * 4)
    reader, heard = CallReader("w1", METHODS, budget), b""
    said = PREFACE + data
    cut = len(said) * (data[0] if data else 0) // 256
    try:
        for part in (said[:cut], said[cut:]):
            for passed in reader.feed(part):
                heard += passed
    except CallRefused:
        pass
    assert said.startswith(heard)
    reader.close()
    assert budget.take(MOST_BYTES * 4)


def requests(data: bytes) -> None:
    """A message of one of the methods, which the first byte chooses."""
    path = sorted(METHODS)[(data[0] if data else 0) % len(METHODS)]
    try:
        METHODS[path].judge(data[1:])
    except CallRefused:
        return


def request_seeds() -> Iterator[bytes]:
    """One good message of every method."""
    for path, octets in _messages().items():
        yield bytes([sorted(METHODS).index(path)]) + octets


def frame_seeds() -> Iterator[bytes]:
    """A connection with a call of every method, and one that gives up its call."""
    speaker = Speaker()
    said = speaker.opening.removeprefix(PREFACE)
    for i, (path, octets) in enumerate(_messages().items()):
        stream, framed = 2 * i + 1, message(octets)
        said += speaker.headers(stream, headers_of(path)) + speaker.data(stream, framed[:7])
        said += PingFrame(0, bytes(8)).serialize()
        said += speaker.data(stream, framed[7:], ("END_STREAM",))
    yield said + WindowUpdateFrame(0, 5).serialize() + GoAwayFrame(0).serialize()
    given_up = Speaker().headers(1, headers_of(min(METHODS)))
    yield given_up + RstStreamFrame(1).serialize()


def _messages() -> dict[str, bytes]:
    # Here, so that the other targets do not load TensorFlow.
    from tensorflow.core.framework.graph_pb2 import GraphDef  # noqa: PLC0415
    from tensorflow.core.protobuf.config_pb2 import ConfigProto  # noqa: PLC0415
    from tensorflow.core.protobuf.tensorflow_server_pb2 import ServerDef  # noqa: PLC0415

    ours, theirs = f"{PS}/device:CPU:0", f"{WORKER}/device:CPU:0"
    graph = GraphDef()
    graph.versions.producer = 2474
    for op, given in (("Const", {}), ("_Send", {"send_device": ours, "recv_device": theirs})):
        node = graph.node.add(name=op, op=op, device=ours)
        node.attr["dtype"].type = 1
        node.attr["_class"].list.s.append(b"loc:@x")
        for name, device in given.items():
            node.attr[name].s = device.encode()
    server = ServerDef(job_name="ps", protocol="grpc")
    messages = {
        "GetStatus": pb.GetStatusRequest(),
        "CreateWorkerSession": pb.CreateWorkerSessionRequest(
            session_handle=_HANDLE, server_def=server.SerializeToString(), master_task=str(WORKER)
        ),
        "DeleteWorkerSession": pb.DeleteWorkerSessionRequest(session_handle=_HANDLE),
        "RegisterGraph": pb.RegisterGraphRequest(
            session_handle=_HANDLE,
            graph_def=graph.SerializeToString(),
            graph_options=b"",
            create_worker_session_called=True,
            config_proto=ConfigProto(device_filters=["/job:ps"]).SerializeToString(),
        ),
        "RunGraph": pb.RunGraphRequest(
            graph_handle="0" * 16, session_handle=_HANDLE, create_worker_session_called=True
        ),
        "CleanupGraph": pb.CleanupGraphRequest(step_id=1),
        "RecvTensor": pb.RecvTensorRequest(
            step_id=1, rendezvous_key=f"{ours};{'0' * 16};{theirs};edge;0:0"
        ),
    }
    return {SERVICE + name: request.SerializeToString() for name, request in messages.items()}
