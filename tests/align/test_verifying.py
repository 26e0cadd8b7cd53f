"""1:1 verification against scikit-learn and a plain loop; pairs drawn evenly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from align.metrics import draw_pairs, verification
from align.metrics.verifying import _scores
from registry.errors import BadVector, DimensionMismatch, InvalidInput


def pairs(n=400, d=8, seed=0, noise=1.0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    same = rng.random(n) < 0.5
    a = rng.standard_normal((n, d))
    b = np.where(same[:, None], a + noise * rng.standard_normal((n, d)), rng.standard_normal((n, d)))
    return a.astype(dtype), b.astype(dtype), same


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(20, 80), st.booleans(), st.sampled_from(["dot", "l2"]))
def test_equals_scikit_learn_also_on_ties(seed, n, coarse, metric):
    rng = np.random.default_rng(seed)
    a, b, _ = pairs(n, d=2, seed=seed)
    if coarse:
        a, b = np.round(a) + 0.5, np.round(b) + 0.5
    same = rng.permutation(n) < n // 2
    rates = (0, 0.01, 0.1, 0.25, 1)
    found = verification(a, b, same, far=rates, folds=3, metric=metric)
    scores = _scores(a, b, metric)
    fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=False)
    assert found.tar == {rate: pytest.approx(tpr[fpr <= rate].max()) for rate in rates}
    assert found.auc == pytest.approx(roc_auc_score(same, scores))
    assert (found.same, found.different) == (same.sum(), (~same).sum())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_of_each_metric(dtype):
    a, b, same = pairs(dtype=dtype)
    x, y = a.astype(np.float64), b.astype(np.float64)
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    for metric, scores in {"cosine": cosine, "dot": (x * y).sum(1), "l2": -np.square(x - y).sum(1)}.items():
        assert verification(a, b, same, metric=metric).auc == pytest.approx(roc_auc_score(same, scores), abs=1e-3)


def folds_by_hand(scores, same, folds):
    """Every threshold between two scores is tried on the other folds; the highest of the best is taken."""
    fold = np.empty(len(same), int)
    for kind in (False, True):
        for i, place in enumerate(np.flatnonzero(same == kind)):
            fold[place] = i % folds
    accuracies = []
    for f in range(folds):
        train, test = fold != f, fold == f
        points = np.unique(scores[train])
        tries = [np.inf, *((points[1:] + points[:-1]) / 2)[::-1], -np.inf]
        right = [((scores[train] >= t) == same[train]).mean() for t in tries]
        t = tries[int(np.argmax(right))]
        accuracies.append(((scores[test] >= t) == same[test]).mean())
    return accuracies


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 10), st.floats(0.1, 3))
def test_accuracy_equals_a_plain_loop(seed, folds, noise):
    a, b, same = pairs(120, seed=seed, noise=noise)
    found = verification(a, b, same, folds=folds)
    expected = folds_by_hand(_scores(a, b, "cosine"), same, folds)
    np.testing.assert_allclose(found.per_fold, expected)
    assert found.accuracy == pytest.approx(np.mean(expected))


def test_thresholds_of_the_data_find_what_steps_miss():
    """Squared distances 1e-4 apart: steps of 0.001 between 0 and 4 cannot tell the kinds from each other."""
    rng = np.random.default_rng(0)
    angle = np.where(same := np.arange(60) % 2 == 0, 0.0100, 0.0140) + 1e-4 * rng.random(60)
    a = np.tile([1.0, 0.0], (60, 1))
    b = np.column_stack([np.cos(angle), np.sin(angle)])
    squared = np.square(a - b).sum(axis=1)
    grid = max((((squared < t) == same).mean()) for t in np.arange(0, 4, 0.001))
    found = verification(a, b, same)
    assert grid == 0.5
    assert found.accuracy == found.auc == 1
    assert found.tar == {1e-3: 1, 1e-2: 1, 1e-1: 1}


def test_one_point_cannot_be_verified():
    ones = np.ones((40, 3))
    found = verification(ones, ones, np.arange(40) % 2 == 0)
    assert found.auc == found.accuracy == 0.5
    assert set(found.tar.values()) == {0}


# --- drawing pairs --------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=30), st.integers(0, 1000), st.data())
def test_pairs_are_balanced_distinct_and_rightly_named(labels, seed, data):
    labels = np.asarray(labels)
    of_kind = [labels[i] == labels[j] for i, j in itertools.combinations(range(len(labels)), 2)]
    most = min(sum(of_kind), len(of_kind) - sum(of_kind))
    half = data.draw(st.integers(1, max(1, most)))
    if half > most:
        with pytest.raises(InvalidInput, match="draw fewer"):
            draw_pairs(labels, 2 * half, seed)
        return
    left, right, same = draw_pairs(labels, 2 * half, seed)
    assert (left < right).all()
    assert len(set(zip(left.tolist(), right.tolist(), strict=True))) == 2 * half
    np.testing.assert_array_equal(labels[left] == labels[right], same)
    assert same.sum() == half
    for again, first in zip(draw_pairs(labels, 2 * half, seed), (left, right, same), strict=True):
        np.testing.assert_array_equal(again, first)


def test_each_pair_is_as_likely_as_any_other():
    labels = ["a", "b", "a", "b", "b", "c"]
    counts = np.zeros((6, 6))
    for seed in range(3000):
        left, right, _ = draw_pairs(labels, 2, seed)
        counts[left, right] += 1
    same = np.asarray([[labels[i] == labels[j] for j in range(6)] for i in range(6)])
    for kind, expected in ((same, 3000 / 4), (~same, 3000 / 11)):
        seen = counts[kind & (np.arange(6)[:, None] < np.arange(6))]
        assert np.abs(seen - expected).max() < 5 * np.sqrt(expected)


def test_many_items_are_no_trouble():
    """200,000 items make 2e10 pairs, none of which is listed."""
    left, right, same = draw_pairs(np.arange(200_000) % 1000, 6000, seed=1)
    assert len(left) == 6000
    np.testing.assert_array_equal(left % 1000 == right % 1000, same)


# --- bad input ------------------------------------------------------------------------------------------------------

A, B, SAME = pairs(40)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.booleans())
def test_broken_rows_are_refused(broken_rows, data, second):
    bad = data.draw(broken_rows(40, 8))
    with pytest.raises(InvalidInput) as caught:
        verification(*((A, bad) if second else (bad, B)), SAME, folds=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"b": B[:39]}, InvalidInput, "a has 40 rows and b 39"),
        ({"b": B[:, :4]}, DimensionMismatch, "a has 8 dimensions, b 4"),
        ({"a": A * (np.arange(40) != 3)[:, None]}, BadVector, "a row 3"),
        ({"same": SAME[:39]}, InvalidInput, "each of 40 pairs"),
        ({"same": np.ones(40)}, InvalidInput, "got 0 of one"),
        ({"same": np.arange(40) < 5}, InvalidInput, "got 5 of one"),
        ({"same": np.arange(40)}, InvalidInput, "true or false"),
        ({"same": ["yes"] * 40}, InvalidInput, "real numbers"),
        ({"far": 0.1}, InvalidInput, "far must be fractions"),
        ({"far": (1.5,)}, InvalidInput, "far must be fractions"),
        ({"far": (np.nan,)}, InvalidInput, "far must be fractions"),
        ({"far": ()}, InvalidInput, "far must be fractions"),
        ({"folds": 1}, InvalidInput, "folds must be"),
        ({"metric": "angle"}, InvalidInput, "metric"),
    ],
)
def test_bad_input(change, error, says):
    given = {"a": A, "b": B, "same": SAME, "far": (0.1,), "folds": 10, "metric": "cosine", **change}
    with pytest.raises(error, match=says) as caught:
        verification(given.pop("a"), given.pop("b"), given.pop("same"), **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "n", "says"),
    [
        ([1, 1, 2], 3, "n must be even"),
        ([1, 1, 2], 0, "n must be"),
        ([1, 1, 1], 2, "1 different pairs were asked for, the labels allow 0"),
        ([1, 2, 3], 2, "1 same pairs were asked for, the labels allow 0"),
        ([], 2, "labels"),
        ([0.5, 1.5], 2, "labels must be"),
        (np.eye(3, dtype=bool), 2, "one for each item"),
        (7, 2, "labels must be"),
    ],
)
def test_bad_pairs(labels, n, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        draw_pairs(labels, n)
    assert "\n" not in str(caught.value)
