"""Mutations of metrics, of counted and released scores, and of intervals."""

from __future__ import annotations

from mutants.mutation import Of

_metrics = Of("metrics/binary.py", "metrics/test_binary.py")
_groups = Of("metrics/groups.py", "metrics/test_binary.py", "metrics/test_histogram.py")
_ordered = Of("metrics/ordered.py", "metrics/test_ordered.py")
_histogram = Of("metrics/histogram.py", "metrics/test_histogram.py", "metrics/test_binary.py")
_counting = Of("metrics/counting.py", "metrics/test_counting.py")
_pooling = Of("metrics/pooling.py", "metrics/test_pooling.py")
_released = Of("metrics/released.py", "metrics/test_released.py")
_intervals = Of("metrics/intervals.py", "metrics/test_intervals.py")

MUTATIONS = (
    _groups(
        "ties-count-nothing",
        "(2 * below + negatives)",
        "(2 * below)",
        "a model that gives all one score has AUC 0",
    ),
    _groups(
        "ties-count-whole",
        "(2 * below + negatives)",
        "(2 * below + 2 * negatives)",
        "a model that gives all one score has AUC 1",
    ),
    _groups(
        "pairs-wrap-around",
        "positives_g.astype(np.float64), negatives_g.astype(np.float64)\n    pairs = positives.sum() * negatives.sum()\n    if",
        "positives_g.astype(np.int64), negatives_g.astype(np.int64)\n    pairs = positives.sum() * negatives.sum()\n    if",
        "AUC of many examples is nonsense",
    ),
    _groups(
        "error-of-one-side",
        "sum() / (2 * pairs)) if pairs else 0.0",
        "sum() / (8 * pairs)) if pairs else 0.0",
        "an AUC is farther off than its bound",
    ),
    _ordered(
        "negatives-in-order-of-size",
        "np.where(bits_n < 0, -(bits_n & (_ZERO - 1)), bits_n)",
        "np.where(bits_n < 0, (bits_n & (_ZERO - 1)) - _ZERO, bits_n)",
        "of two negative logits the lower counts as the higher",
    ),
    _ordered(
        "half-of-the-interval",
        "[1].astype(np.int64)",
        "[1].astype(np.int64) - 1",
        "an interval does not hold its own scores",
    ),
    _histogram(
        "labels-the-other-way",
        "positives_g = _sums(marked_n & 1, first_g)",
        "positives_g = _sums(1 - (marked_n & 1), first_g)",
        "positives count as negatives",
    ),
    _histogram(
        "half-is-positive",
        "correct=int(((logits_n > 0) == positive_n).sum())",
        "correct=int(((logits_n >= 0) == positive_n).sum())",
        "counted accuracy calls logit 0 a click, and exact accuracy does not",
    ),
    _histogram(
        "the-narrowest-stays",
        "np.lexsort((-levels, starts))",
        "np.lexsort((levels, starts))",
        "intervals of owners overlap",
    ),
    _histogram(
        "losses-of-one",
        "loss_sum=math.fsum(part.loss_sum for part in parts)",
        "loss_sum=parts[0].loss_sum if parts else 0.0",
        "the joint log loss is the first party's",
    ),
    _histogram(
        "predictions-of-one",
        "prediction_sum=math.fsum(part.prediction_sum for part in parts)",
        "prediction_sum=parts[0].prediction_sum if parts else 0.0",
        "the joint calibration is the first party's",
    ),
    _histogram(
        "hits-of-one",
        "correct=sum(part.correct for part in parts)",
        "correct=parts[0].correct if parts else 0",
        "the joint accuracy is the first party's",
    ),
    _histogram(
        "sums-in-any-order",
        "loss_sum=math.fsum(losses(logits_n, positive_n).tolist())",
        "loss_sum=float(losses(logits_n, positive_n).cumsum()[-1]) if len(logits_n) else 0.0",
        "the order of the examples changes the loss",
    ),
    _histogram(
        "wide-groups-of-predictions",
        "whole = (few & near) | (high - low == 1)",
        "whole = few | (high - low == 1)",
        "the mean prediction of a bin is off by more than it says",
    ),
    _histogram(
        "groups-of-any-size",
        "whole = (few & near) | (high - low == 1)",
        "whole = near | (high - low == 1)",
        "all scores that lie near each other are one group",
    ),
    _histogram(
        "all-ties-are-known",
        "auc_error_of_groups(self.positives, self.negatives, self.levels > 0)",
        "auc_error_of_groups(self.positives, self.negatives, self.levels > 32)",
        "an AUC of coarse groups calls itself exact",
    ),
    _histogram(
        "any-level",
        "if (levels_g > KEY_BITS).any():",
        "if (levels_g > 64).any():",
        "an interval has more scores than there are",
    ),
    _histogram(
        "crooked-intervals",
        "if (starts_g & (ends_g - starts_g - 1)).any():",
        "if (starts_g < 0).any():",
        "intervals of two owners overlap in part",
    ),
    _histogram(
        "intervals-in-each-other",
        "if not (starts_g[1:] >= ends_g[:-1]).all():",
        "if not (starts_g[1:] > starts_g[:-1]).all():",
        "an owner's own intervals overlap",
    ),
    _histogram(
        "infinite-scores",
        "if (starts_g > HIGHEST_KEY).any() or (ends_g <= LOWEST_KEY).any():",
        "if (starts_g > HIGHEST_KEY).any():",
        "scores below all numbers are counted",
    ),
    _histogram(
        "counts-wrap-around",
        "counts.sum(dtype=np.float64) >= 2.0**53",
        "counts.sum() >= 2**53",
        "hostile counts wrap around to a few examples",
    ),
    _histogram(
        "empty-intervals",
        "if not (positives_g + negatives_g).all():",
        "if not (positives_g + negatives_g).size:",
        "an owner sends intervals without examples",
    ),
    _histogram(
        "negative-loss",
        "if not (math.isfinite(loss_sum) and loss_sum >= 0):",
        "if not math.isfinite(loss_sum):",
        "a party lowers the joint loss at will",
    ),
    _histogram(
        "more-than-certain",
        "if not 0 <= prediction_sum <= examples * (1 + 1e-9):",
        "if not 0 <= prediction_sum:",
        "a party raises the joint calibration at will",
    ),
    _histogram(
        "parts-of-hits",
        "if not (0 <= correct <= examples and correct.is_integer()):",
        "if not 0 <= correct <= examples:",
        "half a hit is rounded",
    ),
    _counting(
        "counted-when-a-batch-ends",
        "self._count(self._together)",
        "self._count(self._waiting)",
        "the size of batches changes what is counted",
    ),
    _counting(
        "batches-are-forgotten",
        "self._kept = [(logits[scores:], labels[scores:])] if self._waiting else []",
        "self._kept = []",
        "examples are lost between two batches",
    ),
    _pooling(
        "neighbours-overlap",
        'side="right"',
        'side="left"',
        "groups beside each other count as ties",
    ),
    _pooling(
        "no-score-is-single",
        "single = levels == 0",
        "single = levels < 0",
        "an exact AUC says that it is off",
    ),
    _pooling(
        "groups-are-single",
        "single = levels == 0",
        "single = levels >= 0",
        "an AUC is farther off than its bound",
    ),
    _released(
        "one-side-is-enough",
        "stay = enough(halves[:, 0]) & enough(halves[:, 1])",
        "stay = enough(halves[:, 0])",
        "a bin holds fewer examples than may be told",
    ),
    _released(
        "of-all-together",
        "halves = np.array([_halves(part, lines, reach) for part in parts])",
        "halves = np.array([_halves(total, lines, reach) for part in parts])",
        "a bin holds one party's examples alone",
    ),
    _released(
        "any-number-of-bins",
        "least = max(1, -(-total.examples // MAX_BINS))",
        "least = 1",
        "bins are as many as examples",
    ),
    _released(
        "auc-of-one-example",
        "shown = enough is None or bool(enough(np.array(classes, np.int64).T).all())",
        "shown = True",
        "the rank of a single positive is told",
    ),
    _released(
        "lines-one-score-off",
        "np.searchsorted(total.starts, lines)))",
        'np.searchsorted(total.starts, lines, side="right")))',
        "scores are in the bin beside theirs",
    ),
    _metrics(
        "counted-calibration-by-examples",
        "calibration=prediction_sum / positives if positives else None",
        "calibration=prediction_sum / examples if positives else None",
        "calibration is the mean prediction",
    ),
    _metrics(
        "few-is-not-said",
        "if counts[rarer] < FEW:",
        "if counts[rarer] < 1:",
        "nobody is told that an AUC rests on a few examples",
    ),
    _metrics(
        "loss-of-the-other-class",
        "np.where(positive_n, -logits_n, logits_n)",
        "np.where(positive_n, logits_n, -logits_n)",
        "log loss rewards wrong predictions",
    ),
    _metrics(
        "loss-overflows",
        "np.logaddexp(0.0, np.where(positive_n, -logits_n, logits_n))",
        "np.log(1.0 + np.exp(np.where(positive_n, -logits_n, logits_n)))",
        "the loss of a sure and wrong prediction is infinite",
    ),
    _metrics(
        "loss-is-a-sum",
        "float(losses(logits_n, positive_n).mean()) if len(logits_n)",
        "float(losses(logits_n, positive_n).sum()) if len(logits_n)",
        "log loss grows with the number of examples",
    ),
    _metrics(
        "calibration-by-examples",
        "return float(predictions_n.sum()) / positives if positives else None",
        "return float(predictions_n.sum()) / len(predictions_n) if positives else None",
        "calibration is the mean prediction",
    ),
    _metrics(
        "sigmoid-upside-down",
        "np.where(logits_n >= 0, 1.0, small_n)",
        "np.where(logits_n >= 0, small_n, 1.0)",
        "probabilities are those of the other class",
    ),
    _metrics(
        "half-is-positive-exactly",
        "return float(((logits_n > 0) == positive_n).mean())",
        "return float(((logits_n >= 0) == positive_n).mean())",
        "exact accuracy calls logit 0 a click, and counted accuracy does not",
    ),
    _metrics(
        "any-label",
        "if not (positive_n | (labels == 0)).all():",
        "if not len(labels) == len(positive_n):",
        "a label that is neither counts as a negative",
    ),
    _metrics(
        "scores-that-are-no-numbers",
        "    if not np.isfinite(scores).all():\n",
        "    if np.isinf(scores).any():\n",
        "a diverged model has an AUC",
    ),
    _metrics(
        "calibration-error-unsigned-too-early",
        "gaps = np.bincount(bin_n, predictions_n - positive_n, minlength=bins)",
        "gaps = np.bincount(bin_n, np.abs(predictions_n - positive_n), minlength=bins)",
        "the calibration error is the mean absolute error",
    ),
    _metrics(
        "calibration-error-past-the-end",
        "bin_n = np.minimum((predictions_n * bins).astype(np.int64), bins - 1)",
        "bin_n = (predictions_n * bins).astype(np.int64)",
        "a prediction of 1 is in a bin of its own",
    ),
    _metrics(
        "probabilities-below-zero",
        "if predictions_n.min() < 0 or predictions_n.max() > 1:",
        "if predictions_n.max() > 1:",
        "a negative logit is a probability",
    ),
    _intervals(
        "positives-only",
        "math.sqrt(of_positives / count + of_negatives / others)",
        "math.sqrt(of_positives / count)",
        "intervals are too narrow",
    ),
    _intervals(
        "ties-in-placements",
        "placement_p = (np.cumsum(negatives) - negatives / 2) / others",
        "placement_p = np.cumsum(negatives) / others",
        "the variance is not that of the AUC that is told",
    ),
    _intervals(
        "pairing-lost",
        "variance = covariance[0, 0] + covariance[other, other] - 2 * covariance[0, other]",
        "variance = covariance[0, 0] + covariance[other, other]",
        "two models on the same examples are compared as if they were on different ones",
    ),
    _intervals(
        "one-sided",
        "return math.erfc(inside / math.sqrt(2))",
        "return math.erfc(inside / math.sqrt(2)) / 2",
        "differences look twice as sure",
    ),
    _intervals(
        "as-sure-of-few-as-of-many",
        "(1 + 1.21 / freedom + 1.44 / freedom**2) ** 2",
        "1.0",
        "intervals of few positives are too narrow",
    ),
    _intervals(
        "data-alone",
        "weight = known / (known + _TRUSTED)",
        "weight = 1.0",
        "an AUC near 1 is certain",
    ),
    _intervals(
        "the-smaller-class-counts-for-the-larger",
        "few, many = min(positives, negatives), max(positives, negatives)",
        "few, many = max(positives, negatives), min(positives, negatives)",
        "intervals of rare positives are too narrow",
    ),
    _intervals(
        "one-direction",
        "nearer, farther = max(truth, 1 - truth), min(truth, 1 - truth)",
        "nearer, farther = truth, 1 - truth",
        "an AUC below one half is surer than that of the model turned around",
    ),
    _intervals(
        "sides-of-a-gain",
        "together(first.value - low, other_high - other.value)",
        "together(high - first.value, other.value - other_low)",
        "the interval of a gain is the wrong way around",
    ),
    _intervals(
        "other-quantile",
        "_QUANTILE = 1.959963984540054",
        "_QUANTILE = 1.6448536269514722",
        "95 % intervals are of 90 %",
    ),
    _intervals(
        "wilson-without-correction",
        "centre = (share + square / (2 * trials)) / (1 + square / trials)",
        "centre = share",
        "a share of 0 or 1 is certain after one trial",
    ),
)
