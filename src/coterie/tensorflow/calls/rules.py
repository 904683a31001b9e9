"""Who may make which call of TensorFlow's worker service, where each company has workers of its own.

Between-graph replication with device filters needs few of them. A worker is asked for tensors only,
by parameter servers, and only for those that it has promised to the asking one. A parameter server
is asked by workers to run graphs of allowed operations, and for tensors promised to the asking worker.
A tensor's name (its rendezvous key) says from which device to which it goes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from coterie.errors import CallRefused
from coterie.kinds import Role
from coterie.tensorflow.calls import requests
from coterie.tensorflow.calls.graphs import check_graph
from coterie.tensorflow.calls.http2 import Method
from coterie.text import printable

_SERVICE = "/tensorflow.WorkerService/"
_SMALL_BYTES = 1 << 14
GRAPH_BYTES = 1 << 26
# source device; incarnation; target device; name; frame and iteration (tensorflow/core/framework/rendezvous.cc)
_KEY = re.compile(r"([^;]+);[0-9a-f]{16};([^;]+);[^;]+;[0-9]+:[0-9]+")
_UNIT = re.compile(r"[A-Z_]+:[0-9]+")


@dataclass(frozen=True)
class Task:
    """A process of the cluster.

    Attributes:
        role: Its job in TensorFlow's cluster.
        index: Its number among those of its role.
    """

    role: Role
    index: int

    def __str__(self) -> str:
        """Its name, as TensorFlow writes it."""
        return f"/job:{self.role}/replica:0/task:{self.index}"

    def has(self, device: str) -> bool:
        """Whether a device, by its full name, is this process's."""
        task = f"{self}/device:"
        return device.startswith(task) and _UNIT.fullmatch(device, len(task)) is not None


def methods_for(
    caller: Task, caller_name: str, own: Task, operations: Collection[str]
) -> Mapping[str, Method]:
    """The methods of the process ``own`` that a caller may call, by path."""
    ends = requests.Ends(caller_name, str(caller), own.role, own.index)

    def small(judge: Callable[[requests.Ends, bytes], None]) -> Method:
        return Method(_SMALL_BYTES, partial(judge, ends))

    receive = Method(_SMALL_BYTES, partial(_check_key, caller, own, ends))
    if (caller.role, own.role) == ("ps", "worker"):
        return {f"{_SERVICE}RecvTensor": receive}
    if (caller.role, own.role) != ("worker", "ps"):
        return {}
    return {
        f"{_SERVICE}GetStatus": small(requests.check_status),
        f"{_SERVICE}CreateWorkerSession": small(requests.check_created_session),
        f"{_SERVICE}DeleteWorkerSession": small(requests.check_deleted_session),
        f"{_SERVICE}RegisterGraph": Method(
            GRAPH_BYTES, partial(_check_graph, caller, own, ends, operations)
        ),
        f"{_SERVICE}RunGraph": small(requests.check_run),
        f"{_SERVICE}CleanupGraph": small(requests.check_cleanup),
        f"{_SERVICE}RecvTensor": receive,
    }


def _check_key(caller: Task, own: Task, ends: requests.Ends, message: bytes) -> None:
    key = requests.rendezvous_key(ends, message)
    found = _KEY.fullmatch(key)
    if found is None or not (own.has(found[1]) and caller.has(found[2])):
        raise CallRefused(
            f"{ends.caller_name} may not ask for this tensor",
            expected=f"a tensor from {own.role} {own.index} to {caller.role} {caller.index}",
            seen=printable(key, 200) or "no name",
            remedy="no program asks for another node's tensors: find out what runs there",
        )


def _check_graph(
    caller: Task, own: Task, ends: requests.Ends, operations: Collection[str], message: bytes
) -> None:
    graph = requests.registered_graph(ends, message)
    check_graph(graph, operations, ends.caller_name, own=own.has, callers=caller.has)
