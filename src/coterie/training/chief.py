"""SDT's chief: owns all data, initializes the model, sends each worker its part, evaluates."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from coterie.contract import Contract
from coterie.data.examples import Examples
from coterie.errors import CoterieError, PeerUnreachable, ProtocolError
from coterie.parameters.initial import initial_dense
from coterie.ps.core.validations import ValidationPlan
from coterie.ps.ports import DataReceiverPort
from coterie.ps.wire import ps_pb2 as pb
from coterie.runs.events import EventSink, ExamplesDelivered
from coterie.training.client import Position, ServerClient
from coterie.training.data_transfer import part_messages

_ATTEMPT_SECONDS = 1.0


def initialize(contract: Contract, session: ServerClient) -> None:
    """Gives the parameter server the model's initial dense parameters."""
    parameters = contract.model.dense_parameters(contract.data)
    session.initialize(initial_dense(contract.training.seed, parameters))


class Deliveries:
    """Sends every worker its part of the data, at first and whenever the worker starts again.

    The chief sets no time limit: the parameter server knows which nodes are missing, and for how
    long.

    Args:
        contract: Names the workers.
        examples: All training data.
        connect: Connects to a worker by name and attests it, within so many seconds.
        on_event: Receives an event for every delivery.
        monotonic: Monotonic clock, in seconds.
    """

    def __init__(
        self,
        contract: Contract,
        examples: Examples,
        connect: Callable[[str, float], DataReceiverPort],
        *,
        on_event: EventSink,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._patience = contract.limits.join_seconds
        self._workers = [worker.name for worker in contract.by_role("worker")]
        self._examples = examples
        self._connect = connect
        self._on_event = on_event
        # Guards `_ports`, so that the end of `going_on` closes each of them.
        self._lock = threading.Lock()
        self._over = False
        self._ports: dict[str, DataReceiverPort] = {}
        self._failure: CoterieError | None = None

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Delivers on its own threads while the context is open."""
        threads = [
            threading.Thread(target=self._supply, args=(index,), name=f"deliver-{worker}")
            for index, worker in enumerate(self._workers)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._over = True
                ports = list(self._ports.values())
            for port in ports:
                port.close()  # ends the thread's waiting call
            for thread in threads:
                thread.join()

    def check(self) -> None:
        """Raises the error that ended a delivery, if there is one.

        Raises:
            CoterieError: A worker does not match the contract, or refuses its part.
        """
        if self._failure is not None:
            raise self._failure

    def _supply(self, index: int) -> None:
        worker = self._workers[index]
        answered: float | None = None  # time since which a peer answers that fails attestation
        while not self._over:
            try:
                port = self._connect(worker, _ATTEMPT_SECONDS)
            except PeerUnreachable:
                continue  # the worker may start (again) with a new key: connect again
            except CoterieError as error:
                now = self._monotonic()
                answered = now if answered is None else answered
                if error.may_pass and now - answered < self._patience:
                    continue  # an attacker on the network can answer in the worker's place
                self._failure = self._failure or error
                return
            answered = None
            try:
                self._attend(port, index)
            except PeerUnreachable:
                continue
            except CoterieError as error:
                self._failure = self._failure or error
                return

    def _attend(self, port: DataReceiverPort, index: int) -> None:
        worker = self._workers[index]
        with self._lock:
            self._ports[worker] = port
        try:
            waits = False
            while not self._over:
                if not port.watch(pb.WatchRequest(wait=waits)).pending:
                    self._deliver(port, index)
                waits = True
        finally:
            with self._lock:
                del self._ports[worker]
            port.close()

    def _deliver(self, port: DataReceiverPort, index: int) -> None:
        worker = self._workers[index]
        reply = port.deliver(part_messages(self._examples, index, len(self._workers)))
        expected = len(range(index, self._examples.rows, len(self._workers)))
        if reply.examples != expected:
            raise ProtocolError(
                f"worker {worker} acknowledges another part than it was sent",
                expected=f"{expected} examples",
                seen=f"{reply.examples}",
            )
        self._on_event(ExamplesDelivered(node=worker, examples=reply.examples))


def wait_trained(
    contract: Contract, session: ServerClient, validate: Callable[[int], None]
) -> None:
    """Joins the run and waits for its last step, through restarts of the parameter server.

    Args:
        contract: What is trained.
        session: Client of the parameter server.
        validate: Validates the model after a given step.
    """

    def wait(position: Position) -> None:
        if position.finished:
            return
        lane = position.lane
        plan = ValidationPlan.of(contract, lane.steps_per_epoch)
        after = max(position.validated, position.step - 1)
        for step in plan.between(after, lane.steps):
            validate(step)
        session.pull(lane.steps, np.zeros(0, np.int32))

    session.through_restarts(wait)
