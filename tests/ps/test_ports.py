"""The tables of calls: all that derives from an entry, and that they agree with the protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from coterie.errors import CallRefused
from coterie.kinds import Role
from coterie.ps.call_metrics import CallRecord
from coterie.ps.caller import Caller
from coterie.ps.in_process import InProcess
from coterie.ps.methods import Port, ReplyStream, RequestStream, Unary, permissions
from coterie.ps.ports import DataReceiverPort, ParameterServerPort
from coterie.ps.rpc import GrpcTransport, handler
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.codecs import protobuf_codec

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
TABLES = (ParameterServerPort, DataReceiverPort)
SERVICES = pb.DESCRIPTOR.services_by_name
Connect = Callable[[Caller], "Extended"]


class Extended(Port):
    """A table with a call that Coterie does not have."""

    echo = Unary(
        "/test.Extended/Echo",
        frozenset[Role]({"chief"}),
        protobuf_codec(pb.StatusRequest, pb.StatusReply),
    )


class Service:
    """Serves the call."""

    @Extended.echo.serves
    def echo(self, caller: Caller, _request: pb.StatusRequest) -> pb.StatusReply:
        return pb.StatusReply(step=3, reason=caller.node)


CHIEF, WORKER = Caller("c", "chief", 1), Caller("w", "worker", 1)


def in_process(caller: Caller) -> Extended:
    return Extended(InProcess(Service(), caller))


@contextmanager
def over_grpc(records: list[CallRecord]) -> Iterator[Connect]:
    """Serves the call on loopback, to whoever says his name and role."""

    def caller_of(context: grpc.ServicerContext) -> Caller:
        said = dict(context.invocation_metadata())
        return CHIEF if said["role"] == "chief" else WORKER

    server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handler(Extended, Service(), caller_of, records.append),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def connect(caller: Caller) -> Extended:
        metadata = (("role", caller.role),)
        return Extended(GrpcTransport(channel, "s", metadata, observe=records.append))

    try:
        yield connect
    finally:
        channel.close()
        server.stop(grace=5).wait()


def test_a_call_that_is_added_to_a_table_is_served_in_process_and_refused_to_other_roles() -> None:
    assert in_process(CHIEF).echo(pb.StatusRequest()) == pb.StatusReply(step=3, reason="c")
    with pytest.raises(CallRefused, match=r"w may not call /test\.Extended/Echo"):
        in_process(WORKER).echo(pb.StatusRequest())


def test_a_call_that_is_added_to_a_table_is_served_over_grpc_refused_to_other_roles_and_measured() -> (
    None
):
    records: list[CallRecord] = []
    with over_grpc(records) as connect:
        assert connect(CHIEF).echo(pb.StatusRequest()) == pb.StatusReply(step=3, reason="c")
        with pytest.raises(CallRefused, match=r"w may not call /test\.Extended/Echo"):
            connect(WORKER).echo(pb.StatusRequest())
    told = {(one.side, one.method, one.peer, one.error) for one in records}
    assert told == {
        ("server", "Echo", "c", ""),
        ("client", "Echo", "s", ""),
        ("server", "Echo", "w", "CallRefused"),
        ("client", "Echo", "s", "CallRefused"),
    }
    assert all(one.received for one in records if one.side == "client" and not one.error)


def test_a_call_that_is_added_to_a_table_has_its_permissions() -> None:
    assert permissions(Extended) == {"/test.Extended/Echo": {"chief"}}


def test_a_service_that_does_not_serve_a_call_of_its_table_is_found_before_it_is_called() -> None:
    class Other(Service):
        def echo(self, _caller: Caller, _request: pb.StatusRequest) -> pb.StatusReply:
            return pb.StatusReply()

    for service in (Other(), object()):
        with pytest.raises(TypeError, match=r"echo is not marked .* /test.Extended/Echo"):
            handler(Extended, service, lambda _: CHIEF)


@pytest.mark.parametrize("table", TABLES)
def test_an_entry_is_called_as_the_service_calls_its_method(table: type[Port]) -> None:
    assert [method.attribute for method in table.methods()] == [
        name for name in vars(table) if not name.startswith("_")
    ]


def test_the_tables_are_the_protocols_services() -> None:
    paths = {method.path for table in TABLES for method in table.methods()}
    assert paths == {
        f"/{service.full_name}/{method.name}"
        for service in SERVICES.values()
        for method in service.methods
    }


@pytest.mark.parametrize(
    "entry",
    [pytest.param(method, id=method.name) for table in TABLES for method in table.methods()],
)
def test_an_entry_is_the_protocols_method(
    entry: Unary[Message, Message]
    | ReplyStream[Message, Message]
    | RequestStream[Message, Message],
) -> None:
    (found,) = [
        method
        for service in SERVICES.values()
        for method in service.methods
        if entry.path == f"/{service.full_name}/{method.name}"
    ]
    assert streams(found) == (isinstance(entry, RequestStream), isinstance(entry, ReplyStream))
    sent, received = entry.codec.request.__name__, entry.codec.reply.__name__
    if entry.name == "Exchange":  # frames, whose heads are messages
        sent, received = f"{sent}Head", f"{received}Head"
    assert (sent, received) == (found.input_type.name, found.output_type.name)


def streams(method: MethodDescriptor) -> tuple[bool, bool]:
    return method.client_streaming, method.server_streaming


def test_each_call_names_the_roles_that_may_make_it() -> None:
    may = {method.name: method.roles for table in TABLES for method in table.methods()}
    assert {name for name, roles in may.items() if roles == {"chief"}} == {
        "Initialize", "Watch", "Deliver",
    }  # fmt: skip
    assert {name for name, roles in may.items() if roles == {"ps"}} == {
        "Enlist", "Commit", "Conclude",
    }  # fmt: skip
    assert {name for name, roles in may.items() if roles == {"worker", "chief"}} == {
        "Join", "Exchange", "Lookup", "Report", "Leave", "Download", "Start",
    }  # fmt: skip
    assert {name for name, roles in may.items() if len(roles) == 3} == {"Status", "Tell"}


def test_the_page_says_of_each_call_who_may_make_it() -> None:
    columns: tuple[Role, ...] = ("worker", "chief", "ps")
    rows = re.findall(r"^\| `(\w+/\w+)` \|(.*?)\|(.*?)\|(.*?)\|", PAGE, re.MULTILINE)
    told = {
        name: {role for role, cell in zip(columns, cells, strict=True) if cell.strip() == "yes"}
        for name, *cells in rows
    }
    assert told == {
        method.path.rpartition(".")[2]: method.roles
        for table in TABLES
        for method in table.methods()
    }
