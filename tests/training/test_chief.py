"""SDT's chief keeps workers supplied: at first, when they start anew, until it leaves."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterable
from types import MethodType

import numpy as np
import pytest

from coterie.contract import Contract, parse_contract
from coterie.data.examples import Examples
from coterie.errors import (
    CoterieError,
    EvidenceRefused,
    MessageRefused,
    PeerUnreachable,
    ProtocolError,
)
from coterie.ps.caller import Caller
from coterie.ps.in_process import InProcess
from coterie.ps.methods import Unary
from coterie.ps.ports import DataReceiverPort
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.codecs import Reply, Request
from coterie.runs.events import Event, ExamplesDelivered
from coterie.training.chief import Deliveries
from coterie.training.data_transfer import DataInbox
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "examples" / "sdt.toml").read_text()
CHIEF = Caller("chief", "chief", 1)


def contract() -> Contract:
    return parse_contract(TEXT.replace("rows = 2000", "rows = 3").encode(), "small")


def shard(rows: int = 9) -> Examples:
    data = contract().data
    words = np.zeros((rows, 1 + len(data.numeric) + len(data.categorical)), "<i4")
    words[:, 1 + len(data.numeric) :] = np.array(data.column_offsets)
    words[:, 1 + len(data.numeric)] += np.arange(rows, dtype=np.int32) % 3
    return Examples(words, data)


class Worker:
    """A worker's process: an inbox, until it is killed."""

    def __init__(self) -> None:
        self.inbox = DataInbox(contract().data, max_bytes=1 << 20, poll_seconds=30)
        self.dead = threading.Event()

    def kill(self) -> None:
        self.dead.set()
        self.inbox.close()


class Line(InProcess):
    """A transport to a worker's process, while that lives."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker.inbox, CHIEF)
        self._worker = worker

    def unary(self, method: Unary[Request, Reply], request: Request) -> Reply:
        reply = super().unary(method, request)
        if self._worker.dead.is_set():
            raise PeerUnreachable("the worker is gone")
        return reply

    def close(self) -> None:
        self._worker.inbox.close()


class Scene:
    """A chief and the workers that it can reach at the moment."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.changed = threading.Condition()
        self.delivered: list[str] = []
        self.failure: CoterieError | None = None
        self.deliveries = Deliveries(contract(), shard(), self.connect, on_event=self.hear)

    def start(self, name: str) -> Worker:
        worker = Worker()
        with self.changed:
            self.workers[name] = worker
            self.changed.notify_all()
        return worker

    def connect(self, name: str, seconds: float) -> DataReceiverPort:
        with self.changed:
            if self.failure is not None:
                raise self.failure
            here = self.changed.wait_for(
                lambda: name in self.workers and not self.workers[name].dead.is_set(), seconds
            )
            if not here:
                raise PeerUnreachable(f"{name} does not answer")
            return DataReceiverPort(Line(self.workers[name]))

    def hear(self, event: Event) -> None:
        assert isinstance(event, ExamplesDelivered)
        with self.changed:
            self.delivered.append(event.node)
            self.changed.notify_all()

    def wait_delivered(self, *names: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: sorted(self.delivered) == sorted(names), 30)


def test_every_worker_gets_its_part() -> None:
    scene = Scene()
    with scene.deliveries.going_on():
        workers = [scene.start("worker0"), scene.start("worker1")]
        scene.wait_delivered("worker0", "worker1")
        for place, worker in enumerate(workers):
            part, _ = worker.inbox.wait(0)
            assert part.words.tolist() == shard().words[place::2].tolist()
        scene.deliveries.check()


def test_a_worker_that_starts_anew_gets_its_part_again() -> None:
    scene = Scene()
    with scene.deliveries.going_on():
        first = scene.start("worker0")
        scene.start("worker1")
        scene.wait_delivered("worker0", "worker1")
        first.kill()
        again = scene.start("worker0")
        scene.wait_delivered("worker0", "worker0", "worker1")
        assert again.inbox.wait(0)[0].rows == 5


def test_workers_that_never_come_do_not_keep_the_chief() -> None:
    scene = Scene()
    with scene.deliveries.going_on():
        scene.start("worker0")
        scene.wait_delivered("worker0")
        scene.deliveries.check()  # whether worker1 is missed too long is the server's to say


@pytest.mark.parametrize("refusal", [MessageRefused("too large"), CoterieError("not attested")])
def test_a_refusal_ends_the_run(refusal: CoterieError) -> None:
    scene = Scene()
    refusal.peer_proved = True
    scene.failure = refusal
    with scene.deliveries.going_on():
        pass
    with pytest.raises(type(refusal)) as raised:
        scene.deliveries.check()
    assert raised.value is refusal


def test_an_answer_in_a_workers_place_is_borne_as_long_as_nodes_are_waited_for() -> None:
    scene = Scene()
    forged: Counter[str] = Counter()

    def connect(name: str, seconds: float) -> DataReceiverPort:
        forged[name] += 1
        if forged[name] <= 3:
            raise EvidenceRefused("evidence_extension", "no evidence")
        return scene.connect(name, seconds)

    deliveries = Deliveries(
        contract(), shard(), connect, on_event=scene.hear, monotonic=lambda: 0.0
    )
    with deliveries.going_on():
        for name in ("worker0", "worker1"):
            scene.start(name)
        scene.wait_delivered("worker0", "worker1")
        deliveries.check()


def test_an_answer_without_proof_is_told_when_the_time_is_up() -> None:
    scene = Scene()
    seconds = itertools.count(0.0, contract().limits.join_seconds)
    scene.deliveries = Deliveries(
        contract(), shard(), scene.connect, on_event=scene.hear, monotonic=lambda: next(seconds)
    )
    scene.failure = EvidenceRefused("evidence_extension", "no evidence")
    with scene.deliveries.going_on():
        for thread in threading.enumerate():
            if thread.name.startswith("deliver-"):
                thread.join(30)
    with pytest.raises(EvidenceRefused) as raised:
        scene.deliveries.check()
    assert raised.value is scene.failure


def test_a_worker_that_acknowledges_another_shard_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene()
    scene.start("worker1")
    worker = scene.start("worker0")
    refused = threading.Event()

    @DataReceiverPort.deliver.serves
    def deliver(
        _inbox: DataInbox, _caller: Caller, parts: Iterable[pb.DeliverRequest]
    ) -> pb.DeliverReply:
        assert list(parts)
        refused.set()
        return pb.DeliverReply(examples=1)

    monkeypatch.setattr(worker.inbox, "deliver", MethodType(deliver, worker.inbox))
    with scene.deliveries.going_on():
        assert refused.wait(30)
    with pytest.raises(ProtocolError) as raised:
        scene.deliveries.check()
    assert raised.value.what == "worker worker0 acknowledges another part than it was sent"
    assert (raised.value.expected, raised.value.seen) == ("5 examples", "1")
