"""A shard's side of a start: it takes the giver's files in, checks them, and keeps its own rows.

    offered, and this life of the server needs no start (any more) -> answered at once
    offered while the state is being restored                      -> pending: offer it again
    else: what an earlier offer left is forgotten; the files are read piece by piece into the state,
    which nobody sees before every digest has been checked; then the shard can begin

A run that goes back to its beginning asks for all of it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from coterie.arrays import FloatArray, IdArray
from coterie.contract import Contract, StartSection
from coterie.errors import CallRefused, MessageRefused, StepRefused
from coterie.parameters.model_stream import Octets, Rows
from coterie.ps.caller import Caller
from coterie.ps.run import Run
from coterie.ps.shard import Shard
from coterie.ps.start.files import finish_model, finish_state, open_model, open_state
from coterie.ps.start.mapping import StartMapping, check_optimizers
from coterie.ps.wire import ps_pb2 as pb
from coterie.ps.wire.bounds import PART_BYTES
from coterie.runs import events


class StartInbox:
    """Takes a start, once for each life of a shard.

    Args:
        shard: The shard.
        is_over: Whether the run's outcome is made; called with the shard's lock held.
    """

    def __init__(self, shard: Shard, is_over: Callable[[], bool]) -> None:
        self._shard = shard
        self._is_over = is_over
        self._turn = 0

    def take(self, caller: Caller, parts: Iterator[pb.StartPart]) -> pb.StartReply:
        """Takes the files, if they are needed.

        Raises:
            CallRefused: The contract names another giver, or no start.
            StartRefused: They are not those that the contract names, or do not fit it.
            ModelDamaged: One of them is cut or altered.
            MessageRefused: They come in another order, or in too large parts.
            StepRefused: The giver offered them anew meanwhile, or the server lost its state.
        """
        shard = self._shard
        start = _expected(shard.contract, caller)
        offered = _Parts(parts)
        with shard.changed:
            shard.locked_raise_failure()
            shard.membership.check_incarnation(caller)
            if not shard.locked_wait(lambda: self._over or self._lives(offered.life)):
                return pb.StartReply(pending=True)
            run = shard.run
            if self._over or run is None or run.initialized:
                return pb.StartReply(ps_incarnation=run.incarnation if run is not None else 0)
            if offered.life not in {0, run.incarnation}:
                raise _overtaken()
            self._turn = number = self._turn + 1
            run.state.table.forget()
        turn = _Turn(shard, run, lambda: self._turn == number)
        offered.heard = turn.go_on
        _fill(turn, start, offered, f"that {caller.node} gives")
        with turn.going_on():
            run.initialized = True
            if shard.place.leads:
                shard.on_event(
                    events.StartTaken(
                        caller.node,
                        start.model,
                        start.step,
                        start.optimizer_state or "",
                        start.changes,
                    )
                )
            run.begin_if_complete()
            shard.changed.notify_all()
        return pb.StartReply(ps_incarnation=run.incarnation)

    def _lives(self, life: int) -> bool:
        """Whether the shard has come to a life of the server."""
        run = self._shard.run
        return run is not None and run.incarnation >= life

    @property
    def _over(self) -> bool:
        return self._shard.concluded or self._is_over()


@dataclass(frozen=True)
class _Turn:
    """One offer that is being taken, as long as it is the newest in a life of the shard."""

    shard: Shard
    run: Run
    is_newest: Callable[[], bool]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Holds the shard's lock for a moment.

        Raises:
            StepRefused: The offer was overtaken.
        """
        shard = self.shard
        with shard.changed:
            shard.locked_raise_failure()
            if shard.run is not self.run or not self.is_newest():
                raise _overtaken()
            self.run.progress_at = shard.monotonic()  # whoever waits sees that the run goes on
            yield

    def go_on(self) -> None:
        """Takes note that something came.

        Raises:
            StepRefused: The offer was overtaken.
        """
        with self.going_on():
            pass


class _Parts:
    """The parts of an offer, file by file.

    Attributes:
        life: Incarnation of the server that it is for; 0 for any.
        heard: Called for every part.
    """

    def __init__(self, parts: Iterator[pb.StartPart]) -> None:
        self._parts = iter(parts)
        self._held: pb.StartPart | None = None
        first = next(self._parts, None)
        if first is None or first.WhichOneof("part") != "offer":
            raise _out_of_order("an offer first")
        self.life: int = first.offer.ps_incarnation
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
        """Nothing may follow."""
        if self._held is not None or next(self._parts, None) is not None:
            raise _out_of_order("nothing after the files")

    def _next(self, kind: str) -> pb.StartPart | None:
        part = self._held if self._held is not None else next(self._parts, None)
        self._held = None
        if part is None:
            return None
        self.heard()
        found = part.WhichOneof("part")
        if found != kind:
            if found not in {"model", "optimizer_state"}:
                raise _out_of_order("the pieces of one file after the other")
            self._held = part
            return None
        if max(len(part.model), len(part.optimizer_state)) > PART_BYTES:
            raise _out_of_order(f"parts of at most {PART_BYTES} bytes")
        return part


def _fill(turn: _Turn, start: StartSection, parts: _Parts, whose: str) -> None:
    """Reads both files into the state of a turn."""
    contract, state = turn.shard.contract, turn.run.state
    model = open_model(Octets(parts.model(), f"the model {whose}"), start)
    mapping = StartMapping(model.contract, contract)
    if turn.shard.place.leads:
        with turn.going_on():
            state.dense[mapping.dense] = model.dense_p
    _fill_rows(turn, mapping, model.rows, state.table.begin_with)
    finish_model(model, start)
    if start.state_digest is not None:
        check_optimizers(model.contract, contract)
        octets = Octets(parts.optimizer_state(), f"the optimizer state {whose}")
        kept = open_state(octets, model.contract, start)
        if turn.shard.place.leads:
            with turn.going_on():
                _fill_dense(state.optimizer.state, kept.dense_state, mapping)
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
            with turn.going_on():
                keep(new[own], values[source[own]])


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
        "the start was offered anew, or the server began anew",
        expected="the newest offer, to this life of the server",
        seen="an older one",
        remedy="join again",
    )


def _out_of_order(expected: str) -> MessageRefused:
    return MessageRefused(
        "the start was offered out of order",
        expected=expected,
        seen="another message",
        remedy="run the same version of Coterie on all nodes",
    )
