"""AUC over the counts of several owners, each at its own resolution, and the possible error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coterie.metrics.histogram import ScoreHistogram


def pooled_auc(parts: Sequence[ScoreHistogram]) -> tuple[float, float] | None:
    """Area under the ROC curve of all examples together.

    An owner with few scores in a region has wide groups there, where another owner may have many
    narrow ones. So groups are not merged: each is compared with all others.

    Args:
        parts: One per owner.

    Returns:
        The AUC and its largest distance from that of the single scores, which is half of the share
        of pairs whose groups overlap, except groups of one score. None unless both classes occur.
    """
    starts = np.concatenate([part.starts for part in parts] or [np.zeros(0, np.int64)])
    levels = np.concatenate([part.levels for part in parts] or [starts])
    # whole numbers, which float64 holds exactly up to 2**53
    positives = np.concatenate([part.positives for part in parts] or [starts]).astype(np.float64)
    negatives = np.concatenate([part.negatives for part in parts] or [starts]).astype(np.float64)
    pairs = positives.sum() * negatives.sum()
    if pairs == 0:
        return None
    ends = starts + (1 << levels)
    by_start, by_end = np.argsort(starts, kind="stable"), np.argsort(ends, kind="stable")
    # for each group: negatives of the groups below it, and of the groups not above it
    below = np.concatenate(([0], np.cumsum(negatives[by_end])))[
        np.searchsorted(ends[by_end], starts, side="right")
    ]
    not_above = np.concatenate(([0], np.cumsum(negatives[by_start])))[
        np.searchsorted(starts[by_start], ends, side="left")
    ]
    auc = (positives * (below + not_above)).sum() / (2 * pairs)
    single = levels == 0
    _, score = np.unique(starts[single], return_inverse=True)
    tied = np.bincount(score, positives[single]) * np.bincount(score, negatives[single])
    unknown = (positives * (not_above - below)).sum() - tied.sum()
    return float(auc), float(unknown / (2 * pairs))
