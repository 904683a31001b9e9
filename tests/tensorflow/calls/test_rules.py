"""Who may ask what of whom: every method for every pair of roles, and every field of every request."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from tensorflow.core.protobuf.config_pb2 import ConfigProto, GraphOptions
from tensorflow.core.protobuf.debug_pb2 import DebugOptions
from tensorflow.core.protobuf.tensorflow_server_pb2 import ServerDef

from coterie.errors import CallRefused
from coterie.tensorflow.calls.rules import Task, methods_for
from fuzz.speaking import SERVICE
from tests.tensorflow.calls.asking import (
    HANDLE,
    PS,
    RUN,
    WORKERS,
    config,
    created,
    device,
    encoded,
    field,
    graph,
    key,
    node,
    registered,
    server_def,
    tensor,
)

pytestmark = pytest.mark.tensorflow

CHIEF = Task("chief", 0)
OF_THE_PARAMETER_SERVER = {
    "GetStatus",
    "CreateWorkerSession",
    "DeleteWorkerSession",
    "RegisterGraph",
    "RunGraph",
    "CleanupGraph",
    "RecvTensor",
}
Fields = Mapping[int, int | bytes | str]


def judged(method: str, message: bytes, caller: Task = WORKERS[1], own: Task = PS) -> None:
    methods_for(caller, "bolt", own, {"NoOp"})[SERVICE + method].judge(message)


def refusal(method: str, message: bytes, caller: Task = WORKERS[1], own: Task = PS) -> CallRefused:
    with pytest.raises(CallRefused) as refused:
        judged(method, message, caller, own)
    assert refused.value.remedy
    return refused.value


@pytest.mark.parametrize(
    ("caller", "own", "methods"),
    [
        (WORKERS[1], PS, OF_THE_PARAMETER_SERVER),
        (PS, WORKERS[1], {"RecvTensor"}),
        (WORKERS[0], WORKERS[1], set()),
        (PS, Task("ps", 1), set()),
        (CHIEF, PS, set()),
        (CHIEF, WORKERS[0], set()),
        (PS, CHIEF, set()),
        (WORKERS[0], CHIEF, set()),
    ],
    ids=lambda value: str(value) if isinstance(value, Task) else f"{len(value)} methods",
)
def test_roles_may_call_these_methods(caller: Task, own: Task, methods: set[str]) -> None:
    assert set(methods_for(caller, "bolt", own, ())) == {SERVICE + name for name in methods}


def test_messages_but_graphs_are_short() -> None:
    methods = methods_for(WORKERS[1], "bolt", PS, ())
    long = {path for path, method in methods.items() if method.most_bytes > 1 << 14}
    assert long == {f"{SERVICE}RegisterGraph"}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("GetStatus", b""),
        ("CreateWorkerSession", created()),
        ("DeleteWorkerSession", field(1, HANDLE)),
        ("RegisterGraph", registered()),
        ("RunGraph", encoded(RUN)),
        ("CleanupGraph", field(1, 7)),
        ("RecvTensor", tensor()),
    ],
)
def test_what_tensorflow_sends_is_accepted(method: str, message: bytes) -> None:
    judged(method, message)


def test_a_worker_gives_the_tensors_that_it_promised_to_a_parameter_server() -> None:
    judged("RecvTensor", tensor(key(WORKERS[1], PS)), caller=PS, own=WORKERS[1])


KEYS: list[tuple[str, str, str]] = [
    ("another worker's", key(WORKERS[0], PS), ""),
    ("another worker is to get it", key(WORKERS[1], WORKERS[0]), ""),
    ("the worker's own, of a feed", key(WORKERS[1], WORKERS[1]), ""),
    ("the parameter server's", key(PS, PS), ""),
    ("the other way", key(PS, WORKERS[1]), ""),
    ("task 10", key(WORKERS[1], PS).replace("task:1", "task:10"), ""),
    ("task 01", key(WORKERS[1], PS).replace("task:1", "task:01"), ""),
    ("no replica", key(WORKERS[1], PS).replace("/replica:0", "", 1), ""),
    ("another replica", key(WORKERS[1], PS).replace("replica:0", "replica:1", 1), ""),
    ("the old form of devices", key(WORKERS[1], PS).replace("/device:CPU:0", "/cpu:0", 1), ""),
    ("a device in small letters", key(WORKERS[1], PS).replace("CPU", "cpu", 1), ""),
    ("no device", key(WORKERS[1], PS).replace("/device:CPU:0", "", 1), ""),
    ("any device", key(WORKERS[1], PS).replace("CPU:0", "CPU:*", 1), ""),
    ("a digit of another script", key(WORKERS[1], PS).replace("CPU:0", "CPU:\u0660", 1), ""),
    ("a job that ends alike", key(WORKERS[1], PS).replace("/job:worker", "/job:xworker", 1), ""),
    ("something in front", "x" + key(WORKERS[1], PS), ""),
    ("a line feed behind", key(WORKERS[1], PS) + "\n", ""),
    ("a NUL in it", key(WORKERS[1], PS).replace("edge", "\0edge").replace("CPU", "\0CPU", 1), ""),
    ("four parts", key(WORKERS[1], PS).rpartition(";")[0], ""),
    ("six parts", key(WORKERS[1], PS) + ";0:0", ""),
    ("a part in the edge", key(WORKERS[1], PS, f"e;{device(WORKERS[0])}"), ""),
    ("no edge", key(WORKERS[1], PS, ""), ""),
    ("no incarnation", key(WORKERS[1], PS).replace("f953cd8c3fc7aee1", ""), ""),
    ("two keys in one", f"{key(WORKERS[1], PS)},{key(WORKERS[0], PS)}", ""),
    ("none", "", "no name"),
]


@pytest.mark.parametrize(("name", "seen"), [one[1:] for one in KEYS], ids=[one[0] for one in KEYS])
def test_a_worker_gives_no_other_tensor(name: str, seen: str) -> None:
    message = tensor(name) if name else encoded({1: 7, 7: 9})
    refused = refusal("RecvTensor", message, caller=PS, own=WORKERS[1])
    assert refused.what == "bolt may not ask for this tensor"
    assert refused.expected == "a tensor from worker 1 to ps 0"
    shown = "".join(char if char.isprintable() else "?" for char in name)
    assert refused.seen in {seen or shown, f"{shown[:197]}..."}
    assert len(refused.seen) <= 200


def test_a_long_name_is_shown_in_part() -> None:
    refused = refusal("RecvTensor", tensor(key(edge="x" * 5000)), caller=PS, own=WORKERS[1])
    assert len(refused.seen) == 200


ENCODINGS: list[tuple[str, str, bytes]] = [
    ("two keys, first", "RecvTensor", tensor() + field(2, key(WORKERS[0], PS))),
    ("two keys, last", "RecvTensor", field(2, key(WORKERS[0], PS)) + tensor()),
    ("a key that is no text", "RecvTensor", tensor(key().encode() + b"\xff")),
    ("direct memory access", "RecvTensor", encoded({1: 7, 2: key(), 3: 1})),
    ("transport options", "RecvTensor", encoded({1: 7, 2: key(), 6: b"x"})),
    ("a long number", "RecvTensor", b"\x08\x87\x80\x00" + field(2, key())),
    ("a group", "RecvTensor", tensor() + b"\x43\x44"),
    ("cut off", "RecvTensor", tensor()[:-3]),
    ("something", "GetStatus", field(1, 1)),
    ("a container", "CleanupGraph", encoded({1: 7, 2: "x"})),
    ("two sessions", "DeleteWorkerSession", field(1, HANDLE) * 2),
    ("isolated", "CreateWorkerSession", created(more=field(3, 1))),
    ("devices of a cluster", "CreateWorkerSession", created(more=field(4, b"\n\1x"))),
    ("two servers", "CreateWorkerSession", created(more=field(2, b""))),
    ("a new field", "CreateWorkerSession", created() + field(7, b"x")),
    ("two graphs", "RegisterGraph", registered() + field(2, graph().SerializeToString())),
    ("control flow", "RegisterGraph", registered() + field(3, 1)),
    ("collectives", "RegisterGraph", registered() + field(7, 1)),
    ("two configurations", "RegisterGraph", registered() + field(8, b"")),
    ("a tensor for any key", "RunGraph", encoded({**RUN, 3: encoded({1: key(), 2: b""})})),
    ("a tensor of any key", "RunGraph", encoded({**RUN, 4: key(WORKERS[0], PS)})),
    ("a part", "RunGraph", encoded({**RUN, 6: 1})),
    ("the last part", "RunGraph", encoded({**RUN, 7: 1})),
    ("another field", "RunGraph", encoded({**RUN, 12: b"x"})),
]


@pytest.mark.parametrize(
    ("method", "message"), [one[1:] for one in ENCODINGS], ids=[one[0] for one in ENCODINGS]
)
def test_another_field_or_encoding_is_refused(method: str, message: bytes) -> None:
    refused = refusal(method, message)
    assert refused.what == "a request of bolt cannot be read"
    assert refused.expected == f"{method}Request as TensorFlow's master sends it"
    assert refused.seen in {"a field more, or one that is there twice", "something else"}


def with_server(change: Callable[[ServerDef], object]) -> bytes:
    said = server_def()
    change(said)
    return created(server=said)


def with_config(change: Callable[[ConfigProto], object]) -> bytes:
    said = config()
    change(said)
    return registered(session=said)


def without(fields: Fields, number: int) -> bytes:
    return encoded({one: value for one, value in fields.items() if one != number})


def watching() -> bytes:
    watch = DebugOptions()
    one = watch.debug_tensor_watch_opts.add(node_name="table", debug_ops=["DebugIdentity"])
    one.debug_urls.append("file:///tmp/table")
    octets: bytes = watch.SerializeToString()
    return octets


def cluster(said: ServerDef) -> None:
    said.cluster.job.add(name="ps").tasks[0] = "attacker.example:2222"


def optimizer(said: ConfigProto) -> None:
    said.graph_options.rewrite_options.custom_optimizers.add(name="theirs")


SERVER = (
    "server_def of job_name, task_index, protocol, "
    "default_session_config.experimental.coordination_config.service_type, "
    "default_session_config.experimental.coordination_config.service_leader only"
)
CONFIG = (
    "config_proto of intra_op_parallelism_threads, inter_op_parallelism_threads, device_filters, "
    "allow_soft_placement, operation_timeout_in_ms, experimental.disable_optimize_for_static_graph only"
)
NO_SESSION = ("a session_handle", "none")
COORDINATION = "default_session_config.experimental.coordination_config"
CASES: list[tuple[str, str, bytes, str, str]] = [
    ("no session to run in", "RunGraph", without(RUN, 8), *NO_SESSION),
    ("no session to register in", "RegisterGraph", registered()[18:], *NO_SESSION),
    ("no session to end", "DeleteWorkerSession", b"", *NO_SESSION),
    ("no session to begin", "CreateWorkerSession", created()[18:], *NO_SESSION),
    (
        "the session of all",
        "RunGraph",
        without(RUN, 10),
        "create_worker_session_called",
        "not set",
    ),
    ("records", "RunGraph", encoded({**RUN, 5: b"\x18\1"}), "no exec_opts", "2 bytes"),
    (
        "another master",
        "CreateWorkerSession",
        created(WORKERS[0]),
        "master_task /job:worker/replica:0/task:1",
        "/job:worker/replica:0/task:0",
    ),
    (
        "another leader",
        "CreateWorkerSession",
        created(server=server_def(WORKERS[0])),
        "service_leader /job:worker/replica:0/task:1",
        "/job:worker/replica:0/task:0",
    ),
    (
        "another task",
        "CreateWorkerSession",
        with_server(lambda s: setattr(s, "task_index", 1)),
        "a session on /job:ps/task:0",
        "/job:ps/task:1",
    ),
    (
        "another transport",
        "CreateWorkerSession",
        with_server(lambda s: setattr(s, "protocol", "grpc+verbs")),
        "protocol grpc, service_type standalone",
        "grpc+verbs standalone",
    ),
    (
        "another coordination",
        "CreateWorkerSession",
        with_server(
            lambda s: setattr(
                s.default_session_config.experimental.coordination_config, "service_type", "x"
            )
        ),
        "protocol grpc, service_type standalone",
        "grpc x",
    ),
    ("a cluster", "CreateWorkerSession", with_server(cluster), SERVER, "cluster.job"),
    (
        "a port",
        "CreateWorkerSession",
        with_server(lambda s: setattr(s, "port", 1)),
        SERVER,
        "port",
    ),
    (
        "a filter",
        "CreateWorkerSession",
        with_server(lambda s: s.cluster_device_filters.jobs.add(name="ps")),
        SERVER,
        "cluster_device_filters.jobs",
    ),
    (
        "jobs to be coordinated",
        "CreateWorkerSession",
        with_server(
            lambda s: (
                s.default_session_config.experimental.coordination_config.coordinated_job_list.add(
                    name="ps"
                )
            )
        ),
        SERVER,
        f"{COORDINATION}.coordinated_job_list",
    ),
    (
        "a debugger",
        "RegisterGraph",
        registered(debug_options=watching()),
        "no debug_options",
        "43 bytes",
    ),
    (
        "a compiler",
        "RegisterGraph",
        registered(
            graph_options=GraphOptions(
                optimizer_options={"global_jit_level": "ON_2"}
            ).SerializeToString()
        ),
        "no graph_options",
        "4 bytes",
    ),
    (
        "an optimizer",
        "RegisterGraph",
        with_config(optimizer),
        CONFIG,
        "graph_options.rewrite_options.custom_optimizers",
    ),
    (
        "a cluster for a session",
        "RegisterGraph",
        with_config(lambda c: c.cluster_def.job.add(name="ps")),
        CONFIG,
        "cluster_def.job",
    ),
    (
        "an executor",
        "RegisterGraph",
        with_config(lambda c: setattr(c.experimental, "executor_type", "x")),
        CONFIG,
        "experimental.executor_type",
    ),
    (
        "a name for a session",
        "RegisterGraph",
        with_config(lambda c: setattr(c.experimental.session_metadata, "name", "x")),
        CONFIG,
        "experimental.session_metadata.name",
    ),
    (
        "threads of all",
        "RegisterGraph",
        with_config(lambda c: c.session_inter_op_thread_pool.add(num_threads=1)),
        CONFIG,
        "session_inter_op_thread_pool",
    ),
]


@pytest.mark.parametrize(
    ("method", "message", "expected", "seen"),
    [one[1:] for one in CASES],
    ids=[one[0] for one in CASES],
)
def test_other_power_is_refused(method: str, message: bytes, expected: str, seen: str) -> None:
    refused = refusal(method, message)
    assert refused.what == "bolt may not send this request"
    assert (refused.expected, refused.seen) == (expected, seen)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (encoded({1: HANDLE, 2: b"\xff", 5: str(WORKERS[1]), 6: 5}), "ServerDef"),
        (created(server=server_def()).replace(b"grpc", b"gr\xffc"), "ServerDef"),
    ],
)
def test_a_server_that_is_none_is_refused(message: bytes, name: str) -> None:
    assert refusal("CreateWorkerSession", message).expected == (
        f"{name} as TensorFlow's master sends it"
    )


def test_operations_are_those_of_the_contract() -> None:
    refused = refusal("RegisterGraph", registered(graph(node("ReadFile"))))
    assert refused.what == "a graph of bolt may not run here"
    assert refused.seen == "ReadFile"
