"""A model of one number that depends on every push that was ever applied, and on their order and weights.

It stands where ``ModelState`` does, so that a step costs microseconds: the simulation is about when what
is applied, not about arithmetic. It keeps the list of what was applied, for invariants to read.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from coterie.arrays import FloatArray, IdArray
from coterie.parameters.sharding import SLICES
from coterie.ps.core.aggregation import Gradients
from coterie.ps.core.state import ModelState, Snapshot
from coterie.ps.core.table import RowTable
from coterie.ps.wire.frames import Push
from coterie.runs.events import ServerTimes

_PUSH = struct.Struct("<QII")
_VALUE = struct.Struct("<Q")
_NO_FLOATS: FloatArray = np.zeros(0, np.float32)
_NO_IDS: IdArray = np.zeros(0, np.int32)
_NOTHING: AbstractContextManager[None] = nullcontext()
_PRIME = (1 << 61) - 1
VALUE_AT_START = 1


def mixed(*numbers: int) -> int:
    """A number that depends on all of these and their order."""
    value = 7
    for number in numbers:
        value = (value * 1_000_003 + number + 1) % _PRIME
    return value


@dataclass(frozen=True)
class Applied:
    """A step as one shard applied it, and the steps before.

    Attributes:
        step: The step.
        pushes: Worker, the step that it was computed for, and its gradient, in the order of application.
        weights: Of these.
        before: The step before; None at the beginning.
    """

    step: int
    pushes: tuple[tuple[int, int, int], ...]
    weights: tuple[float, ...]
    before: Applied | None

    @property
    def workers(self) -> tuple[int, ...]:
        """Whose pushes were applied."""
        return tuple(worker for worker, _, _ in self.pushes)

    def all(self) -> Iterator[Applied]:
        """This step and those before, newest first."""
        one: Applied | None = self
        while one is not None:
            yield one
            one = one.before


class TinyGradients(Gradients):
    """A push as the core has it."""

    __slots__ = ("worker_step_value",)
    worker_step_value: tuple[int, int, int]

    def __init__(self, worker_step_value: tuple[int, int, int], examples: int) -> None:
        put = object.__setattr__
        put(self, "worker_step_value", worker_step_value)
        put(self, "examples", examples)
        put(self, "loss_sum", 0.0)
        put(self, "correct", 0)


def push_of(worker: int, step: int, value: int, examples: int) -> Push:
    """A push as it travels."""
    return Push(examples, 0.0, _PUSH.pack(value, worker, step), b"", b"")


def decoded(push: Push, examples: int, _flush: bool) -> Gradients:  # noqa: FBT001
    """A push as the core has it."""
    value, worker, step = _PUSH.unpack(push.dense_gradient)
    return TinyGradients((worker, step, value), examples)


def value_from(octets: bytes | memoryview) -> int:
    """The number in a reply."""
    (value,) = _VALUE.unpack(octets)
    return int(value)


class _TinyTable(RowTable):
    """No rows."""

    dim = 1
    state_width = 0

    def __init__(self) -> None:
        pass

    def read_for_training(self, _rows: IdArray) -> FloatArray:
        """None."""
        return _NO_FLOATS

    def trained_rows(self) -> IdArray:
        """None."""
        return _NO_IDS


@dataclass(frozen=True, eq=False)
class TinySnapshot(Snapshot):
    """What a checkpoint holds.

    Attributes:
        value: The number.
        applied: What it is made of.
    """

    value: int = VALUE_AT_START
    applied: Applied | None = None


class TinyState(ModelState):
    """The number.

    Args:
        shard: Which shard's.
        shards: Of how many.

    Attributes:
        value: The number: of all shards the same, as long as they apply the same.
        applied: The newest step.
    """

    updates = property(lambda self: self.step)

    def __init__(self, shard: int, shards: int) -> None:
        self._place = (shard, shards)
        self.step = 0
        self.epoch_loss = 0.0
        self.epoch_examples = 0
        self.dense = _NO_FLOATS
        self.table = _TABLE
        self.value = VALUE_AT_START
        self.applied: Applied | None = None

    def dense_for_training(self) -> bytes:
        """The number, which every shard sends."""
        return _VALUE.pack(self.value)

    def update(
        self, pushes: Sequence[Gradients], weights: Sequence[float], *, first_of_epoch: bool
    ) -> bool:
        """Mixes pushes and weights into the number."""
        del first_of_epoch
        tiny = tuple(push.worker_step_value for push in pushes if isinstance(push, TinyGradients))
        self.applied = Applied(self.step, tiny, tuple(weights), self.applied)
        for (worker, step, value), weight in zip(tiny, weights, strict=True):
            self.value = mixed(self.value, worker, step, value, hash(weight))
        self.step += 1
        return True

    def skip(self, *, first_of_epoch: bool) -> None:
        """A step that nobody has a part in."""
        del first_of_epoch
        self.applied = Applied(self.step, (), (), self.applied)
        self.step += 1

    def snapshot(self, *, everything: bool = False) -> TinySnapshot:
        """All of it."""
        del everything
        return TinySnapshot(
            self.step,
            0.0,
            0,
            _NO_FLOATS,
            _NO_FLOATS,
            _NO_IDS,
            _NO_FLOATS,
            _NO_FLOATS,
            self.value,
            self.applied,
        )

    def restore(self, segment: Snapshot) -> None:
        """Puts it back."""
        assert isinstance(segment, TinySnapshot)
        self.step, self.value, self.applied = segment.step, segment.value, segment.applied

    def slice_digests(self) -> bytes:
        """Digests that follow from the number, for each slice of the shard."""
        shard, shards = self._place
        own = len(range(shard, SLICES, shards))
        return hashlib.sha256(_VALUE.pack(self.value)).digest() * own


_TABLE = _TinyTable()


class NoStopwatch:
    """Measures nothing."""

    def decoding(self) -> AbstractContextManager[None]:
        """Nothing."""
        return _NOTHING

    def applying(self) -> AbstractContextManager[None]:
        """Nothing."""
        return _NOTHING

    def reading(self) -> AbstractContextManager[None]:
        """Nothing."""
        return _NOTHING

    def waited(self, seconds: float) -> None:
        """Nothing."""

    def event(self, node: str) -> ServerTimes:
        """Nothing."""
        return ServerTimes(node, 0, 0.0, 0.0, 0.0, 0.0)
