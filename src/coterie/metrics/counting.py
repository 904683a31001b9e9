"""Counts the scores of a data set batch by batch, in bounded memory."""

from __future__ import annotations

import numpy as np

from coterie.metrics.groups import Floats
from coterie.metrics.histogram import MAX_GROUPS, ScoreHistogram

_TOGETHER = 1 << 20


class ScoreCounter:
    """Collects logits and labels; the size of the batches does not change the counts.

    Args:
        groups: Largest number of distinct scores that are counted one by one; more are coarsened.
        None: no limit, and memory grows with their number.
        together: Number of scores that are collected before they are counted.
    """

    def __init__(self, groups: int | None = MAX_GROUPS, *, together: int = _TOGETHER) -> None:
        self._groups = groups
        self._together = together
        self._kept: list[tuple[Floats, Floats]] = []
        self._waiting = 0
        self._counted = ScoreHistogram.merged([])

    def add(self, logits: Floats, labels: Floats) -> None:
        """Takes a batch.

        Args:
            logits: float32 [b].
            labels: float [b], 0 or 1.

        Raises:
            DataError: In this or an earlier batch a logit is not finite, or a label is neither 0
                nor 1.
        """
        self._kept.append((logits, labels))
        self._waiting += len(logits)
        while self._groups is not None and self._waiting >= self._together:
            self._count(self._together)

    def histogram(self) -> ScoreHistogram:
        """The scores of all batches so far.

        Raises:
            DataError: As for ``add``.
        """
        self._count(self._waiting)
        return self._counted

    def _count(self, scores: int) -> None:
        if not scores:
            return
        logits, labels = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        counted = ScoreHistogram.count(logits[:scores], labels[:scores])
        self._counted = ScoreHistogram.merged([self._counted, counted])
        if self._groups is not None:
            self._counted = self._counted.coarsened(self._groups)
        self._waiting -= scores
        self._kept = [(logits[scores:], labels[scores:])] if self._waiting else []
