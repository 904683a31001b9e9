"""A shard's side of a start: receives the sender's files, checks them, and keeps its own rows.

    offered, and this incarnation of the server needs no start (any more) -> answered at once
    offered while the state is being restored                      -> pending: offer it again
    else: what an earlier offer left is forgotten; the files are read piece by piece into the state,
    which is not used before every digest was checked; then the shard can begin

A run that goes back to its beginning asks for all of it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from coterie.arrays import FloatArray, IdArray
from coterie.contract import Contract, StartSection
from coterie.errors import CallRefused, MessageRefused, StepRefused
from coterie.ps.caller import Caller
from coterie.ps.core.procedures import Steps, until
from coterie.ps.core.run import Run
from coterie.ps.driver import Driver
from coterie.ps.warm_start.files import finish_model, finish_state, open_model, open_state
from coterie.ps.warm_start.mapping import StartMapping, check_optimizers
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import PART_BYTES
from coterie.runs import events
from coterie.trained.model_stream import Octets, Rows

_out_of_order = partial(
    MessageRefused, "the start was offered out of order", seen="another message"
)


class StartInbox:
    """Receives a start, once for each incarnation of a shard.

    Args:
        driver: The shard.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._core = driver.core
        self._turn = 0

    def take(self, caller: Caller, parts: Iterator[pb.StartPart]) -> pb.StartReply:
        """Receives the files, if they are needed.

        Raises:
            CallRefused: The contract names another sender, or no start.
            StartRefused: They are not the files that the contract names, or do not fit it.
            ModelDamaged: One of them is cut or altered.
            MessageRefused: They come in another order, or in too large parts.
            StepRefused: The sender offered them again meanwhile, or the server lost its state.
        """
        core = self._core
        start = _expected(core.contract, caller)
        offered = _Parts(parts)
        answer = self._driver.call(self._offered(caller, offered.incarnation), caller.node)
        if isinstance(answer, pb.StartReply):
            return answer
        turn = answer
        offered.heard = turn.go_on
        _fill(turn, start, offered, f"that {caller.node} gives")

        def finish() -> None:
            turn.run.initialized = True
            if core.place.leads:
                core.tell(
                    events.StartTaken(
                        caller.node,
                        start.model,
                        start.step,
                        start.optimizer_state or "",
                        start.changes,
                    )
                )
            turn.run.begin_if_complete()
            core.notify()

        turn.go_on(finish)
        return pb.StartReply(ps_incarnation=turn.run.incarnation)

    def _offered(self, caller: Caller, incarnation: int) -> Steps[_Turn | pb.StartReply]:
        """Answers an offer, or begins to receive it."""
        core = self._core
        core.raise_failure()
        core.membership.check_incarnation(caller)
        if not (yield from until(lambda: self._over or self._reached(incarnation))):
            return pb.StartReply(pending=True)
        run = core.run
        if self._over or run is None or run.initialized:
            return pb.StartReply(ps_incarnation=run.incarnation if run is not None else 0)
        if incarnation not in {0, run.incarnation}:
            raise _overtaken()
        self._turn = number = self._turn + 1
        run.state.table.forget()
        return _Turn(self._driver, run, caller.node, lambda: self._turn == number)

    def _reached(self, incarnation: int) -> bool:
        """Whether the shard has come to an incarnation of the server."""
        run = self._core.run
        return run is not None and run.incarnation >= incarnation

    @property
    def _over(self) -> bool:
        return self._driver.calls.over


@dataclass(frozen=True)
class _Turn:
    """One offer that is being received, while it is the newest in an incarnation of the shard."""

    driver: Driver
    run: Run
    giver: str
    is_newest: Callable[[], bool]

    @property
    def leads(self) -> bool:
        """Whether this is shard 0."""
        return self.driver.core.place.leads

    def go_on(self, work: Callable[[], None] = lambda: None) -> None:
        """Handles a received part.

        Raises:
            StepRefused: The offer was overtaken.
        """
        self.driver.now(lambda: self._go_on(work), self.giver)

    def _go_on(self, work: Callable[[], None]) -> None:
        core = self.driver.core
        core.raise_failure()
        if core.run is not self.run or not self.is_newest():
            raise _overtaken()
        self.run.progress_at = core.now  # waiting nodes see progress
        work()


