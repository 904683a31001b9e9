"""Mutations of metrics and of their intervals."""

from __future__ import annotations

from mutants.mutation import Of

_metrics = Of("models/metrics.py", "models/test_metrics.py")
_intervals = Of("models/intervals.py", "models/test_intervals.py")

MUTATIONS = (
    _metrics(
        "ties-count-nothing",
        "(below_g + negatives_g / 2)",
        "below_g",
        "a model that gives all one score has AUC 0",
    ),
    _metrics(
        "ties-count-whole",
        "(below_g + negatives_g / 2)",
        "(below_g + negatives_g)",
        "a model that gives all one score has AUC 1",
    ),
    _metrics(
        "pairs-wrap-around",
        "positives.astype(np.float64), negatives.astype(np.float64)\n    pairs",
        "positives.astype(np.int64), negatives.astype(np.int64)\n    pairs",
        "AUC of many examples is nonsense",
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
        "float(_losses(logits_n, positive_n).mean()) if len(logits_n)",
        "float(_losses(logits_n, positive_n).sum()) if len(logits_n)",
        "log loss grows with the number of examples",
    ),
    _metrics(
        "calibration-by-examples",
        "return float(predictions_n.sum()) / positives if positives else None",
        "return float(predictions_n.sum()) / len(predictions_n) if positives else None",
        "calibration is the mean prediction",
    ),
    _metrics(
        "counted-calibration-by-examples",
        "calibration=self.prediction_sum / positives if positives else None",
        "calibration=self.prediction_sum / examples if positives else None",
        "calibration is the mean prediction",
    ),
    _metrics(
        "sigmoid-upside-down",
        "np.where(logits_n >= 0, 1.0, small_n)",
        "np.where(logits_n >= 0, small_n, 1.0)",
        "probabilities are those of the other class",
    ),
    _metrics(
        "half-is-positive",
        "correct=int(((logits_n > 0) == positive_n).sum())",
        "correct=int(((logits_n >= 0) == positive_n).sum())",
        "counted accuracy calls logit 0 a click, and exact accuracy does not",
    ),
    _metrics(
        "half-is-positive-exactly",
        "return float(((logits_n > 0) == positive_n).mean())",
        "return float(((logits_n >= 0) == positive_n).mean())",
        "exact accuracy calls logit 0 a click, and counted accuracy does not",
    ),
    _metrics(
        "bins-off-by-one",
        "np.minimum(bins_n, HISTOGRAM_BINS - 1, out=bins_n)",
        "np.minimum(bins_n, HISTOGRAM_BINS - 2, out=bins_n)",
        "the last bin is empty",
    ),
    _metrics(
        "bins-half-as-wide",
        "width = 2 * LOGIT_BOUND / HISTOGRAM_BINS",
        "width = LOGIT_BOUND / HISTOGRAM_BINS",
        "all positive logits are in one bin",
    ),
    _metrics(
        "adds-losses-only",
        "            self.prediction_sum + other.prediction_sum,\n",
        "            self.prediction_sum,\n",
        "the joint calibration is the first party's",
    ),
    _metrics(
        "hits-of-one",
        "            self.correct + other.correct,\n",
        "            self.correct,\n",
        "the joint accuracy is the first party's",
    ),
    _metrics(
        "losses-of-one",
        "            self.loss_sum + other.loss_sum,\n",
        "            self.loss_sum,\n",
        "the joint log loss is the first party's",
    ),
    _metrics(
        "counts-wrap-around",
        "counts.sum(dtype=np.float64) >= 2.0**53",
        "counts.sum() >= 2**53",
        "hostile counts wrap around to a few examples",
    ),
    _metrics(
        "negative-counts",
        "if (counts < 0).any() or",
        "if",
        "a party takes examples away from the others' counts",
    ),
    _metrics(
        "negative-loss",
        "if not (math.isfinite(loss_sum) and loss_sum >= 0):",
        "if not math.isfinite(loss_sum):",
        "a party lowers the joint loss at will",
    ),
    _metrics(
        "more-than-certain",
        "if not 0 <= prediction_sum <= examples * (1 + 1e-9):",
        "if not 0 <= prediction_sum:",
        "a party raises the joint calibration at will",
    ),
    _metrics(
        "parts-of-hits",
        "if not (0 <= correct <= examples and correct.is_integer()):",
        "if not 0 <= correct <= examples:",
        "half a hit is rounded",
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
        "float(of_positives / count + of_negatives / others)",
        "float(of_positives / count)",
        "intervals are too narrow",
    ),
    _intervals(
        "ties-in-placements",
        "placement_p = (np.cumsum(negatives) - negatives / 2) / others",
        "placement_p = np.cumsum(negatives) / others",
        "the interval is around another AUC than the one that is told",
    ),
    _intervals(
        "pairing-lost",
        "variance = covariance[0, 0] + covariance[other, other] - 2 * covariance[0, other]",
        "variance = covariance[0, 0] + covariance[other, other]",
        "two models on the same examples are compared as if they were on different ones",
    ),
    _intervals(
        "one-sided",
        "math.erfc(abs(gain.value) / gain.standard_error / math.sqrt(2))",
        "math.erfc(abs(gain.value) / gain.standard_error / math.sqrt(2)) / 2",
        "differences look twice as sure",
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
