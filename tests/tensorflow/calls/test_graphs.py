"""Which graphs may run: operations of the list on this node's devices, exchanging tensors with the sender only."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef

from coterie.contract.tensorflow_operations import HARMLESS
from coterie.errors import CallRefused
from coterie.tensorflow.calls.graphs import check_graph
from tests.tensorflow.calls.asking import PS, WORKERS, device, graph, node, send

pytestmark = pytest.mark.tensorflow

OPERATIONS = {"NoOp", "Const", "Identity", "_Send", "_Recv", "PartitionedCall"}
OF_A_LIST = "operations of the contract's list"


def check(one: GraphDef | bytes) -> None:
    octets = one if isinstance(one, bytes) else one.SerializeToString()
    check_graph(octets, OPERATIONS, "bolt", own=PS.has, callers=WORKERS[1].has)


def refusal(one: GraphDef | bytes) -> CallRefused:
    with pytest.raises(CallRefused) as refused:
        check(one)
    return refused.value


def test_allowed_operations_that_exchange_with_the_sender_may_run() -> None:
    marked = node("Identity")
    marked.attr["_class"].list.s.append(b"loc:@table")
    marked.attr["T"].type = 20  # a resource of this process, which no message carries
    marked.experimental_type.type_id = 1000
    marked.experimental_debug_info.original_node_names.append("table")
    received, sent = send(WORKERS[1], PS, "_Recv"), send(PS, WORKERS[1])
    check(graph(node(), marked, received, sent))


@pytest.mark.parametrize(
    "op",
    [
        "ReadFile",
        "WriteFile",
        "MatchingFiles",
        "PyFunc",
        "EagerPyFunc",
        "PyFuncStateless",
        "SaveV2",
        "RestoreV2",
        "MergeV2Checkpoints",
        "Print",
        "PrintV2",
        "DebugIdentity",
        "RemoteCall",
        "RpcServer",
        "DataServiceDataset",
        "TextLineReaderV2",
        "CollectiveReduceV2",
        "CustomOp",
        "Theirs>Op",
        "",
        "noop",
        "NoOp ",
        "NoOp\0",
    ],
)
def test_other_operations_may_not(op: str) -> None:
    refused = refusal(graph(node(), node(op)))
    assert refused.what == "a graph of bolt may not run here"
    assert refused.expected == OF_A_LIST
    assert refused.seen == op.replace("\0", "?")
    assert "[tensorflow] operations" in refused.remedy


def test_the_refusal_names_all_and_the_first_ten_at_most() -> None:
    assert refusal(graph(*(node(op) for op in ("WriteFile", "NoOp", "ReadFile")))).seen == (
        "ReadFile, WriteFile"
    )
    assert refusal(graph(*(node(f"Op{i:02}") for i in range(100)))).seen.count(",") == 9


def in_a_function(name: str, *ops: str) -> GraphDef:
    one = graph(node(name if name in OPERATIONS else "NoOp"))
    function = one.library.function.add()
    function.signature.name = name
    for op in ops:
        function.node_def.add(name=op, op=op)
    return one


@pytest.mark.parametrize(
    ("one", "seen"),
    [
        (in_a_function("reads", "ReadFile"), "reads"),
        (in_a_function("calls", "reads"), "calls"),
        (in_a_function("NoOp", "ReadFile"), "NoOp"),
        (in_a_function("harmless", "NoOp"), "harmless"),
        (in_a_function("__inference_x", "NoOp"), "__inference_x"),
        (in_a_function(""), "one without a name"),
    ],
    ids=["reads", "calls", "named like an operation", "harmless", "compiled", "nameless"],
)
def test_functions_may_not_whatever_they_do(one: GraphDef, seen: str) -> None:
    refused = refusal(one)
    assert (refused.expected, refused.seen) == ("operations, and no functions", seen)


def gradient(one: GraphDef) -> None:
    one.library.gradient.add(function_name="f", gradient_func="g")


def registered_gradient(one: GraphDef) -> None:
    one.library.registered_gradients.add(gradient_func="g", registered_op_type="NoOp")


def debugged(one: GraphDef) -> None:
    one.debug_info.files.append("x")


def bad_consumer(one: GraphDef) -> None:
    one.versions.bad_consumers.append(1)


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (gradient, "library.gradient"),
        (registered_gradient, "library.registered_gradients"),
        (debugged, "debug_info.files"),
        (bad_consumer, "versions.bad_consumers"),
        (lambda one: setattr(one, "version", 1), "version"),
    ],
)
def test_graphs_have_nothing_else(change: Callable[[GraphDef], None], seen: str) -> None:
    one = graph(node())
    change(one)
    refused = refusal(one)
    assert refused.expected == "a graph of node, versions.producer, versions.min_consumer"
    assert refused.seen == seen


@pytest.mark.parametrize(
    "place",
    [
        device(WORKERS[0]),
        device(WORKERS[1]),
        "",
        "/job:ps",
        "/job:ps/replica:0/task:0",
        "/job:ps/task:0/device:CPU:0",
        "/job:ps/replica:0/task:1/device:CPU:0",
        "/job:ps/replica:0/task:00/device:CPU:0",
        "/job:ps/replica:0/task:0/cpu:0",
        "/job:ps/replica:0/task:0/device:CPU:*",
        f"{device(PS)};{device(WORKERS[0])}",
        f"{device(PS)}\n",
    ],
)
def test_operations_are_on_this_nodes_devices(place: str) -> None:
    one = node()
    one.device = place
    refused = refusal(graph(one))
    assert refused.expected == "operations on this node's devices"
    assert refused.seen == (place.replace("\n", "?") or "none")


def test_the_place_of_another_operation_does_not_move_one() -> None:
    """Colocation is a mark: TensorFlow has placed the graph when it sends it, and places it no more."""
    one = node()
    one.attr["_class"].list.s.append(f"loc:@{device(WORKERS[0])}".encode())
    check(graph(one))


@pytest.mark.parametrize("op", ["_Send", "_Recv"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("send_device", device(WORKERS[0]).encode()),
        ("recv_device", device(WORKERS[0]).encode()),
        ("send_device", device(WORKERS[1]).replace("task:1", "task:10").encode()),
        ("recv_device", b"/job:worker"),
        ("send_device", b""),
        ("recv_device", device(WORKERS[1]).encode() + b"\xff"),
        ("send_device", device(WORKERS[1]).encode() + b";"),
    ],
)
def test_tensors_are_exchanged_with_the_sender_only(op: str, name: str, value: bytes) -> None:
    one = send(WORKERS[1], PS, op)
    one.attr[name].s = value
    refused = refusal(graph(one))
    assert refused.expected == "this node's devices and the sender's"
    assert refused.seen == (value.decode("latin-1") or "none")


def test_an_exchange_that_names_no_device_is_refused() -> None:
    assert refusal(graph(node("_Recv"))).seen == "none"


def placeholder(one: NodeDef) -> None:
    one.attr["send_device"].placeholder = "theirs"


def function(one: NodeDef) -> None:
    one.attr["f"].func.name = "unknown"


def functions(one: NodeDef) -> None:
    one.attr["f"].list.func.add(name="NoOp")


def handle(one: NodeDef) -> None:
    one.attr["value"].tensor.dtype = 20


def variants(one: NodeDef) -> None:
    one.attr["value"].list.tensor.add(dtype=21)


@pytest.mark.parametrize("op", ["Const", "PartitionedCall", "_Recv"])
@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (placeholder, "a placeholder in send_device"),
        (function, "a function in f"),
        (functions, "a function in f"),
        (handle, "a handle of a resource in value"),
        (variants, "a handle of a resource in value"),
    ],
)
def test_attributes_are_values(op: str, change: Callable[[NodeDef], None], seen: str) -> None:
    one = send(WORKERS[1], PS, op)
    change(one)
    refused = refusal(graph(one))
    assert (refused.expected, refused.seen) == ("attributes that are values", seen)


@pytest.mark.parametrize("dtype", [20, 21, 120, 121])
@pytest.mark.parametrize("op", ["_Send", "_Recv"])
def test_handles_are_not_exchanged(op: str, dtype: int) -> None:
    one = send(WORKERS[1], PS, op)
    one.attr["T" if op == "_Send" else "tensor_type"].type = dtype
    refused = refusal(graph(one))
    assert (refused.expected, refused.seen) == (
        "numbers and strings sent and received",
        "handles of resources",
    )


@pytest.mark.parametrize(
    "name", ["_kernel", "_XlaMustCompile", "_XlaCompile", "_scoped_allocator", "_forward_from", "_"]
)
def test_marks_are_those_of_a_list(name: str) -> None:
    one = node()
    one.attr[name].s = b"x"
    refused = refusal(graph(one))
    assert refused.expected.startswith("no marks but _XlaHasReferenceVars, _class, _dst, ")
    assert refused.seen == name


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\xff", id="nothing of protobuf"),
        pytest.param(graph(node()).SerializeToString()[:-1], id="cut off"),
        pytest.param(graph(node()).SerializeToString() + b"\x9a\x06\0", id="another field"),
        pytest.param(graph(node()).SerializeToString().replace(b"NoOp", b"No\xffp"), id="no text"),
        pytest.param(b"\x0a\x80\x00" + b"\x22\0", id="a length that is too long"),
        pytest.param(b"\x0b" * 200, id="groups in groups"),
        pytest.param(b"\x0a\x06\x12\x01a\x12\x01b", id="two operations in one"),
    ],
)
def test_what_is_encoded_otherwise_may_not(octets: bytes) -> None:
    refused = refusal(octets)
    assert refused.what == "a request of bolt cannot be read"
    assert refused.expected == "GraphDef as TensorFlow's master sends it"


def test_no_operation_that_may_be_listed_reaches_beyond_tensors() -> None:
    """Families of names that read or write files, speak, run code or call functions."""
    forbidden = re.compile(
        r"File|Py|Save|Restore|Print|Debug|Dataset|Iterator|Reader|Summary|Rpc|Remote|Collective|Call|"
        r"Library|Http|Generator|Batch(Function|Unbatch)|Xla|^If|^While|Stateless(If|While)|_Arg|_Retval|Map|Assert"
    )
    assert {one for one in HARMLESS if forbidden.search(one)} == set()
