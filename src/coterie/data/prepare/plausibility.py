"""Warnings about unusual raw data, although every row can be read, before hours of training.

All of them are guesses, so nothing is refused. Memory is bounded: distinct numbers are counted in a
sample of the first rows only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from coterie.arrays import Int64Array
from coterie.contract import Contract
from coterie.data.manifest import SPLITS, Manifest
from coterie.data.prepare.numeric import MISSING
from coterie.data.prepare.reader import RawRows

SAMPLE_ROWS = 100_000
_ENOUGH_ROWS = 50
"""With fewer rows, nearly anything may be chance."""

_SORTED = 0.1
_DISTINCT = 0.9
_LARGE_ID = 1000
_NEGATIVE = 0.2
ID_NAME = re.compile(
    r"(?:^|_)(?:id|ids|uid|uuid|guid|key|zip|zipcode)$|[a-z](?:Id|ID)$", re.IGNORECASE
)
_LIST_SHARE = 0.01
_POINT_SHARE = 0.5
_SPACE, _POINT, _ZERO = b" .0"
_LISTS = {"|": 0.0, ";": _LIST_SHARE, ",": _LIST_SHARE}
"""Separators of ids in a list, with the share of a column's cells that gives a warning."""


class Suspicions:
    """Examines rows while they are read.

    Args:
        contract: The contract, with columns and disclosure limits.
    """

    def __init__(self, contract: Contract) -> None:
        data = contract.data
        self._contract = contract
        self._numeric = data.numeric
        self._categorical = data.categorical
        self._whole = [name not in data.decimals for name in data.numeric]
        self._rows = self._positives = self._changes = 0
        self._last: int | None = None
        self._numbers: list[Int64Array] = []
        self._sampled = 0
        self._lists = {sign: np.zeros(len(data.categorical), np.int64) for sign in _LISTS}
        self._points = np.zeros(len(data.categorical), np.int64)
        self._filled = np.zeros(len(data.categorical), np.int64)

    def look(self, rows: RawRows) -> None:
        """Examines rows, in file order."""
        labels = rows.labels_b.astype(np.int64)
        if not len(labels):
            return
        self._rows += len(labels)
        self._positives += int(labels.sum())
        self._changes += int(np.count_nonzero(np.diff(labels)))
        self._changes += int(self._last is not None and self._last != labels[0])
        self._last = int(labels[-1])
        if self._sampled < SAMPLE_ROWS:
            some = rows.numeric_bn[: SAMPLE_ROWS - self._sampled]
            self._numbers.append(some.copy())
            self._sampled += len(some)
        self._look_at_ids(rows)

    def told(self, manifests: Sequence[Manifest]) -> tuple[str, ...]:
        """The warnings, one sentence each, after everything was read and prepared.

        Args:
            manifests: The parties' manifests.
        """
        return (*self._of_order(), *self._of_numbers(), *self._of_ids(), *self._of_parts(manifests))

    def _look_at_ids(self, rows: RawRows) -> None:
        text, starts, lengths = rows.text, rows.starts_bm, rows.lengths_bm
        self._filled += (lengths > 0).sum(axis=0)
        ends = starts + lengths
        whole = (lengths > 2) & (text[ends - 1] == _ZERO) & (text[ends - 2] == _POINT)
        whole &= (text[starts] >= _ZERO) & (text[starts] < _ZERO + 10)
        self._points += whole.sum(axis=0)
        for sign, counts in self._lists.items():
            # The text ends with padding, so a byte follows every separator.
            places = np.flatnonzero(text[:-1] == ord(sign))
            places = places[text[places + 1] != _SPACE]
            if not len(places):
                continue
            for i in range(len(counts)):
                cells = np.searchsorted(starts[:, i], places, side="right") - 1
                within = (cells >= 0) & (places < ends[cells, i])
                counts[i] += len(np.unique(cells[within]))

    def _of_order(self) -> list[str]:
        if self._rows < _ENOUGH_ROWS or not 0 < self._positives < self._rows:
            return []
        share = self._positives / self._rows
        expected = 2 * share * (1 - share) * (self._rows - 1)
        if self._changes >= _SORTED * expected or expected < 5:
            return []
        told = (
            f"the file is sorted by its label, or by what goes with it: the label changes {self._changes:,} times, "
            f"where {expected:,.0f} are usual. The first six sevenths of the rows train, the rest tests: shuffle the "
            "rows, unless they are in the order of time"
        )
        return [told]

    def _of_numbers(self) -> list[str]:
        if self._sampled < _ENOUGH_ROWS:
            return []
        numbers = np.concatenate(self._numbers)
        said = []
        for i, name in enumerate(self._numeric):
            present = numbers[:, i][numbers[:, i] != MISSING]
            distinct = len(np.unique(present))
            if not len(present):
                said.append(f"{name} has no number in any row looked at: it teaches nothing")
            elif distinct == 1:
                said.append(f"{name} is {present[0]} in every row looked at: it teaches nothing")
            elif (
                self._whole[i]
                and distinct > _DISTINCT * len(present)
                and len(present) >= _ENOUGH_ROWS
            ):
                said.append(
                    f"{name} looks like an id or a time stamp: {distinct:,} different numbers in {len(present):,} "
                    "rows. As a number it teaches little: make it a categorical column, or leave it out"
                )
            elif self._whole[i] and ID_NAME.search(name) and present.max() >= _LARGE_ID:
                said.append(
                    f"{name} looks like an id by its name: in data.numeric it is taken for an amount. Make it a "
                    "categorical column"
                )
        return said

    def _of_ids(self) -> list[str]:
        said = []
        for i, name in enumerate(self._categorical):
            filled = int(self._filled[i])
            for sign, share in _LISTS.items():
                count = int(self._lists[sign][i])
                if count and count >= share * filled:
                    said.append(
                        f"{name} has {count:,} of {filled:,} cells with {sign!r}: if these are lists, each is taken "
                        "for one id, since lists are not supported. Give the parts columns of their own"
                    )
            if filled and self._points[i] >= _POINT_SHARE * filled:
                said.append(
                    f"{name} has ids that are written as decimals, such as 30.0: 30 is another id. Write them as "
                    "whole numbers, as the other parties do"
                )
        return said

    def _of_parts(self, manifests: Sequence[Manifest]) -> list[str]:
        said = []
        for manifest in manifests:
            for split in SPLITS:
                part = manifest.entry(split)
                if part.rows and part.positives in {0, part.rows}:
                    which = "positive" if part.positives else "negative"
                    said.append(
                        f"{manifest.party}'s {split} part has {which} rows only: "
                        + ("nothing can be learnt" if split == "train" else "it gives no AUC")
                    )
            said += self._of_columns(manifest)
        minimum = self._contract.limits.evaluation_minimum
        tested = sum(manifest.test.rows for manifest in manifests)
        if tested < minimum and len(manifests) == len(self._contract.data_owners()):
            said.append(
                f"there are {tested:,} test rows, fewer than limits.evaluation_minimum ({minimum}): an attested run "
                "withholds its results. Give more rows, or agree on a smaller minimum"
            )
        return said

    def _of_columns(self, manifest: Manifest) -> list[str]:
        rows = manifest.train.rows
        negative = [
            f"{manifest.party}'s {column.name} has {column.negative:,} negative numbers in {rows:,} rows, which count as 0: "
            "split it into two columns, or shift it, if they matter"
            for column in manifest.numeric
            if column.negative > _NEGATIVE * rows
        ]
        return negative + [
            f"{manifest.party}'s {column.name} has an id of its own in nearly every row ({column.unique:,} in {rows:,}): "
            "nothing is learnt from ids that never come again"
            for column in manifest.categorical
            if rows >= _ENOUGH_ROWS and column.unique > _DISTINCT * rows
        ]
