"""Counted scores: exact while they are few, with a bound that holds where they are many, and strict."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from coterie.arrays import Float64Array, FloatArray, UInt32Array
from coterie.errors import MessageRefused
from coterie.metrics.binary import accuracy, calibration, log_loss, roc_auc
from coterie.metrics.histogram import MAX_GROUPS, ScoreHistogram, Unsigned
from coterie.metrics.ordered import LOWEST_KEY, values_of

_ANYWHERE = hnp.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(
        st.sampled_from([-2.0, 0.0, 0.5, 3.0]),
        st.floats(-1, 1, width=32),
        st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
)
# Of nearly one probability, so that they may be put together.
_NEAR = st.lists(st.integers(-40, 40), min_size=1, max_size=60).map(
    lambda steps: np.float32(0.3) + np.array(steps, np.float32) * np.float32(1e-5)
)
SCORES = st.one_of(_ANYWHERE, _NEAR)


def labels_for(scores: FloatArray, seed: int) -> FloatArray:
    return np.random.default_rng(seed).integers(0, 2, len(scores)).astype(np.float32)


def clicks(examples: int, seed: int, spread: float = 1.1) -> tuple[FloatArray, FloatArray]:
    """Logits of a fair model at about Criteo's click rate, and labels, at any scale of the logits."""
    random = np.random.default_rng(seed)
    logits = random.normal(-1.4, 1.1, examples)
    labels = (random.random(examples) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return ((logits + 1.4) * spread / 1.1 - 1.4).astype(np.float32), labels


@pytest.mark.parametrize("spread", [1e-6, 2**-10, 2**-9, 2**-8, 0.1, 1.1, 30.0])
def test_auc_is_exact_however_near_each_other_the_scores_are(spread: float) -> None:
    logits, labels = clicks(10_000, 1, spread)
    metrics = ScoreHistogram.count(logits, labels).metrics()
    assert metrics.auc == roc_auc(logits, labels)
    assert metrics.auc_error == 0
    assert metrics.log_loss == pytest.approx(log_loss(logits, labels), rel=1e-12)
    assert metrics.accuracy == accuracy(logits, labels)
    predictions = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert metrics.calibration == pytest.approx(calibration(predictions, labels), rel=1e-12)


def test_a_perfect_order_within_what_was_a_bin_is_perfect() -> None:
    """The worst case of equal bins of logits: an AUC of 1 was one half."""
    logits = np.float32(0.001) + np.arange(100, dtype=np.float32) * np.float32(1e-6)
    assert ScoreHistogram.count(logits, (np.arange(100) >= 50) * 1.0).metrics().auc == 1


@given(SCORES, st.integers(0, 2**32))
def test_counted_scores_have_the_auc_of_the_single_ones(scores: FloatArray, seed: int) -> None:
    labels = labels_for(scores, seed)
    assert ScoreHistogram.count(scores, labels).metrics().auc == roc_auc(scores, labels)


@given(SCORES, st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 4))
def test_coarsened_and_merged_counts_are_within_their_bound(
    scores: FloatArray, seed: int, groups: int, owners: int
) -> None:
    labels = labels_for(scores, seed)
    part_n = np.random.default_rng(seed + 1).integers(0, owners, len(scores))
    parts = [
        ScoreHistogram.count(scores[part_n == i], labels[part_n == i]).coarsened(groups)
        for i in range(owners)
    ]
    total = ScoreHistogram.merged(parts)
    ends = total.starts + (1 << total.levels)
    assert (total.starts[1:] >= ends[:-1]).all()
    assert total.positives.sum() == labels.sum()
    assert total.examples == len(scores)
    exact, auc = roc_auc(scores, labels), total.metrics().auc
    assert (exact is None) == (auc is None)
    if exact is not None and auc is not None:
        assert abs(auc - exact) <= total.auc_error + 1e-12
    # and mean predictions within theirs
    counts = total.positives + total.negatives
    mean = (total.predictions() * counts).sum() / counts.sum()
    assert mean == pytest.approx(total.prediction_sum / counts.sum(), abs=2**-11)


