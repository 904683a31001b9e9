"""Whether a request of TensorFlow's worker service says what an honest process says, and nothing more.

Fields give power: `CreateWorkerSession` can make a server dial other addresses, `RunGraph` can make it
fetch another worker's tensors, and `RegisterGraph` can make it write files for a debugger. So this is an
allow-list: what TensorFlow's own master sends in between-graph replication is accepted, each message in
the one encoding that protobuf gives it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from coterie.errors import CallRefused
from coterie.tensorflow.calls import worker_pb2
from coterie.text import printable

if TYPE_CHECKING:
    from tensorflow.core.protobuf.config_pb2 import ConfigProto
    from tensorflow.core.protobuf.tensorflow_server_pb2 import ServerDef

# What a session's configuration may say: numbers of threads, whom it asks, and what the master sets itself.
_CONFIG = (
    "intra_op_parallelism_threads",
    "inter_op_parallelism_threads",
    "device_filters",
    "allow_soft_placement",
    "operation_timeout_in_ms",
    "experimental.disable_optimize_for_static_graph",
)
_COORDINATION = "default_session_config.experimental.coordination_config"
_SERVER = (
    "job_name",
    "task_index",
    "protocol",
    f"{_COORDINATION}.service_type",
    f"{_COORDINATION}.service_leader",
)

Read = TypeVar("Read", bound=Message)


@dataclass(frozen=True)
class Ends:
    """Both ends of a call.

    Attributes:
        caller_name: The caller's name, for errors.
        caller_task: Its task, as in "/job:worker/replica:0/task:1".
        role: The called process's role.
        index: Its index.
    """

    caller_name: str
    caller_task: str
    role: str
    index: int


def check_status(ends: Ends, message: bytes) -> None:
    """A question for devices.

    Raises:
        CallRefused: It has any field.
    """
    read(ends.caller_name, worker_pb2.GetStatusRequest(), message)


def check_created_session(ends: Ends, message: bytes) -> None:
    """A new session: of the caller's own, in the cluster as the called process knows it.

    A cluster in it would be dialled; another master's name in it would end that one's sessions.

    Raises:
        CallRefused: It is something else.
    """
    from tensorflow.core.protobuf.tensorflow_server_pb2 import ServerDef

    request = read(ends.caller_name, worker_pb2.CreateWorkerSessionRequest(), message)
    _check_handle(ends, request.session_handle)
    if request.master_task != ends.caller_task:
        raise _refused(ends, f"master_task {ends.caller_task}", request.master_task or "none")
    server: ServerDef = read(ends.caller_name, ServerDef(), request.server_def)
    _check_only(ends, server, _SERVER, "server_def")
    place = f"/job:{server.job_name}/task:{server.task_index}"
    if (server.job_name, server.task_index) != (ends.role, ends.index):
        raise _refused(ends, f"a session on /job:{ends.role}/task:{ends.index}", place)
    coordination = server.default_session_config.experimental.coordination_config
    if coordination.service_leader not in {"", ends.caller_task}:
        raise _refused(ends, f"service_leader {ends.caller_task}", coordination.service_leader)
    said = (server.protocol, coordination.service_type)
    if said[0] != "grpc" or said[1] not in {"", "standalone"}:
        raise _refused(ends, "protocol grpc, service_type standalone", " ".join(said))


def check_deleted_session(ends: Ends, message: bytes) -> None:
    """The end of a session, which is known by a random handle.

    Raises:
        CallRefused: It is something else.
    """
    request = read(ends.caller_name, worker_pb2.DeleteWorkerSessionRequest(), message)
    _check_handle(ends, request.session_handle)


def registered_graph(ends: Ends, message: bytes) -> bytes:
    """A graph for a session, without a debugger, and without options that rewrite it.

    Returns:
        The GraphDef.

    Raises:
        CallRefused: It is something else.
    """
    from tensorflow.core.protobuf.config_pb2 import ConfigProto

    request = read(ends.caller_name, worker_pb2.RegisterGraphRequest(), message)
    _check_session(ends, request.session_handle, called=request.create_worker_session_called)
    for name, octets in (
        ("graph_options", request.graph_options),
        ("debug_options", request.debug_options),
    ):
        if octets:
            raise _refused(ends, f"no {name}", f"{len(octets)} bytes")
    config: ConfigProto = read(ends.caller_name, ConfigProto(), request.config_proto)
    _check_only(ends, config, _CONFIG, "config_proto")
    return request.graph_def


def check_run(ends: Ends, message: bytes) -> None:
    """A step of a graph of a session. Tensors that are fed or fetched travel by RecvTensor.

    With keys of others in it the called process would fetch their tensors for the caller.

    Raises:
        CallRefused: It is something else.
    """
    request = read(ends.caller_name, worker_pb2.RunGraphRequest(), message)
    _check_session(ends, request.session_handle, called=request.create_worker_session_called)
    if request.exec_opts:
        raise _refused(ends, "no exec_opts", f"{len(request.exec_opts)} bytes")


def check_cleanup(ends: Ends, message: bytes) -> None:
    """The end of a step, which is known by a random number.

    Raises:
        CallRefused: It is something else.
    """
    read(ends.caller_name, worker_pb2.CleanupGraphRequest(), message)


def rendezvous_key(ends: Ends, message: bytes) -> str:
    """The name of the tensor that is asked for.

    Raises:
        CallRefused: It is something else.
    """
    return read(ends.caller_name, worker_pb2.RecvTensorRequest(), message).rendezvous_key


def read(sender: str, empty: Read, octets: bytes) -> Read:
    """Reads a message that has only the fields of its class, each once.

    Args:
        sender: Whose it is, for errors.
        empty: A message of that class, which is filled.
        octets: The message.

    Raises:
        CallRefused: It cannot be read, or is encoded otherwise than protobuf does.
    """
    name, seen = empty.DESCRIPTOR.name, "something else"
    try:
        empty.ParseFromString(octets)
        empty.DiscardUnknownFields()
        # The order of a map's entries is free, so lengths are compared.
        if empty.ByteSize() == len(octets):
            return empty
        seen = "a field more, or one that is there twice"
    except DecodeError:
        pass
    raise CallRefused(
        f"a request of {sender} cannot be read",
        expected=f"{name} as TensorFlow's master sends it",
        seen=seen,
        remedy="only the program that the contract names may speak here: find out what runs there",
    )


def others(message: Message, allowed: Collection[str], prefix: str = "") -> Iterator[str]:
    """The fields of a message that an allow-list of paths does not have, as "outer.inner"."""
    for field, value in message.ListFields():
        path = prefix + field.name
        if path in allowed:
            continue
        if isinstance(value, Message):  # TensorFlow sends some that are empty
            yield from others(value, allowed, f"{path}.")
        else:
            yield path


def _check_only(ends: Ends, message: Message, allowed: Collection[str], name: str) -> None:
    if more := sorted(others(message, allowed)):
        raise _refused(
            ends, f"{name} of {', '.join(allowed)} only", printable(", ".join(more), 200)
        )


def _check_session(ends: Ends, handle: str, *, called: bool) -> None:
    _check_handle(ends, handle)
    if not called:  # all of those without one share theirs
        raise _refused(ends, "create_worker_session_called", "not set")


def _check_handle(ends: Ends, handle: str) -> None:
    if not handle:
        raise _refused(ends, "a session_handle", "none")


def _refused(ends: Ends, expected: str, seen: str) -> CallRefused:
    return CallRefused(
        f"{ends.caller_name} may not send this request",
        expected=expected,
        seen=printable(seen, 200),
        remedy="sessions of several companies' workers have no other options: take them out of the program",
    )
