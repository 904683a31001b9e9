"""Whether a graph has allowed operations only, and sends nothing but to its sender.

It has no functions: TensorFlow's master puts their bodies in place before it sends graphs out. So each
operation is to be seen, with its attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from coterie.errors import CallRefused
from coterie.tensorflow.calls.requests import others, read
from coterie.text import printable

if TYPE_CHECKING:
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tensorflow.core.framework.node_def_pb2 import NodeDef

Has = Callable[[str], bool]

_GRAPH = ("node", "versions.producer", "versions.min_consumer")
_NODE = ("name", "op", "input", "device", "attr", "experimental_debug_info", "experimental_type")
_EXCHANGES = ("_Send", "_Recv", "_HostSend", "_HostRecv")
_ENDS = ("send_device", "recv_device")
# Attributes that TensorFlow adds to operations. Others of these choose kernels, compilers or memory.
_MARKS = frozenset(
    {
        "_XlaHasReferenceVars",
        "_class",
        "_dst",
        "_grappler_relax_allocator_constraints",
        "_has_manual_control_dependencies",
        "_output_shapes",
        "_src",
    }
)
# Handles of resources, and variants, are not made of a peer's bytes (types.proto; references are 100 more).
_HANDLES = frozenset({20, 21, 120, 121})


def check_graph(
    octets: bytes, operations: Collection[str], sender: str, *, own: Has, callers: Has
) -> None:
    """Checks a graph before TensorFlow gets it.

    Args:
        octets: The GraphDef.
        operations: The allowed operations.
        sender: Whose graph it is, for errors.
        own: Whether a device, by its full name, is this node's.
        callers: Whether one is the sender's.

    Raises:
        CallRefused: It has another operation or attribute, names another device, or cannot be read.
    """
    from tensorflow.core.framework.graph_pb2 import GraphDef

    graph: GraphDef = read(sender, GraphDef(), octets)
    if functions := [function.signature.name for function in graph.library.function]:
        seen = ", ".join(printable(name, 60) for name in functions[:10])
        raise _refused(sender, "operations, and no functions", seen or "one without a name")
    if more := sorted(others(graph, _GRAPH)):
        raise _refused(sender, f"a graph of {', '.join(_GRAPH)}", ", ".join(more))
    unknown = sorted({node.op for node in graph.node}.difference(operations))
    if unknown:
        seen = ", ".join(printable(one, 60) for one in unknown[:10])
        raise _refused(sender, "operations of the contract's list", seen)
    for node in graph.node:
        _check_node(node, sender, own, callers)


def _check_node(node: NodeDef, sender: str, own: Has, callers: Has) -> None:
    if more := sorted(others(node, _NODE)):
        raise _refused(sender, f"operations of {', '.join(_NODE)}", ", ".join(more))
    if not own(node.device):
        raise _refused(sender, "operations on this node's devices", _named(node.device))
    for name, value in node.attr.items():
        if name.startswith("_") and name not in _MARKS:
            raise _refused(sender, f"no marks but {', '.join(sorted(_MARKS))}", _named(name))
        for fault in _faults(value):
            raise _refused(sender, "attributes that are values", f"{fault} in {_named(name)}")
    if node.op in _EXCHANGES:
        for name in _ENDS:
            device = node.attr[name].s.decode("latin-1")
            if not (own(device) or callers(device)):
                raise _refused(sender, "this node's devices and the sender's", _named(device))
        if {node.attr["T"].type, node.attr["tensor_type"].type} & _HANDLES:
            raise _refused(sender, "numbers and strings sent and received", "handles of resources")


def _faults(value: AttrValue) -> Iterator[str]:
    if value.HasField("func") or value.list.func:
        yield "a function"
    if value.HasField("placeholder"):
        yield "a placeholder"
    if {one.dtype for one in (value.tensor, *value.list.tensor)} & _HANDLES:
        yield "a handle of a resource"


def _named(text: str) -> str:
    return printable(text, 100) or "none"


def _refused(sender: str, expected: str, seen: str) -> CallRefused:
    return CallRefused(
        f"a graph of {sender} may not run here",
        expected=expected,
        seen=seen,
        remedy="list the operations in [tensorflow] operations, if all parties agree to them",
    )