def test_many_scores_become_groups_of_about_as_many_examples() -> None:
    logits, labels = clicks(200_000, 3)
    whole = ScoreHistogram.count(logits, labels)
    coarse = whole.coarsened()
    assert len(whole.starts) > MAX_GROUPS >= len(coarse.starts) > MAX_GROUPS / 3
    assert (coarse.positives + coarse.negatives).max() <= 16
    exact, metrics = roc_auc(logits, labels), coarse.metrics()
    assert 0 < coarse.auc_error < 3e-5
    assert metrics.auc == pytest.approx(exact, abs=1e-6)
    assert metrics.log_loss == whole.metrics().log_loss
    assert sum(array.nbytes for array in coarse.to_arrays()) < 7 * MAX_GROUPS


def test_a_few_scores_far_apart_are_no_group_of_one_prediction() -> None:
    logits = np.random.default_rng(0).normal(-4, 0.3, 60_000).astype(np.float32)
    logits[:10] = np.linspace(0.5, 4, 10)
    coarse = ScoreHistogram.count(logits, np.zeros(60_000)).coarsened(2_048)
    assert 1_000 < len(coarse.starts) <= 2_048
    exact = np.sort(1 / (1 + np.exp(-logits[:10].astype(np.float64))))
    assert coarse.predictions()[-10:] == pytest.approx(exact, abs=2**-11)


def test_few_scores_are_never_put_together() -> None:
    logits = np.repeat(np.linspace(-3, 3, MAX_GROUPS, dtype=np.float32), 3)
    counted = ScoreHistogram.count(logits, np.arange(len(logits)) % 2.0)
    assert counted.coarsened() is counted
    assert counted.auc_error == 0


def test_counts_of_parts_are_those_of_the_whole_in_every_order() -> None:
    logits, labels = clicks(4_000, 7)
    places = np.split(np.random.default_rng(1).permutation(4_000), [700, 700, 2_500])
    parts = [ScoreHistogram.count(logits[place], labels[place]) for place in places]
    coarse = [part.coarsened(2_048 // (i + 1)) for i, part in enumerate(parts)]
    whole = ScoreHistogram.count(logits, labels)
    exact = ScoreHistogram.merged(parts)
    assert same(ScoreHistogram.merged(parts[::-1]), exact)
    for field in ("starts", "levels", "positives", "negatives"):
        np.testing.assert_array_equal(getattr(exact, field), getattr(whole, field))
    assert exact.loss_sum == pytest.approx(whole.loss_sum, rel=1e-15)
    merged = ScoreHistogram.merged(coarse)
    assert same(ScoreHistogram.merged(coarse[::-1]), merged)
    assert same(ScoreHistogram.merged([ScoreHistogram.merged(coarse[:2]), *coarse[2:]]), merged)
    assert same(ScoreHistogram.merged([]), ScoreHistogram.count(logits[:0], labels[:0]))


def test_the_order_of_the_examples_changes_no_bit() -> None:
    logits, labels = clicks(5_000, 2)
    order = np.random.default_rng(0).permutation(5_000)
    assert same(
        ScoreHistogram.count(logits, labels), ScoreHistogram.count(logits[order], labels[order])
    )


def test_the_widest_of_intervals_in_each_other_stays() -> None:
    def part(start: int, level: int, count: int) -> ScoreHistogram:
        return read(starts=[start], levels=[level], counts=[[count], [0]], sums=(0, 0, 0))

    base = 1 << 31
    merged = ScoreHistogram.merged(
        [part(base, 0, 1), part(base, 4, 2), part(base + 15, 0, 4), part(base + 16, 2, 8)]
    )
    assert merged.starts.tolist() == [base, base + 16]
    assert merged.levels.tolist() == [4, 2]
    assert merged.positives.tolist() == [7, 8]


def same(a: ScoreHistogram, b: ScoreHistogram) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.to_arrays(), b.to_arrays(), strict=True))


@given(SCORES, st.integers(0, 2**32), st.integers(1, 70))
def test_a_histogram_survives_the_wire(scores: FloatArray, seed: int, groups: int) -> None:
    sent = ScoreHistogram.count(scores, labels_for(scores, seed)).coarsened(groups)
    received = ScoreHistogram.from_arrays(*sent.to_arrays())
    assert same(received, sent)
    assert received.metrics() == sent.metrics()