class _Parts:
    """The parts of an offer, file by file.

    Attributes:
        incarnation: Incarnation of the server that it is for; 0 for any.
        heard: Called for every part.
    """

    def __init__(self, parts: Iterator[pb.StartPart]) -> None:
        self._parts = iter(parts)
        self._held: pb.StartPart | None = None
        first = next(self._parts, None)
        if first is None or first.WhichOneof("part") != "offer":
            raise _out_of_order(expected="an offer first")
        self.incarnation: int = first.offer.ps_incarnation
        self.heard: Callable[[], None] = lambda: None

    def model(self) -> Iterator[bytes]:
        """The pieces of the model's file."""
        while (part := self._next("model")) is not None:
            yield part.model

    def optimizer_state(self) -> Iterator[bytes]:
        """The pieces of the optimizer state's file."""
        while (part := self._next("optimizer_state")) is not None:
            yield part.optimizer_state

    def end(self) -> None:
        """Checks that nothing follows."""
        if self._held is not None or next(self._parts, None) is not None:
            raise _out_of_order(expected="nothing after the files")

    def _next(self, kind: str) -> pb.StartPart | None:
        part = self._held if self._held is not None else next(self._parts, None)
        self._held = None
        if part is None:
            return None
        self.heard()
        found = part.WhichOneof("part")
        if found != kind:
            if found not in {"model", "optimizer_state"}:
                raise _out_of_order(expected="the pieces of one file after the other")
            self._held = part
            return None
        if max(len(part.model), len(part.optimizer_state)) > PART_BYTES:
            raise _out_of_order(expected=f"parts of at most {PART_BYTES} bytes")
        return part


def _fill(turn: _Turn, start: StartSection, parts: _Parts, whose: str) -> None:
    """Reads both files into a turn's state."""
    contract, state = turn.driver.core.contract, turn.run.state
    model = open_model(Octets(parts.model(), f"the model {whose}"), start)
    mapping = StartMapping(model.contract, contract)

    def fill_dense() -> None:
        state.dense[mapping.dense] = model.dense_p

    if turn.leads:
        turn.go_on(fill_dense)
    _fill_rows(turn, mapping, model.rows, state.table.begin_with)
    finish_model(model, start)
    if start.state_digest is not None:
        check_optimizers(model.contract, contract)
        octets = Octets(parts.optimizer_state(), f"the optimizer state {whose}")
        kept = open_state(octets, model.contract, start)
        if turn.leads:
            turn.go_on(lambda: _fill_dense(state.optimizer.state, kept.dense_state, mapping))
        _fill_rows(turn, mapping, kept.rows, state.table.begin_with_state)
        finish_state(kept, start)
    parts.end()


def _fill_dense(state: FloatArray, kept: FloatArray, mapping: StartMapping) -> None:
    """One or two scalars for each parameter; only sums of kernels' rows and columns are fewer.

    They are only kept where no parameter is new (``contract.start.check_start``).
    """
    if state.size == kept.size:
        state[:] = kept
        return
    moments = kept.reshape(-1, mapping.dense.size)
    state.reshape(len(moments), -1)[:, mapping.dense] = moments


def _fill_rows(
    turn: _Turn, mapping: StartMapping, rows: Rows, keep: Callable[[IdArray, FloatArray], None]
) -> None:
    table = turn.run.state.table
    for old, values in rows.pieces():
        for new, source in mapping.rows(old):
            own = table.owns(new)
            turn.go_on(partial(keep, new[own], values[source[own]]))


def _expected(contract: Contract, caller: Caller) -> StartSection:
    giver = contract.start_giver()
    if contract.start is None or giver is None or caller.node != giver.name:
        raise CallRefused(
            f"node {caller.node} does not give the model that the run starts from",
            expected=f"a call by {giver.name}" if giver else "no call: the contract has no start",
            seen=caller.node,
            remedy="start.party of the contract says which party gives it, by its chief or its first "
            "worker",
        )
    return contract.start


def _overtaken() -> StepRefused:
    return StepRefused(
        "the start was offered again, or the server restarted",
        expected="the newest offer, to this incarnation of the server",
        seen="an older one",
    )
