"""Sums the data owners' evaluation counts; releases only parts over enough examples."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from coterie.errors import MessageRefused
from coterie.metrics.histogram import MAX_GROUPS, SUMS, ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.ps.core.disclosure import Disclosure
from coterie.ps.wire import ps_pb2 as pb

SPLITS = ("validation", "test")


MAX_COUNTS_BYTES = MAX_GROUPS * (4 + 1 + 2 * 8) + 8 * SUMS
"""Longest arrays of one split's counts."""


_refused = partial(MessageRefused, "evaluation counts are out of bounds")


@dataclass(frozen=True)
class SplitCounts:
    """One owner's counts over one split, for the server's TEE only.

    Attributes:
        split: ``validation`` or ``test``.
        histogram: The scores, counted; most groups are of single scores.
    """

    split: str
    histogram: ScoreHistogram

    def to_wire(self) -> pb.EvaluationCounts:
        """Encodes the counts."""
        starts, levels, counts, sums = self.histogram.to_arrays()
        return pb.EvaluationCounts(
            split=self.split,
            starts=starts.astype("<u4", copy=False).tobytes(),
            levels=levels.tobytes(),
            counts=counts.astype(f"<u{counts.itemsize}", copy=False).tobytes(),
            sums=sums.astype("<f8", copy=False).tobytes(),
        )

    @staticmethod
    def from_wire(message: pb.EvaluationCounts, *, exact: bool = False) -> SplitCounts:
        """Decodes and bounds counts.

        Args:
            message: The received message.
            exact: Whether it may have any number of groups, since it comes from the same process.

        Raises:
            MessageRefused: The message does not hold such counts.
        """
        if message.split not in SPLITS:
            raise _refused(f"one of the splits {SPLITS}", repr(message.split)[:40])
        groups = len(message.levels)
        if groups > MAX_GROUPS and not exact:
            raise _refused(f"at most {MAX_GROUPS} groups of scores", str(groups))
        width = len(message.counts) // (2 * groups) if groups else 1
        if (len(message.starts), len(message.counts), len(message.sums)) != (
            4 * groups,
            2 * groups * width,
            8 * SUMS,
        ) or width not in {1, 2, 4, 8}:
            sizes = (len(message.starts), len(message.counts), len(message.sums))
            raise _refused(f"arrays for {groups} groups and {SUMS} sums", f"{sizes} bytes")
        return SplitCounts(
            message.split,
            ScoreHistogram.from_arrays(
                np.frombuffer(message.starts, "<u4"),
                np.frombuffer(message.levels, "<u1"),
                np.frombuffer(message.counts, f"<u{width}").reshape(2, groups),
                np.frombuffer(message.sums, "<f8"),
            ),
        )


class EvaluationTotals:
    """Collects one report per data owner and adds them in contract order.

    Args:
        owners: Names of the nodes that report, in contract order.
        disclosure: What may be released.
        splits: The splits that are reported.
    """

    def __init__(
        self,
        owners: tuple[str, ...],
        disclosure: Disclosure,
        splits: tuple[str, ...] = SPLITS,
    ) -> None:
        self._owners = owners
        self._splits = splits
        self._rule = disclosure
        self._reports: dict[str, tuple[SplitCounts, ...]] = {}

    @property
    def missing(self) -> tuple[str, ...]:
        """Owners that have not reported yet."""
        return tuple(owner for owner in self._owners if owner not in self._reports)

    def add(self, owner: str, counts: tuple[SplitCounts, ...]) -> None:
        """Takes an owner's report; a repeated one is ignored.

        Raises:
            MessageRefused: The node owns no data, or does not report every split once.
        """
        if owner not in self._owners:
            raise _refused(f"a report by one of {', '.join(self._owners)}", f"one by {owner}")
        if tuple(count.split for count in counts) != self._splits:
            raise _refused(f"the splits {self._splits}", str(tuple(c.split for c in counts))[:80])
        self._reports.setdefault(owner, counts)

    def reported(self, owner: str) -> bool:
        """Whether an owner has reported."""
        return owner in self._reports

    def released(self) -> dict[str, ReleasedScores]:
        """The totals over all reports by split, of splits with enough examples."""
        reports = [self._reports[owner] for owner in self._owners if owner in self._reports]
        totals: dict[str, ReleasedScores] = {}
        for i, split in enumerate(self._splits):
            parts = [report[i].histogram for report in reports]
            if self._rule.allows([part.examples for part in parts]):
                totals[split] = ReleasedScores.of(
                    parts, None if self._rule.exact else self._rule.allows
                )
        return totals
