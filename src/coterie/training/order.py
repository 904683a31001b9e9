"""The order in which a worker trains its rows: that of its file, or a new shuffle in every epoch.

A shuffled order depends only on seed, worker, epoch and place: no list of rows is kept, no data are
copied, and a resumed run trains the same rows. Rows lie in pieces that are checked as a whole when
they are read (``data/example_files.py``). So the order mixes a few pieces at a time: it shuffles
the pieces, and then all rows of every ``WINDOW_PIECES`` consecutive pieces. A worker with fewer
rows than that gets a shuffle of all its rows.

The shuffle is a balanced Feistel network (Luby and Rackoff, 1988) over the smallest power of four that
holds the numbers; a number that lands outside is sent through again until it does not (cycle walking;
Black and Rogaway, 2002). Its round function is SplitMix64's output function.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coterie.arrays import Int64Array, UInt64Array
from coterie.data.examples import PIECE_ROWS, Batch, Examples
from coterie.parameters.initial import mix
from coterie.ps.core.schedule import Lane

WINDOW_PIECES = 8
_ROUNDS = 8
_STREAM = 3  # parameters/initial.py has 1 and 2


@dataclass(frozen=True)
class RowOrder:
    """The order of a worker's rows.

    Attributes:
        kind: The contract's ``training.order``.
        seed: The contract's ``training.seed``.
        worker: Place of the worker in contract order.
        updates: Number of updates of the model that the run starts from; epochs count on from
            there.
    """

    kind: Literal["file", "shuffled"]
    seed: int
    worker: int
    updates: int = 0

    def batch(self, examples: Examples, lane: Lane, step: int) -> Batch:
        """Reads the examples that the worker trains in a step."""
        span = lane.span(step)
        if self.kind == "file":
            return examples.batch(span.start, span.stop)
        epoch = self.updates // lane.steps_per_epoch + step // lane.steps_per_epoch
        places = np.arange(span.start, span.stop, dtype=np.int64)
        return examples.batch_of(shuffled(places, examples.rows, (self.seed, self.worker, epoch)))


def shuffled(places: Int64Array, rows: int, key: tuple[int, int, int]) -> Int64Array:
    """The rows at some places of a shuffled order.

    Args:
        places: 0 to ``rows`` - 1, int64 [n].
        rows: How many rows there are.
        key: Seed, worker and epoch.

    Returns:
        int64 [n], rows; over all places every row once.
    """
    firsts, starts = _layout(rows, key)
    window_n = np.searchsorted(firsts[::WINDOW_PIECES], places, side="right") - 1
    found = np.empty_like(places)
    for window in np.unique(window_n).tolist():
        inside = window_n == window
        pieces = slice(window * WINDOW_PIECES, (window + 1) * WINDOW_PIECES)
        own = firsts[pieces]
        stop = firsts[pieces.stop] if pieces.stop < firsts.size else rows
        size = int(stop - own[0])
        mixed = own[0] + _permuted(places[inside] - own[0], size, _keys(key, window + 1))
        piece = np.searchsorted(own, mixed, side="right") - 1
        found[inside] = starts[pieces][piece] + mixed - own[piece]
    return found


@functools.lru_cache(maxsize=4)
def _layout(rows: int, key: tuple[int, int, int]) -> tuple[Int64Array, Int64Array]:
    """The shuffled pieces: place of the first row of each in the order, and its place in the file."""
    count = -(-rows // PIECE_ROWS)
    pieces = _permuted(np.arange(count, dtype=np.int64), count, _keys(key, 0))
    starts = pieces * PIECE_ROWS
    sizes = np.minimum(PIECE_ROWS, rows - starts)
    return np.cumsum(sizes) - sizes, starts


def _keys(key: tuple[int, int, int], number: int) -> UInt64Array:
    """Round keys of one permutation."""
    state: UInt64Array = np.array([_STREAM], np.uint64)
    for part in (*key, number):
        state = mix(np.add(state, np.array([part], np.uint64), dtype=np.uint64))
    rounds: UInt64Array = np.arange(1, _ROUNDS + 1, dtype=np.uint64)
    return mix(np.add(state, rounds, dtype=np.uint64))


def _permuted(numbers: Int64Array, size: int, keys: UInt64Array) -> Int64Array:
    """A permutation of 0 .. size - 1, at some numbers."""
    half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    found = numbers.astype(np.uint64)
    walking = np.arange(found.size)
    while walking.size:
        found[walking] = _network(found[walking], half, keys)
        walking = walking[found[walking] >= size]
    return found.astype(np.int64)


def _network(numbers: UInt64Array, half: np.uint64, keys: UInt64Array) -> UInt64Array:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = numbers >> half, numbers & mask
    for key in keys:
        left, right = right, left ^ (mix(right + key) & mask)
    joined: UInt64Array = (left << half) | right
    return joined
