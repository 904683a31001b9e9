"""AUC of examples that are grouped by score or by intervals of scores."""

from __future__ import annotations

import numpy as np

from coterie.arrays import BoolArray, Float64Array, FloatArray, Int64Array

Floats = FloatArray | Float64Array


def auc_of_groups(positives_g: Int64Array, negatives_g: Int64Array) -> float | None:
    """Area under the ROC curve: how often a positive outranks a negative; ties count one half.

    Args:
        positives_g: Examples with label 1, by group in ascending order of the score.
        negatives_g: Examples with label 0, likewise.

    Returns:
        0 to 1, or None unless both classes occur.
    """
    # whole numbers, which float64 holds exactly up to 2**53 and int64 would wrap around beyond 2**63
    positives, negatives = positives_g.astype(np.float64), negatives_g.astype(np.float64)
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return None
    below = np.cumsum(negatives) - negatives
    return float((positives * (2 * below + negatives)).sum() / (2 * pairs))


def auc_error_of_groups(
    positives_g: Int64Array, negatives_g: Int64Array, wide_g: BoolArray
) -> float:
    """Largest distance of ``auc_of_groups`` from the AUC of the single scores.

    Args:
        positives_g: Examples with label 1, by group.
        negatives_g: Examples with label 0, by group.
        wide_g: Which groups hold different scores; the examples of other groups are truly tied.

    Returns:
        Half of the share of pairs whose order is not known; 0 without pairs.
    """
    positives, negatives = positives_g.astype(np.float64), negatives_g.astype(np.float64)
    pairs = positives.sum() * negatives.sum()
    return float((positives * negatives)[wide_g].sum() / (2 * pairs)) if pairs else 0.0