@pytest.mark.parametrize(("count", "width"), [(255, 1), (256, 2), (2**16, 4), (2**32, 8)])
def test_counts_take_no_more_bytes_than_the_largest_needs(count: int, width: int) -> None:
    counted = read(counts=[[count, 1], [0, 1]])
    assert counted.to_arrays()[2].itemsize == width
    assert same(ScoreHistogram.from_arrays(*counted.to_arrays()), counted)


BASE = 1 << 31


def read(
    starts: list[int] | None = None,
    levels: list[int] | None = None,
    counts: list[list[int]] | None = None,
    sums: tuple[float, ...] = (0.5, 0.5, 1.0),
) -> ScoreHistogram:
    counts_g: Unsigned = np.array(counts or [[1, 0], [0, 1]], np.uint64)
    return ScoreHistogram.from_arrays(
        np.array(starts or [BASE, BASE + 16], np.uint32),
        np.array(levels or [0, 4], np.uint8),
        counts_g,
        np.array(sums, np.float64),
    )


@pytest.mark.parametrize(
    ("starts", "levels", "counts", "sums", "named"),
    [
        (None, [0, 33], None, None, "levels"),
        (None, [255, 0], None, None, "levels"),
        ([BASE, BASE + 8], [0, 4], None, None, "starts"),  # no multiple
        ([BASE, BASE + 1], [1, 0], None, None, "starts"),  # one in the other
        ([BASE, BASE], [0, 0], None, None, "starts"),
        ([BASE + 1, BASE], [0, 0], None, None, "starts"),
        ([0, BASE], [32, 0], None, None, "starts"),
        ([0, BASE], [0, 0], None, None, "starts"),  # minus infinity and less
        ([LOWEST_KEY - 1, BASE], [0, 0], None, None, "starts"),
        ([BASE, 2**32 - 1], [0, 0], None, None, "starts"),
        ([BASE, 0xFF80_0000], [0, 23], None, None, "starts"),
        (None, None, [[1, 0], [1, 0]], None, "counts"),  # an empty interval
        (None, None, [[2**53, 0], [0, 1]], None, "counts"),
        (None, None, [[2**63, 2**63], [2**63, 2**63]], None, "counts"),
        (None, None, [[2**64 - 1, 1], [3, 0]], None, "counts"),  # three, if they wrapped around
        (None, None, None, (math.nan, 0.5, 1), "loss sum"),
        (None, None, None, (math.inf, 0.5, 1), "loss sum"),
        (None, None, None, (-1, 0.5, 1), "loss sum"),
        (None, None, None, (0.5, 2.5, 1), "prediction sum"),
        (None, None, None, (0.5, math.nan, 1), "prediction sum"),
        (None, None, None, (0.5, 0.5, 3), "correct"),
        (None, None, None, (0.5, 0.5, 0.5), "correct"),
        (None, None, None, (0.5, 0.5, math.nan), "correct"),
    ],
)
def test_arrays_that_are_no_histogram_are_refused(
    starts: list[int] | None,
    levels: list[int] | None,
    counts: list[list[int]] | None,
    sums: tuple[float, ...] | None,
    named: str,
) -> None:
    assert read().examples == 2, "what is not changed is accepted"
    with pytest.raises(MessageRefused) as refusal:
        read(starts, levels, counts, sums or (0.5, 0.5, 1.0))
    assert f"evaluation's {named} is" in refusal.value.what
    assert refusal.value.expected
    assert refusal.value.seen


def test_the_widest_interval_of_all_is_read() -> None:
    counted = read([0], [32], [[3], [1]])
    assert counted.auc_error == 0.5
    assert values_of(counted.starts)[0] == -np.finfo(np.float32).max


@given(
    hnp.arrays(np.uint32, st.integers(0, 4)),
    st.data(),
    hnp.arrays(np.float64, (3,), elements=st.floats(allow_nan=True, allow_infinity=True)),
)
def test_arbitrary_arrays_are_read_or_refused(
    starts: UInt32Array, data: st.DataObject, sums: Float64Array
) -> None:
    levels = data.draw(hnp.arrays(np.uint8, starts.shape))
    counts = data.draw(hnp.arrays(np.uint64, (2, len(starts))))
    try:
        metrics = ScoreHistogram.from_arrays(starts, levels, counts, sums).metrics()
    except MessageRefused:
        return
    json.dumps(metrics.to_dict(), allow_nan=False)
