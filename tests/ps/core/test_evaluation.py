"""Evaluation counts: bounded on arrival, added in contract order, withheld over few examples."""

from __future__ import annotations

import numpy as np
import pytest

from coterie.errors import MessageRefused
from coterie.metrics.histogram import MAX_GROUPS, ScoreHistogram
from coterie.metrics.released import ReleasedScores
from coterie.ps.core.disclosure import EVERYTHING, Disclosure
from coterie.ps.core.evaluation import EvaluationTotals, SplitCounts
from coterie.ps.wire import ps_pb2 as pb


def counts(seed: int, validation: int = 10, test: int = 10) -> tuple[SplitCounts, ...]:
    random = np.random.default_rng(seed)

    def histogram(examples: int) -> ScoreHistogram:
        labels = random.integers(0, 2, examples).astype(np.float32)
        return ScoreHistogram.count(random.normal(size=examples).astype(np.float32), labels)

    return (
        SplitCounts("validation", histogram(validation)),
        SplitCounts("test", histogram(test)),
    )


def same(a: ScoreHistogram, b: ScoreHistogram) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.to_arrays(), b.to_arrays(), strict=True))


def test_counts_cross_the_wire_unchanged() -> None:
    for count in (*counts(1), *counts(2, 0, 3), *counts(3, 3_000, 3_000)):
        for histogram in (count.histogram, count.histogram.coarsened(100)):
            sent = SplitCounts(count.split, histogram).to_wire()
            back = SplitCounts.from_wire(pb.EvaluationCounts.FromString(sent.SerializeToString()))
            assert back.split == count.split
            assert same(back.histogram, histogram)


def test_more_scores_than_a_message_may_hold_come_from_the_same_process_alone() -> None:
    logits = np.linspace(-1, 1, MAX_GROUPS + 1)
    histogram = ScoreHistogram.count(logits, np.arange(len(logits)) % 2.0)
    sent = SplitCounts("test", histogram).to_wire()
    with pytest.raises(MessageRefused) as refused:
        SplitCounts.from_wire(sent)
    assert (refused.value.expected, refused.value.seen) == (
        "at most 32768 groups of scores",
        "32769",
    )
    assert same(SplitCounts.from_wire(sent, exact=True).histogram, histogram)


def changed(**fields: str | bytes) -> pb.EvaluationCounts:
    message = counts(1)[0].to_wire()
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def words(*values: int, kind: str = "<u4") -> bytes:
    return np.array(values, kind).tobytes()


BASE = 1 << 31  # the key of logit 0
ONE = {"starts": words(BASE), "levels": b"\0", "counts": words(1, 1, kind="<u8")}  # a group alone


def float64s(*values: float) -> bytes:
    return np.array(values, "<f8").tobytes()


REFUSED: list[tuple[dict[str, str | bytes], str]] = [
    ({"split": "train"}, "'train'"),
    ({"split": ""}, "''"),
    ({"split": "x" * 1000}, "'" + "x" * 39),
    ({"counts": b""}, "(40, 0, 24) bytes"),
    ({"counts": bytes(10)}, "(40, 10, 24) bytes"),
    ({"counts": bytes(60)}, "(40, 60, 24) bytes"),  # three bytes each
    ({"counts": bytes(320)}, "(40, 320, 24) bytes"),  # sixteen
    ({"starts": bytes(39)}, "(39, 20, 24) bytes"),
    ({"levels": b""}, "(40, 20, 24) bytes"),
    ({"levels": bytes(MAX_GROUPS + 1)}, "32769"),
    ({"sums": bytes(16)}, "(40, 20, 16) bytes"),
    ({"levels": b"\x21" + bytes(9)}, "33"),
    ({**ONE, "starts": words(BASE + 1), "levels": b"\1"}, "another number"),
    ({**ONE, "starts": words(0)}, "infinite ones or none"),
    ({"starts": words(*range(BASE + 10, BASE, -1))}, "another order or overlaps"),
    ({"starts": words(*[BASE] * 10)}, "another order or overlaps"),
    ({"counts": bytes(20)}, "an empty interval"),
    ({**ONE, "counts": words(2**63, 2**63, kind="<u8")}, "more"),
    ({**ONE, "counts": words(2**53, 0, kind="<u8")}, "more"),
    ({"sums": float64s(float("nan"), 1, 1)}, "nan"),
    ({"sums": float64s(-1, 1, 1)}, "-1.0"),
    ({"sums": float64s(1, 11, 1)}, "11.0"),
    ({"sums": float64s(1, 1, 11)}, "11.0"),
    ({"sums": float64s(1, 1, 0.5)}, "0.5"),
]


