"""A node's standing with the server, against a server that follows a script."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from coterie.arrays import FloatArray
from coterie.errors import (
    CoterieError,
    MessageRefused,
    NodeMissing,
    PeerUnreachable,
    ProtocolError,
    RollbackRefused,
    StepRefused,
)
from coterie.plane.choice import computing_with
from coterie.plane.packing import pack_differences
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.schedule import Lane
from coterie.ps.methods import Unary
from coterie.ps.ports import ParameterServerPort
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.codecs import Reply, Request
from coterie.ps.wire.frames import ExchangeReply, ExchangeRequest, Push
from coterie.training.client import Position, ServerClient
from coterie.training.reconnect_budget import MAX_FAILURES
from tests.plane.ways import PackingNumpy
from tests.ps.conftest import Clock, small_contract
from tests.ps.transports import NoTransport

Answer = (
    pb.JoinReply | ExchangeReply | pb.ReportReply | pb.LookupReply | pb.LeaveReply | CoterieError
)
NO_IDS = np.zeros(0, np.int32)
RUN = "5e" * 32
JOIN_SECONDS = small_contract().limits.join_seconds


class ScriptedServer(NoTransport):
    """A transport that answers calls one after the other as its script says, and keeps what it was asked."""

    def __init__(self, *script: Answer) -> None:
        self._script: Iterator[Answer] = iter(script)
        self.asked: list[object] = []
        self.closed = 0

    def _next(self, request: object) -> Answer:
        self.asked.append(request)
        answer = next(self._script)
        if isinstance(answer, CoterieError):
            raise answer
        return answer

    def unary(self, method: Unary[Request, Reply], request: Request) -> Reply:
        answer: object
        if method.path == ParameterServerPort.initialize.path:
            self.asked.append(request)
            answer = pb.InitializeReply()
        else:
            answer = self._next(request)
        assert isinstance(answer, method.codec.reply)
        return answer

    def close(self) -> None:
        self.closed += 1


def joined(step: int = 0, steps: int = 4, durable: pb.Checkpoint | None = None) -> pb.JoinReply:
    return pb.JoinReply(
        ps_incarnation=9,
        step=step,
        steps=steps,
        steps_per_epoch=steps,
        shards=1,
        lineage=lineage(durable),
    )


def lineage(durable: pb.Checkpoint | None = None, run: str = RUN) -> pb.Lineage:
    return pb.Lineage(run_id=run, durable=durable)


def checkpoint(step: int, content: int = 1) -> pb.Checkpoint:
    return pb.Checkpoint(step=step, digest=bytes([content]) * 32)


def after(step: int, rows: int = 0, durable: pb.Checkpoint | None = None) -> ExchangeReply:
    return ExchangeReply(
        step=step,
        dense_parameters=np.arange(3, dtype="<f4").tobytes(),
        rows=np.arange(2 * rows, dtype="<f4").tobytes(),
        durable=durable,
    )


def session_with(
    server: ScriptedServer,
    connect: Callable[[], ScriptedServer] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> ServerClient:
    dial = connect or (lambda: server)
    return ServerClient(
        lambda _: ParameterServerPort(dial()),
        small_contract(),
        train_examples=10,
        data_set_digest=bytes(32),
        monotonic=monotonic,
    )


GRADIENTS = Gradients(
    4, 2.5, np.ones(3, np.float32), np.array([1, 6], np.int32), np.ones((2, 2), np.float32)
)


def test_joining_says_what_the_node_trains_on_and_learns_where_the_run_stands() -> None:
    server = ScriptedServer(pb.JoinReply(pending=True), pb.JoinReply(pending=True), joined(2))
    position = session_with(server).join()
    request = pb.JoinRequest(train_examples=10, data_set_digest=bytes(32))
    assert server.asked == [request] * 3
    assert position.step == 2
    assert position.lane == Lane(examples=10, turns=3, steps_per_epoch=4, steps=4)


def test_a_push_is_repeated_as_it_is_until_its_step_is_done() -> None:
    pending = ExchangeReply(0, pending=True)
    server = ScriptedServer(joined(), pending, pending, after(1, rows=3))
    session = session_with(server)
    session.join()
    parameters = session.push(0, GRADIENTS, np.array([0, 2, 5], np.int32))
    push = Push(
        4,
        2.5,
        np.ones(3, "<f4").tobytes(),
        np.array([1, 6], "<i4").tobytes(),
        np.ones(4, "<f4").tobytes(),
    )
    expected = ExchangeRequest(9, 0, push, np.array([0, 2, 5], "<i4").tobytes()).encode()
    asked = [r.encode() for r in server.asked[1:] if isinstance(r, ExchangeRequest)]
    assert asked == [expected] * 3
    assert parameters.step == 1
    assert parameters.dense_p.tolist() == [0, 1, 2]
    assert parameters.rows_ud.tolist() == [[0, 1], [2, 3], [4, 5]]


OLD = np.arange(40, dtype=np.float32) + 1
NEW = np.nextafter(OLD, np.float32(0))


def packed(step: int, old: FloatArray, new: FloatArray) -> ExchangeReply:
    with computing_with(PackingNumpy()):
        octets = pack_differences(old, new)
    assert octets is not None
    return ExchangeReply(step=step, dense_parameters=octets, differences=True)


def whole(step: int, dense: FloatArray) -> ExchangeReply:
    return ExchangeReply(step=step, dense_parameters=dense.tobytes())


def test_differences_are_from_the_parameters_that_the_node_said_it_holds() -> None:
    server = ScriptedServer(joined(), whole(0, OLD), packed(1, OLD, NEW), packed(2, NEW, OLD))
    session = session_with(server)
    session.join()
    session.pull(0, NO_IDS)
    first, second = (session.push(step, GRADIENTS, NO_IDS) for step in (0, 1))
    asked = [r.held_step for r in server.asked if isinstance(r, ExchangeRequest)]
    assert asked == [None, 0, 1]
    pulled = [np.concatenate((one.dense_p, one.sums_s)) for one in (first, second)]
    np.testing.assert_array_equal(pulled, [NEW, OLD])


def test_after_a_join_the_node_holds_nothing() -> None:
    """The server may have begun again from a checkpoint, whose step has other parameters."""
    server = ScriptedServer(joined(), whole(0, OLD), joined(), packed(1, OLD, NEW))
    session = session_with(server)
    session.join()
    session.pull(0, NO_IDS)
    session.join()
    with pytest.raises(ProtocolError, match="since none are held"):
        session.push(0, GRADIENTS, NO_IDS)
    last = server.asked[-1]
    assert isinstance(last, ExchangeRequest)
    assert last.held_step is None


def test_differences_that_are_none_are_refused() -> None:
    wrong = ExchangeReply(step=1, dense_parameters=bytes(9), differences=True)
    session = session_with(ScriptedServer(joined(), whole(0, OLD), wrong))
    session.join()
    session.pull(0, NO_IDS)
    with pytest.raises(ProtocolError, match="dense_parameters is out of bounds"):
        session.push(0, GRADIENTS, NO_IDS)


def test_a_pull_has_no_push() -> None:
    server = ScriptedServer(joined(), after(0, rows=1))
    session = session_with(server)
    session.join()
    session.pull(0, np.array([7], np.int32))
    request = server.asked[1]
    assert isinstance(request, ExchangeRequest)
    assert request.push is None


@pytest.mark.parametrize("octets", [b"", bytes(15), bytes(24)])
def test_rows_of_a_wrong_size_are_refused(octets: bytes) -> None:
    server = ScriptedServer(joined(), ExchangeReply(0, rows=octets, dense_parameters=bytes(12)))
    session = session_with(server)
    session.join()
    with pytest.raises(ProtocolError) as refused:
        session.pull(0, np.array([0, 1], np.int32))
    assert refused.value.expected == "2 rows of 2 float32 values"
    assert refused.value.seen == f"{len(octets)} bytes"


def test_the_chief_sends_little_endian_float32() -> None:
    server = ScriptedServer(joined())
    session = session_with(server)
    session.initialize(np.array([1.5, -2], np.float32))
    session.join()
    dense = np.array([1.5, -2], "<f4").tobytes()
    assert server.asked[0] == pb.InitializeRequest(dense_parameters=dense)


def test_lookups_name_the_servers_incarnation() -> None:
    reply = pb.LookupReply(rows=np.arange(2, dtype="<f4").tobytes(), trained=b"\1")
    server = ScriptedServer(joined(), reply, pb.LookupReply(dense_parameters=bytes(12)))
    session = session_with(server)
    session.join()
    rows_ud, trained_u = session.lookup(np.array([3], np.int32))
    assert (rows_ud.tolist(), trained_u.tolist()) == ([[0, 1]], [True])
    assert session.dense().tolist() == [0, 0, 0]
    ids = np.array([3], "<i4").tobytes()
    assert server.asked[1:] == [
        pb.LookupRequest(ps_incarnation=9, row_ids=ids),
        pb.LookupRequest(ps_incarnation=9, dense=True),
    ]


# --- rollback ----------------------------------------------------------------------------------


def test_a_server_behind_what_it_announced_in_a_reply_is_refused() -> None:
    server = ScriptedServer(joined(), after(0, durable=checkpoint(3)), joined(2))
    session = session_with(server)
    session.join()
    session.pull(0, NO_IDS)
    with pytest.raises(RollbackRefused) as refused:
        session.join()
    assert refused.value.expected == (
        f"run {RUN}, step 3 (SHA-256 {'01' * 32}), or what came of it"
    )
    assert refused.value.seen == f"run {RUN} from its beginning"
    assert refused.value.remedy
    request = server.asked[-1]
    assert isinstance(request, pb.JoinRequest)
    assert request.remembered == pb.Remembered(run_id=RUN, checkpoint=checkpoint(3))


def test_a_server_behind_what_it_announced_on_joining_is_refused() -> None:
    session = session_with(ScriptedServer(joined(5, durable=checkpoint(5)), joined(4)))
    session.join()
    with pytest.raises(RollbackRefused):
        session.join()


def test_a_server_that_lost_only_what_it_never_announced_is_followed() -> None:
    server = ScriptedServer(
        joined(), after(3, durable=checkpoint(2)), joined(2, durable=checkpoint(2))
    )
    session = session_with(server)
    session.join()
    session.pull(0, NO_IDS)
    assert session.join().step == 2


def test_the_newest_announcement_is_remembered() -> None:
    replies = [after(0, durable=checkpoint(step)) for step in (1, 4, 2)]
    session = session_with(ScriptedServer(joined(), *replies, joined(3)))
    session.join()
    for _ in replies:
        session.pull(0, NO_IDS)
    with pytest.raises(RollbackRefused, match="older checkpoint"):
        session.join()


@pytest.mark.parametrize("finished", [False, True], ids=["going on", "finished"])
def test_a_server_that_goes_on_with_another_run_is_refused_however_far_it_is(
    finished: bool,
) -> None:
    other = joined(4, durable=checkpoint(4))
    other.lineage.run_id = "0b" * 32
    other.lineage.passed.append(checkpoint(3))
    other.finished = finished
    session = session_with(ScriptedServer(joined(3, durable=checkpoint(3)), other))
    session.join()
    with pytest.raises(RollbackRefused, match="goes on with another run") as refused:
        session.join()
    assert refused.value.expected.startswith(f"run {RUN}, step 3 (SHA-256 {'01' * 32})")
    assert refused.value.seen == f"run {'0b' * 32}, step 4 (SHA-256 {'01' * 32})"


@pytest.mark.parametrize("passed", [[], [checkpoint(3, 2)]], ids=["none", "another"])
def test_a_server_that_came_by_another_way_is_refused_though_it_is_further(
    passed: list[pb.Checkpoint],
) -> None:
    fork = joined(4, durable=checkpoint(4))
    fork.lineage.passed.extend(passed)
    session = session_with(ScriptedServer(joined(3, durable=checkpoint(3)), fork))
    session.join()
    with pytest.raises(RollbackRefused, match=r"older checkpoint .* or from another one"):
        session.join()


def test_a_server_that_came_through_what_is_remembered_is_followed() -> None:
    further = joined(4, durable=checkpoint(4))
    further.lineage.passed.extend([checkpoint(2), checkpoint(3)])
    session = session_with(ScriptedServer(joined(3, durable=checkpoint(3)), further))
    session.join()
    assert session.join().step == 4


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (pb.Lineage(), "run_id is out of bounds"),
        (pb.Lineage(run_id=RUN + "\n"), "run_id is out of bounds"),
        (pb.Lineage(run_id=RUN, passed=[checkpoint(1)] * 129), "passed is out of bounds"),
        (
            pb.Lineage(run_id=RUN, consents=[pb.RollbackConsent()] * 17),
            "consents is out of bounds",
        ),
        (pb.Lineage(run_id=RUN, durable=pb.Checkpoint(step=1)), "checkpoint.digest is out"),
    ],
    ids=["no run", "no name", "too many checkpoints", "too many consents", "no digest"],
)
def test_a_lineage_out_of_bounds_is_refused(wrong: pb.Lineage, what: str) -> None:
    reply = joined()
    reply.lineage.CopyFrom(wrong)
    with pytest.raises(MessageRefused, match=what):
        session_with(ScriptedServer(reply)).join()


# --- restarts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PeerUnreachable, StepRefused])
def test_a_node_joins_again_where_the_run_stands(kind: type[CoterieError]) -> None:
    servers = [ScriptedServer(joined(0)), ScriptedServer(joined(2))]
    connections = iter(servers)
    session = session_with(servers[0], lambda: next(connections))
    positions: list[int] = []

    def act(position: Position) -> str:
        positions.append(position.step)
        if position.step == 0:
            raise kind("the server went away")
        return "done"

    assert session.through_restarts(act) == "done"
    assert positions == [0, 2]


def test_a_server_that_goes_away_during_a_join_is_waited_for() -> None:
    session = session_with(ScriptedServer(PeerUnreachable("restarting"), joined(4)))
    assert session.through_restarts(lambda position: position.step) == 4


def test_after_the_last_step_the_server_may_be_gone() -> None:
    session = session_with(ScriptedServer(joined(), after(4), PeerUnreachable("ps0 has ended")))
    parameters = session.through_restarts(lambda _: session.pull(4, NO_IDS))
    assert parameters.step == 4


def test_a_node_that_comes_nowhere_gives_up() -> None:
    server = ScriptedServer(*[joined(1)] * 40)
    with pytest.raises(StepRefused, match="thrown out"):
        session_with(server).through_restarts(refuse(StepRefused("thrown out")))
    assert len(server.asked) == MAX_FAILURES


def test_a_server_that_stays_away_is_given_up() -> None:
    server = ScriptedServer(*[PeerUnreachable("away")] * 40)
    with pytest.raises(PeerUnreachable, match="away"):
        session_with(server).through_restarts(refuse(StepRefused("never reached")))
    assert len(server.asked) == MAX_FAILURES


def test_a_server_that_cannot_be_dialled_for_as_long_as_the_contract_waits_is_given_up() -> None:
    clock = Clock()
    server = ScriptedServer(joined(1), PeerUnreachable("went away"))
    dials = 0

    def dial() -> ScriptedServer:
        nonlocal dials
        dials += 1
        if dials == 1:
            clock.now += 5 * JOIN_SECONDS  # of training
            return server
        clock.now += JOIN_SECONDS
        raise PeerUnreachable("cannot be dialled")

    session = session_with(server, dial, clock)
    with pytest.raises(PeerUnreachable, match="cannot be dialled"):
        session.through_restarts(lambda _: session.pull(2, NO_IDS))
    assert dials == 2


def test_dialling_ahead_spends_the_patience_that_there_is() -> None:
    dials: list[str] = []

    def dial() -> ScriptedServer:
        dials.append(threading.current_thread().name)
        raise PeerUnreachable("cannot be dialled")

    session = session_with(ScriptedServer(), dial)
    session.dial_ahead()
    with pytest.raises(PeerUnreachable, match="cannot be dialled"):
        session.through_restarts(refuse(StepRefused("never reached")))
    assert dials == ["dialling"]
    session.close()


def test_what_was_dialled_ahead_is_used() -> None:
    server = ScriptedServer(joined(1))
    dials: list[None] = []

    def dial() -> ScriptedServer:
        dials.append(None)
        return server

    session = session_with(server, dial)
    session.dial_ahead()
    assert session.through_restarts(lambda position: position.step) == 1
    assert len(dials) == 1


def test_a_server_that_says_that_the_run_has_ended_is_believed() -> None:
    server = ScriptedServer(joined(1), NodeMissing("the run waits in vain for w1"))
    session = session_with(server)
    with pytest.raises(NodeMissing, match="w1"):
        session.through_restarts(lambda _: session.pull(2, NO_IDS))


def test_a_node_that_makes_progress_never_gives_up() -> None:
    steps = [step // 3 for step in range(60)]
    session = session_with(ScriptedServer(*[joined(step, steps=20) for step in steps], joined(20)))

    def act(position: Position) -> int:
        if position.step < 20:
            raise PeerUnreachable("away again")
        return position.step

    assert session.through_restarts(act) == 20


def test_other_errors_end_the_run_at_once() -> None:
    server = ScriptedServer(*[joined()] * 5)
    with pytest.raises(MessageRefused, match="nonsense"):
        session_with(server).through_restarts(refuse(MessageRefused("nonsense")))
    assert len(server.asked) == 1


def refuse(error: CoterieError) -> Callable[[Position], None]:
    def act(_position: Position) -> None:
        raise error

    return act


def test_the_chief_gives_a_new_server_the_same_initial_parameters() -> None:
    server = ScriptedServer(PeerUnreachable("restarting"), joined())
    session = session_with(server)
    session.initialize(np.ones(3, np.float32))
    session.through_restarts(lambda _: None)
    given = [request for request in server.asked if isinstance(request, pb.InitializeRequest)]
    assert given == [pb.InitializeRequest(dense_parameters=np.ones(3, "<f4").tobytes())] * 2


# --- leaving -----------------------------------------------------------------------------------


def test_leaving_is_repeated_through_a_restart() -> None:
    server = ScriptedServer(joined(4), PeerUnreachable("restarting"), pb.LeaveReply())
    session = session_with(server)
    session.join()
    session.leave()
    assert server.asked[1:] == [pb.LeaveRequest(ps_incarnation=9)] * 2


def test_a_server_that_is_gone_for_good_needs_no_leave() -> None:
    server = ScriptedServer(joined(4), PeerUnreachable("gone"))
    dialled: list[ScriptedServer] = []

    def connect() -> ScriptedServer:
        if dialled:
            raise PeerUnreachable("gone")
        dialled.append(server)
        return server

    session = session_with(server, connect)
    session.join()
    session.leave()
    assert len(server.asked) == 2


def test_a_run_that_is_over_needs_nothing_but_a_leave() -> None:
    over = pb.JoinReply(step=4, steps=4, steps_per_epoch=4, finished=True, lineage=lineage())
    session = session_with(ScriptedServer(over))
    assert session.join().finished


# --- further -----------------------------------------------------------------------------------


# the digest is remembered but never compared: a fork of the same step is taken.
def test_another_checkpoint_of_the_remembered_step_is_refused() -> None:
    server = ScriptedServer(joined(3, durable=checkpoint(3)), joined(3, durable=checkpoint(3, 2)))
    session = session_with(server)
    session.join()
    with pytest.raises(RollbackRefused):
        session.join()


# dialling anew lies outside of the try: a server that is away twice ends the node.
def test_a_server_that_goes_away_again_while_it_is_dialled_is_waited_for() -> None:
    server = ScriptedServer(PeerUnreachable("restarting"), joined(4))
    dialled: list[ScriptedServer] = []

    def connect() -> ScriptedServer:
        dialled.append(server)
        if len(dialled) == 2:
            raise PeerUnreachable("restarting still")
        return server

    session = session_with(server, connect)
    assert session.through_restarts(lambda position: position.step) == 4


# NumPy's ValueError comes through.
def test_dense_parameters_of_a_wrong_size_are_refused() -> None:
    reply = ExchangeReply(0, dense_parameters=bytes(13))
    session = session_with(ScriptedServer(joined(), reply))
    session.join()
    with pytest.raises(ProtocolError):
        session.pull(0, NO_IDS)
