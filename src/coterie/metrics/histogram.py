"""Histograms of scores: a data owner's report, and the metrics that follow from all reports.

A federated evaluation must not pass on scores of single examples. Each owner counts its scores by
label: every distinct score by itself or, if they are many, in dyadic intervals of float32's order
(``ordered``) with about equally many examples each. If scores were counted one by one, every metric
is exact. Pairs in one wider interval have an unknown order and count one half for AUC; the possible
error is computed too. When counts of owners are merged, the widest of nested intervals stays. The
owners' AUC is computed from the counts that each has sent (``pooling``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from coterie.arrays import (
    ByteArray,
    Float64Array,
    Int64Array,
    UInt16Array,
    UInt32Array,
    UInt64Array,
)
from coterie.errors import MessageRefused
from coterie.metrics.binary import Metrics, checked, losses, sigmoid
from coterie.metrics.groups import Floats, auc_error_of_groups, auc_of_groups
from coterie.metrics.intervals import Interval, auc_interval
from coterie.metrics.ordered import (
    HIGHEST_KEY,
    KEY_BITS,
    LOWEST_KEY,
    common_levels,
    floors,
    keys_of,
    values_of,
)

MAX_GROUPS = 1 << 15
"""An owner with at most this many distinct scores counts them one by one."""

SUMS = 3
_WIDEST = 2.0**-10
"""No interval spans more of the predicted probabilities: so half of it bounds an error of their mean."""

Unsigned = ByteArray | UInt16Array | UInt32Array | UInt64Array


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """Scores of any number of examples, counted in disjoint dyadic intervals of float32's order.

    Attributes:
        starts: int64 [g], ascending: first key of each interval.
        levels: int64 [g]: an interval has 2^level keys; at level 0 it is a single score.
        positives: int64 [g], examples with label 1.
        negatives: int64 [g], examples with label 0.
        loss_sum: Sum of the binary cross-entropies, in nats.
        prediction_sum: Sum of the predicted probabilities.
        correct: Examples on the right side of probability one half.
    """

    starts: Int64Array
    levels: Int64Array
    positives: Int64Array
    negatives: Int64Array
    loss_sum: float = 0.0
    prediction_sum: float = 0.0
    correct: int = 0

    @classmethod
    def count(cls, logits: Floats, labels: Floats) -> Self:
        """Counts every distinct score by itself.

        Args:
            logits: float32 [n], as models give them; others are rounded to that.
            labels: float [n], 0 or 1.

        Raises:
            DataError: Shapes differ, a logit is not finite or a label is neither 0 nor 1.
        """
        # Values too large for float32 become infinite and are refused.
        with np.errstate(over="ignore"):
            rounded_n = logits.astype(np.float32)
        logits_n, positive_n = checked(rounded_n, labels)
        marked_n = np.sort(keys_of(rounded_n) * 2 + positive_n)
        first_g = _first(marked_n >> 1)
        positives_g = _sums(marked_n & 1, first_g)
        return cls(
            starts=marked_n[first_g] >> 1,
            levels=np.zeros(len(first_g), np.int64),
            positives=positives_g,
            negatives=np.diff(first_g, append=len(marked_n)) - positives_g,
            # exactly rounded, so independent of order and size of batches
            loss_sum=math.fsum(losses(logits_n, positive_n).tolist()),
            prediction_sum=math.fsum(sigmoid(logits_n).tolist()),
            correct=int(((logits_n > 0) == positive_n).sum()),
        )

    @classmethod
    def merged(cls, parts: Sequence[ScoreHistogram]) -> Self:
        """Merges parts; the result does not depend on their order."""
        starts = np.concatenate([part.starts for part in parts] or [np.zeros(0, np.int64)])
        levels = np.concatenate([part.levels for part in parts] or [np.zeros(0, np.int64)])
        order = np.lexsort((-levels, starts))  # an interval sorts before those inside it
        starts, levels = starts[order], levels[order]
        reach = np.maximum.accumulate(starts + (1 << levels))
        first = np.flatnonzero(np.concatenate(([True], starts[1:] >= reach[:-1]))[: len(starts)])
        positives = np.concatenate([part.positives for part in parts] or [starts])
        negatives = np.concatenate([part.negatives for part in parts] or [starts])
        return cls(
            starts=starts[first],
            levels=levels[first],
            positives=_sums(positives[order], first),
            negatives=_sums(negatives[order], first),
            loss_sum=math.fsum(part.loss_sum for part in parts),
            prediction_sum=math.fsum(part.prediction_sum for part in parts),
            correct=sum(part.correct for part in parts),
        )

    def coarsened(self, groups: int = MAX_GROUPS) -> Self:
        """The same examples in at most ``groups`` intervals (at least 2,048).

        Every interval holds at most a certain number of examples and a small range of
        probabilities. That number is doubled until there are few enough intervals. Each interval is
        as narrow as its examples allow.
        """
        if len(self.starts) <= groups:
            return self
        most = -(-self.examples // groups)
        found = self._split(most)
        while len(found[0]) > groups and most < self.examples:
            most *= 2
            found = self._split(most)
        first, starts, levels = found
        return type(self)(
            starts,
            levels,
            _sums(self.positives, first),
            _sums(self.negatives, first),
            self.loss_sum,
            self.prediction_sum,
            self.correct,
        )

    def _split(self, most: int) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Halves intervals of more than ``most`` examples; returns first groups, starts, levels."""
        ends = self.starts + (1 << self.levels) - 1
        before = np.concatenate(([0], np.cumsum(self.positives + self.negatives)))
        low, high = np.array([0]), np.array([len(self.starts)])
        found: list[tuple[Int64Array, Int64Array, Int64Array]] = []
        while low.size:
            levels = common_levels(self.starts[low], ends[high - 1])
            starts = floors(self.starts[low], levels)
            few = before[high] - before[low] <= most
            near = _spans(starts, levels) <= _WIDEST
            whole = (few & near) | (high - low == 1)
            found.append((low[whole], starts[whole], levels[whole]))
            low, high, levels = low[~whole], high[~whole], levels[~whole]
            middle = np.searchsorted(self.starts, floors(ends[high - 1], levels - 1))
            low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        first, starts, levels = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.argsort(first)
        return first[order], starts[order], levels[order]

    @property
    def examples(self) -> int:
        """Number of examples counted."""
        return int(self.positives.sum() + self.negatives.sum())

    @property
    def auc_error(self) -> float:
        """Largest distance of the AUC from that of the single scores; 0 if it is exact."""
        return auc_error_of_groups(self.positives, self.negatives, self.levels > 0)

    def predictions(self) -> Float64Array:
        """Predicted probability of each interval: exact at level 0, else within 2^-11 of its mean."""
        middles: Float64Array = (
            sigmoid(values_of(self.starts)) + _spans(self.starts, self.levels) / 2
        )
        return middles

    def interval(self) -> Interval | None:
        """AUC with its 95 % interval; None unless both classes occur at least twice."""
        return auc_interval(self.positives, self.negatives)

    def metrics(self) -> Metrics:
        """The metrics of all examples counted; AUC to ``auc_error``."""
        return Metrics.of_sums(
            auc=auc_of_groups(self.positives, self.negatives),
            auc_error=self.auc_error,
            interval=self.interval(),
            positives=int(self.positives.sum()),
            negatives=int(self.negatives.sum()),
            loss_sum=self.loss_sum,
            prediction_sum=self.prediction_sum,
            correct=self.correct,
        )

    def to_arrays(self) -> tuple[Unsigned, Unsigned, Unsigned, Float64Array]:
        """The histogram for the wire.

        Returns:
            uint32 [g]: starts; uint8 [g]: levels; [2, g] of the shortest unsigned type that holds
            them: positives, negatives; float64 [3]: loss sum, prediction sum, correct.
        """
        counts = np.stack([self.positives, self.negatives])
        sums = np.array([self.loss_sum, self.prediction_sum, float(self.correct)], np.float64)
        return (
            self.starts.astype(np.uint32),
            self.levels.astype(np.uint8),
            counts.astype(np.min_scalar_type(int(counts.max(initial=0)))),
            sums,
        )

    @classmethod
    def from_arrays(
        cls, starts: Unsigned, levels: Unsigned, counts: Unsigned, sums: Float64Array
    ) -> Self:
        """Reads what ``to_arrays`` wrote, trusting no value.

        Args:
            starts: Unsigned [g].
            levels: Unsigned [g].
            counts: Unsigned [2, g].
            sums: float64 [3].

        Raises:
            MessageRefused: The intervals are not ascending, disjoint and of finite scores, one is
                empty, or no such examples can have these sums.
        """
        starts_g, levels_g = starts.astype(np.int64), levels.astype(np.int64)
        if (levels_g > KEY_BITS).any():
            raise _refused("levels", f"0 to {KEY_BITS}", str(levels_g.max()))
        ends_g = starts_g + (1 << levels_g)
        if (starts_g & (ends_g - starts_g - 1)).any():
            raise _refused("starts", "multiples of an interval's width", "another number")
        if not (starts_g[1:] >= ends_g[:-1]).all():
            raise _refused("starts", "ascending, disjoint intervals", "another order or overlaps")
        if (starts_g > HIGHEST_KEY).any() or (ends_g <= LOWEST_KEY).any():
            raise _refused("starts", "intervals of finite scores", "infinite ones or none")
        # First as floats: sums of hostile integer counts could wrap around.
        if counts.sum(dtype=np.float64) >= 2.0**53:
            raise _refused("counts", "below 2**53 in all", "more")
        positives_g, negatives_g = counts.astype(np.int64)
        if not (positives_g + negatives_g).all():
            raise _refused("counts", "an example in every interval", "an empty interval")
        examples = int(counts.sum())
        loss_sum, prediction_sum, correct = (float(value) for value in sums)
        if not (math.isfinite(loss_sum) and loss_sum >= 0):
            raise _refused("loss sum", "finite, 0 or more", str(loss_sum))
        if not 0 <= prediction_sum <= examples * (1 + 1e-9):
            raise _refused("prediction sum", f"0 to {examples}", str(prediction_sum))
        if not (0 <= correct <= examples and correct.is_integer()):
            raise _refused("correct", f"a whole number, 0 to {examples}", str(correct))
        return cls(
            starts_g, levels_g, positives_g, negatives_g, loss_sum, prediction_sum, int(correct)
        )


def _spans(starts_g: Int64Array, levels_g: Int64Array) -> Float64Array:
    """The range of predicted probabilities that each interval spans."""
    ends_g = starts_g + (1 << levels_g) - 1
    spans_g: Float64Array = sigmoid(values_of(ends_g)) - sigmoid(values_of(starts_g))
    return spans_g


def _first(sorted_n: Int64Array) -> Int64Array:
    """The places at which runs of equal values begin."""
    return np.flatnonzero(np.diff(sorted_n, prepend=-1))


def _sums(values_n: Int64Array, first_g: Int64Array) -> Int64Array:
    """Sums from each first place to before the next; accepts no places at all."""
    if not len(first_g):
        return np.zeros(0, np.int64)
    sums: Int64Array = np.add.reduceat(values_n, first_g)
    return sums


def _refused(name: str, expected: str, seen: str) -> MessageRefused:
    return MessageRefused(
        f"an evaluation's {name} is not that of a score histogram",
        expected,
        seen,
        remedy="the sender runs another version or is hostile; its evaluation is not used",
    )