@pytest.mark.parametrize(("fields", "seen"), REFUSED)
def test_counts_out_of_bounds_are_refused(fields: dict[str, str | bytes], seen: str) -> None:
    with pytest.raises(MessageRefused) as refused:
        SplitCounts.from_wire(changed(**fields))
    assert refused.value.seen == seen
    assert refused.value.expected


def test_totals_add_up_in_contract_order_whatever_order_they_came_in() -> None:
    reports = {f"w{i}": counts(i) for i in range(3)}
    released = []
    for order in (("w0", "w1", "w2"), ("w2", "w0", "w1")):
        totals = EvaluationTotals(("w0", "w1", "w2"), EVERYTHING)
        for owner in order:
            totals.add(owner, reports[owner])
        released.append(totals.released())
    assert released[0] == released[1]
    for i, split in enumerate(("validation", "test")):
        first = reports["w0"][i].histogram
        expected = [first, reports["w1"][i].histogram, reports["w2"][i].histogram]
        assert released[0][split] == ReleasedScores.of([ScoreHistogram.merged(expected)])


def test_a_repeated_report_is_ignored() -> None:
    totals = EvaluationTotals(("w0",), EVERYTHING)
    totals.add("w0", counts(1))
    totals.add("w0", counts(2))
    assert totals.released()["validation"] == ReleasedScores.of([counts(1)[0].histogram])


def test_missing_owners_are_named_in_contract_order() -> None:
    totals = EvaluationTotals(("w0", "w1", "w2"), EVERYTHING)
    totals.add("w1", counts(1))
    assert totals.missing == ("w0", "w2")


@pytest.mark.parametrize(
    ("validation", "test", "released"),
    [(25, 25, ["validation", "test"]), (25, 24, ["validation"]), (24, 25, ["test"]), (1, 1, [])],
)
def test_a_total_over_too_few_examples_is_withheld(
    validation: int, test: int, released: list[str]
) -> None:
    totals = EvaluationTotals(("w0", "w1"), Disclosure(50, 2))
    totals.add("w0", counts(0, 25, 25))
    totals.add("w1", counts(1, validation, test))
    assert [*totals.released()] == released


def test_one_partys_total_is_withheld_however_large_it_is() -> None:
    totals = EvaluationTotals(("w0", "w1"), Disclosure(10, 2))
    totals.add("w0", counts(0, 500, 500))
    assert not totals.released(), "the other is excused"
    totals.add("w1", counts(1, 0, 1))
    assert [*totals.released()] == ["test"]


def test_a_node_that_owns_no_data_is_refused() -> None:
    totals = EvaluationTotals(("chief",), EVERYTHING)
    with pytest.raises(MessageRefused) as refused:
        totals.add("w0", counts(0))
    assert (refused.value.expected, refused.value.seen) == ("a report by one of chief", "one by w0")


@pytest.mark.parametrize("splits", [(), (0,), (1, 0), (0, 0), (0, 1, 1)])
def test_a_report_that_has_not_every_split_once_is_refused(splits: tuple[int, ...]) -> None:
    totals, both = EvaluationTotals(("w0",), EVERYTHING), counts(0)
    with pytest.raises(MessageRefused) as refused:
        totals.add("w0", tuple(both[i] for i in splits))
    assert refused.value.expected == "the splits ('validation', 'test')"
    assert totals.missing == ("w0",)
