"""The model behind synthetic data: effects of ids and numbers, and their distributions.

Shapes follow public statistics of Criteo's Kaggle data: missing rates, and which columns are missing
together; heavy-tailed small integers; ids by power law, with cardinalities scaled down. The click
probability is logistic in a sum of three planted parts: effects of numbers, effects of single ids, and
products of the latent vectors of two ids, which is the interaction that a DLRM's dot products model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coterie.arrays import BoolArray, Float64Array, Int64Array


@dataclass(frozen=True)
class NumericShape:
    """A numeric column: floor(exp(log_scale + spread * normal)) - shift, missing in groups."""

    log_scale: float
    spread: float
    missing: float
    missing_group: int
    effect: float
    shift: int = 1


@dataclass(frozen=True)
class IdShape:
    """A categorical column: ids by a power law of rank, missing in groups."""

    ids: int
    exponent: float
    missing: float
    missing_group: int
    effect: float


NUMERIC = (
    NumericShape(0.9, 1.2, 0.451, 0, 0.5),
    NumericShape(2.4, 1.5, 0.0, 1, 0.5, shift=3),
    NumericShape(2.0, 1.4, 0.213, 2, 0.3),
    NumericShape(1.6, 0.9, 0.215, 3, 0.2),
    NumericShape(7.9, 2.2, 0.026, 4, -0.6),
    NumericShape(3.5, 1.6, 0.223, 5, -0.5),
    NumericShape(1.4, 1.5, 0.043, 6, 0.8),
    NumericShape(2.1, 0.9, 0.001, 7, 0.0),
    NumericShape(3.7, 1.4, 0.043, 6, -0.2),
    NumericShape(0.7, 0.4, 0.451, 0, 0.4),
    NumericShape(0.8, 0.9, 0.043, 6, 0.6),
    NumericShape(0.1, 0.7, 0.765, 8, 0.2),
    NumericShape(1.6, 0.9, 0.215, 3, -0.3),
)

CATEGORICAL = (
    IdShape(600, 1.1, 0.0, 9, 0.6),
    IdShape(500, 0.8, 0.0, 9, 1.0),
    IdShape(20_000, 0.8, 0.035, 10, 0.0),
    IdShape(12_000, 0.9, 0.035, 10, 0.3),
    IdShape(150, 1.2, 0.0, 9, 0.3),
    IdShape(11, 1.0, 0.122, 11, 0.4),
    IdShape(1_500, 0.8, 0.0, 9, 0.8),
    IdShape(290, 1.3, 0.0, 9, 0.2),
    IdShape(3, 1.0, 0.0, 9, 0.2),
    IdShape(9_000, 0.8, 0.0, 9, 0.3),
    IdShape(800, 0.8, 0.0, 9, 0.9),
    IdShape(18_000, 0.8, 0.035, 10, 0.0),
    IdShape(600, 0.8, 0.0, 9, 0.9),
    IdShape(26, 0.9, 0.0, 9, 0.5),
    IdShape(1_200, 0.8, 0.0, 9, 0.8),
    IdShape(16_000, 0.8, 0.035, 10, 0.0),
    IdShape(10, 0.7, 0.0, 9, 0.5),
    IdShape(500, 0.8, 0.0, 9, 0.9),
    IdShape(800, 0.9, 0.442, 12, 0.4),
    IdShape(3, 0.8, 0.442, 12, 0.2),
    IdShape(17_000, 0.8, 0.035, 10, 0.0),
    IdShape(12, 1.2, 0.761, 13, 0.2),
    IdShape(14, 1.0, 0.0, 9, 0.5),
    IdShape(6_000, 0.9, 0.035, 10, 0.3),
    IdShape(50, 1.0, 0.442, 12, 0.3),
    IdShape(5_000, 0.9, 0.442, 12, 0.2),
)

# Pairs of categorical columns (from 0) whose latent vectors interact.
PAIRS = ((1, 13), (0, 16), (4, 22), (1, 22), (5, 13), (7, 16))

_GROUPS = 14
_LATENT = 2
# Standard deviations of the three parts of the logit: a Bayes AUC of about 0.80.
_SPREADS = (0.7, 1.1, 0.5)
_BASE_RATE = 0.25
_CALIBRATION_ROWS = 20_000


@dataclass(frozen=True)
class Features:
    """The drawn features of b examples.

    Attributes:
        normal_bn: Standard normal variables from which the numbers are made.
        numbers_bn: Numeric cells.
        numbers_missing_bn: Which of them are missing.
        ranks_bm: Ids as ranks within their column, 0 the most frequent.
        ids_missing_bm: Which of them are missing.
    """

    normal_bn: Float64Array
    numbers_bn: Int64Array
    numbers_missing_bn: BoolArray
    ranks_bm: Int64Array
    ids_missing_bm: BoolArray


@dataclass(frozen=True)
class Draw:
    """Drawn examples, b rows.

    Attributes:
        features: Their features.
        probabilities_b: True click probabilities.
        labels_b: Drawn clicks.
    """

    features: Features
    probabilities_b: Float64Array
    labels_b: BoolArray


class World:
    """Effects of every number and id, determined by the seed.

    Args:
        seed: Any non-negative number.
    """

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng([seed, 0])
        self._seed = seed
        self._cumulative = [_power_law(shape) for shape in CATEGORICAL]
        # One effect more than ids, for missing cells.
        self._effects = [
            shape.effect * random.standard_normal(shape.ids + 1) for shape in CATEGORICAL
        ]
        self._latent = [
            (
                random.standard_normal((CATEGORICAL[a].ids + 1, _LATENT)),
                random.standard_normal((CATEGORICAL[b].ids + 1, _LATENT)),
            )
            for a, b in PAIRS
        ]
        self._scales = [1.0, 1.0, 1.0]
        self._intercept = 0.0
        self._calibrate()

    def draw(self, block: int, rows: int) -> Draw:
        """Draws a block of examples; the same block and rows give the same examples."""
        random = np.random.default_rng([self._seed, 1, block])
        features = self._features(random, rows)
        probabilities = _logistic(self._logits(features) + self._intercept)
        return Draw(features, probabilities, random.random(rows) < probabilities)

    def _features(self, random: np.random.Generator, rows: int) -> Features:
        normal = random.standard_normal((rows, len(NUMERIC)))
        uniform = random.random((rows, len(CATEGORICAL)))
        group = random.random((rows, _GROUPS))
        numbers = np.empty(normal.shape, np.int64)
        for i, number in enumerate(NUMERIC):
            scaled = np.floor(np.exp(number.log_scale + number.spread * normal[:, i]))
            numbers[:, i] = np.maximum(scaled, 1.0).astype(np.int64) - number.shift
        ranks = np.empty(uniform.shape, np.int64)
        for i, cumulative in enumerate(self._cumulative):
            ranks[:, i] = np.searchsorted(cumulative, uniform[:, i], side="right")
        return Features(
            normal, numbers, _missing(group, NUMERIC), ranks, _missing(group, CATEGORICAL)
        )

    def _parts(self, features: Features) -> list[Float64Array]:
        """The three parts of the logit, unscaled, shape (b,) each."""
        weights = np.array([shape.effect for shape in NUMERIC])
        # A missing number has the effect of a low one: absence is informative, as in real data.
        numeric: Float64Array = (
            np.where(features.numbers_missing_bn, -0.7, features.normal_bn) @ weights
        )
        known = np.where(
            features.ids_missing_bm, [shape.ids for shape in CATEGORICAL], features.ranks_bm
        )
        single, paired = np.zeros(len(known)), np.zeros(len(known))
        for i, effects in enumerate(self._effects):
            single += effects[known[:, i]]
        for (a, b), (left, right) in zip(PAIRS, self._latent, strict=True):
            paired += (left[known[:, a]] * right[known[:, b]]).sum(axis=1)
        return [numeric, single, paired]

    def _logits(self, features: Features) -> Float64Array:
        logits = np.zeros(len(features.ranks_bm))
        for scale, part in zip(self._scales, self._parts(features), strict=True):
            logits += scale * part
        return logits

    def _calibrate(self) -> None:
        """Scales the parts to their spread, then finds the intercept of the base rate."""
        features = self._features(np.random.default_rng([self._seed, 2]), _CALIBRATION_ROWS)
        self._scales = [
            spread / float(part.std())
            for spread, part in zip(_SPREADS, self._parts(features), strict=True)
        ]
        logits, low, high = self._logits(features), -50.0, 50.0
        for _ in range(60):
            middle = (low + high) / 2
            rate = float(_logistic(logits + middle).mean())
            low, high = (middle, high) if rate < _BASE_RATE else (low, middle)
        self._intercept = (low + high) / 2


def _missing(
    group: Float64Array, shapes: tuple[NumericShape, ...] | tuple[IdShape, ...]
) -> BoolArray:
    return np.stack([group[:, shape.missing_group] < shape.missing for shape in shapes], axis=1)


def _logistic(logits: Float64Array) -> Float64Array:
    probabilities: Float64Array = 1 / (1 + np.exp(-logits))
    return probabilities


def _power_law(shape: IdShape) -> Float64Array:
    """Cumulative probabilities of ids whose frequency falls with a power of their rank."""
    weights = np.arange(1, shape.ids + 1, dtype=np.float64) ** -shape.exponent
    cumulative: Float64Array = np.cumsum(weights / weights.sum())
    cumulative[-1] = 1.0
    return cumulative
