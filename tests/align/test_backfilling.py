"""The backfilling curve against a plain loop over a really mixed gallery, and the area under it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from align.metrics import backfill_auc, backfill_curve
from registry.errors import BadVector, DimensionMismatch, InvalidInput
from registry.retrieval import retrieval


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def update(n=60, q=25, seed=0, noise=0.3):
    """A new model of 6 dimensions that knows more than the old one of 4, whose space is the first 4 of the new one."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, n + q)
    new = rng.standard_normal((5, 6))[labels] + 0.7 * rng.standard_normal((n + q, 6))
    old = new[:, :4] + noise * rng.standard_normal((n + q, 4))
    return new[:q], old[q:], new[q:], labels[:q], labels[q:]


def served(sides, mask, labels):
    """Mean average precision of a mixed gallery, one query at a time."""
    (q_old, g_old), (q_new, g_new) = sides
    q_labels, g_labels = labels
    values = []
    for i in range(len(q_old)):
        scores = np.where(mask, g_new @ q_new[i], g_old @ q_old[i])
        relevant = g_labels == q_labels[i]
        values.append(average_precision_score(relevant, scores))
    return np.mean(values)


@pytest.mark.parametrize("block", [None, 1, 7])
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_equals_a_search_of_the_mixed_gallery(block, metric):
    queries, old, new, q_labels, g_labels = update()
    order = np.random.default_rng(3).permutation(len(new))
    curve = backfill_curve(
        queries, old, new, queries_old=queries[:, :4], query_labels=q_labels, gallery_labels=g_labels,
        fractions=[0, 0.29, 0.5, 1], order=order, metric=metric, map_ks=(20,), block=block,
    )  # fmt: skip
    scale = unit if metric == "cosine" else np.asarray
    sides = [(scale(queries[:, :4]), scale(old)), (scale(queries), scale(new))]
    expected = []
    for fraction in (0, 0.29, 0.5, 1):
        mask = np.isin(np.arange(len(new)), order[: int(fraction * len(new))])
        expected.append(served(sides, mask, (q_labels, g_labels)))
    np.testing.assert_allclose(curve.values["map"], expected, atol=1e-6)
    assert curve.area["map"] == pytest.approx(backfill_auc([0, 0.29, 0.5, 1], expected), abs=1e-6)
    assert list(curve.values) == ["cmc@1", "cmc@5", "map", "map@r", "mrr", "map@20"] == list(curve.area)
    assert curve.queries == len(queries)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("same_items", [False, True])
def test_the_ends_are_the_cross_test_and_the_self_test(metric, same_items):
    queries, old, new, q_labels, g_labels = update()
    if same_items:
        queries, q_labels = new, g_labels
    arguments = {"query_labels": q_labels, "gallery_labels": g_labels, "metric": metric, "same_items": same_items}
    curve = backfill_curve(queries, old, new, queries_old=queries[:, :4], **arguments)
    first, last = retrieval(queries[:, :4], old, **arguments), retrieval(queries, new, **arguments)
    for name, values in curve.values.items():
        assert values[0] == pytest.approx(first.values()[name], abs=1e-6)
        assert values[-1] == pytest.approx(last.values()[name], abs=1e-6)
    np.testing.assert_allclose(curve.fractions, np.linspace(0, 1, 11))


def test_l2_scores_of_two_galleries_are_distances():
    """Each side shifts to an origin of its own, which must not show in the merged ranking."""
    queries, old, new, q_labels, g_labels = update()
    curve = backfill_curve(
        queries, old, new + 0, queries_old=queries[:, :4], query_labels=q_labels, gallery_labels=g_labels,
        metric="l2", fractions=[0, 0.5, 1], order=np.arange(len(new)),
    )  # fmt: skip
    values = []
    for i in range(len(queries)):
        distances = np.linalg.norm(old - queries[i, :4], axis=1)
        half = len(new) // 2
        distances[:half] = np.linalg.norm(new[:half] - queries[i], axis=1)
        values.append(average_precision_score(g_labels == q_labels[i], -distances))
    assert curve.values["map"][1] == pytest.approx(np.mean(values), abs=1e-6)


def test_scores_on_two_scales_need_calibration():
    """Old scores live in a narrow band near 1: uncalibrated, every old row outranks every new one."""
    queries, old, new, q_labels, g_labels = update(n=200, q=60)
    narrow = np.column_stack([0.05 * unit(old), np.ones(len(old))])
    asked = np.column_stack([0.05 * unit(queries[:, :4]), np.ones(len(queries))])
    arguments = {"queries_old": asked, "query_labels": q_labels, "gallery_labels": g_labels, "fractions": [0, 0.5, 1]}
    raw = backfill_curve(queries, narrow, new, **arguments)
    scale = 1.0025 / 0.0025
    mended = backfill_curve(queries, narrow, new, calibration=(lambda s: scale * (s - 1) + 1, lambda s: s), **arguments)
    assert mended.values["map"][1] > raw.values["map"][1] + 0.05
    for end in (0, -1):
        assert mended.values["map"][end] == pytest.approx(raw.values["map"][end], abs=2e-3)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_old_rows_that_cannot_be_read_are_never_found(metric):
    """Of a half that is new, precision counts the relevant items of the other half as missed."""
    queries, _, new, q_labels, g_labels = update()
    half = len(new) // 2
    curve = backfill_curve(
        queries, None, new, query_labels=q_labels, gallery_labels=g_labels, metric=metric, fractions=[0, 0.5, 1],
        order=np.arange(len(new)),
    )  # fmt: skip
    there = retrieval(queries, new[:half], query_labels=q_labels, gallery_labels=g_labels[:half], metric=metric)
    share = [np.sum(g_labels[:half] == label) / np.sum(g_labels == label) for label in q_labels]
    whole = retrieval(queries, new, query_labels=q_labels, gallery_labels=g_labels, metric=metric)
    expected = {"map": np.mean(there.per_query["map"] * share), "cmc@1": there.cmc[1], "mrr": there.mrr}
    for name, value in expected.items():
        assert curve.values[name] == pytest.approx([0, value, whole.values()[name]], abs=1e-6)


def test_some_rows_are_queries():
    _, old, new, _, labels = update()
    own = np.array([7, 3, 40, 11])
    arguments = {"query_labels": labels[own], "gallery_labels": labels, "own": own, "order": np.arange(len(new))}
    some = backfill_curve(new[own], old, new, queries_old=old[own], **arguments)
    for i, share in enumerate(some.fractions):
        mask = np.arange(len(new)) < int(share * len(new) + 1e-9)
        values = []
        for row in own:
            scores = np.where(mask, unit(new) @ unit(new)[row], unit(old) @ unit(old)[row])
            others = np.arange(len(new)) != row
            values.append(average_precision_score(labels[others] == labels[row], scores[others]))
        assert some.values["map"][i] == pytest.approx(np.mean(values), abs=1e-6)


def test_one_space_needs_no_second_queries():
    queries, old, new, q_labels, g_labels = update()
    arguments = {"query_labels": q_labels, "gallery_labels": g_labels, "fractions": [0, 1]}
    curve = backfill_curve(queries[:, :4], old, new[:, :4], **arguments)
    again = backfill_curve(queries[:, :4], old, new[:, :4], queries_old=queries[:, :4], **arguments)
    assert curve.area == again.area


def test_a_random_order_is_drawn_with_the_seed():
    queries, old, new, q_labels, g_labels = update()
    arguments = {"queries_old": queries[:, :4], "query_labels": q_labels, "gallery_labels": g_labels}
    a, b, c = (backfill_curve(queries, old, new, seed=seed, **arguments).values["map"] for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert (a[0], a[-1]) == (c[0], c[-1])


def test_multi_label_and_queries_without_a_relevant_item():
    queries, old, new, q_labels, g_labels = update()
    q, g = np.eye(6, dtype=bool)[q_labels], np.eye(6, dtype=bool)[g_labels]
    arguments = {"queries_old": queries[:, :4], "fractions": [0, 1]}
    one = backfill_curve(queries, old, new, query_labels=q_labels, gallery_labels=g_labels, **arguments)
    q[:3] = False
    many = backfill_curve(queries, old, new, query_labels=q, gallery_labels=g, **arguments)
    assert (one.queries, many.queries) == (25, 22)
    rest = backfill_curve(
        queries[3:], old, new, queries_old=queries[3:, :4], query_labels=q_labels[3:], gallery_labels=g_labels,
        fractions=[0, 1],
    )  # fmt: skip
    assert many.area == pytest.approx(rest.area)


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.int8, (9, 2), elements=st.integers(1, 3)),
    arrays(np.int8, (9, 2), elements=st.integers(1, 3)),
    arrays(np.int8, 9, elements=st.integers(0, 1)),
    st.integers(0, 9),
    st.permutations(range(9)),
)
def test_ties_across_the_sides_rank_relevant_items_last(old, new, labels, done, order):
    """Small integers score exactly: merged by hand, one query at a time."""
    fraction = done / 9
    steps = sorted({0.0, fraction, 1.0})
    curve = backfill_curve(
        new, old, new, queries_old=old, query_labels=labels, gallery_labels=labels, metric="dot",
        fractions=steps, order=order, ks=(1,),
    )  # fmt: skip
    mask = np.isin(np.arange(9), order[:done])
    ranks = []
    for i in range(9):
        scores = np.where(mask, new.astype(int) @ new[i], old.astype(int) @ old[i])
        relevant = labels == labels[i]
        best = scores[relevant].max()
        ranks.append((scores > best).sum() + ((scores == best) & ~relevant).sum() + 1)
    assert curve.values["mrr"][steps.index(fraction)] == pytest.approx(np.mean(1 / np.asarray(ranks)))


def test_area_is_the_trapezoid():
    assert backfill_auc([0, 0.25, 1], [1, 0, 1]) == pytest.approx(0.5)
    assert backfill_auc([0, 1], [0.3, 0.3]) == pytest.approx(0.3)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(["queries_new", "gallery_old", "gallery_new", "queries_old"]))
def test_broken_rows_are_refused(broken_rows, data, side):
    rows = dict.fromkeys(("queries_new", "gallery_old", "gallery_new", "queries_old"), np.ones((6, 3)))
    rows[side] = data.draw(broken_rows(6, 3))
    with pytest.raises(InvalidInput) as caught:
        backfill_curve(**rows, query_labels=[1] * 6, gallery_labels=[1] * 6)
    assert "\n" not in str(caught.value)


GOOD = {
    "queries_new": np.ones((2, 3)),
    "gallery_old": np.ones((4, 3)),
    "gallery_new": np.ones((4, 3)),
    "query_labels": [1, 2],
    "gallery_labels": [1, 2, 1, 2],
}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"gallery_old": np.ones((3, 3))}, InvalidInput, "2 old queries and 3 old rows stand against 2 and 4"),
        ({"queries_old": np.ones((3, 3))}, InvalidInput, "3 old queries and 4 old rows"),
        ({"gallery_old": np.ones((4, 2))}, DimensionMismatch, "queries have 3 dimensions, the gallery 2"),
        ({"gallery_new": np.asarray([[1, 1, 1], [0, 0, 0], [1, 1, 1], [1, 1, 1]])}, BadVector, "row 1"),
        ({"fractions": [0, 0.5]}, InvalidInput, "rise from 0 to 1"),
        ({"fractions": [0, 0.5, 0.5, 1]}, InvalidInput, "rise from 0 to 1"),
        ({"fractions": [0, np.nan, 1]}, InvalidInput, "rise from 0 to 1"),
        ({"fractions": "all"}, InvalidInput, "real numbers"),
        ({"order": "uncertainty"}, InvalidInput, "order must be 'random'"),
        ({"order": [0, 1, 2, 2]}, InvalidInput, "each of the 4 gallery rows once"),
        ({"order": [0, 1, 2]}, InvalidInput, "each of the 4 gallery rows once"),
        ({"order": [0.0, 1, 2, 3]}, InvalidInput, "order must be row numbers"),
        ({"seed": -1}, InvalidInput, "seed must be"),
        ({"query_labels": [5, 6]}, InvalidInput, "no query has a relevant item"),
        ({"block": 0}, InvalidInput, "block must be"),
        ({"calibration": (lambda s: s[:1, :1], lambda s: s)}, InvalidInput, "calibration must give"),
        ({"calibration": (lambda s: s, lambda s: s * np.nan)}, InvalidInput, "calibration must give"),
    ],
)
def test_bad_input(change, error, says):
    with pytest.raises(error, match=says) as caught:
        backfill_curve(**{**GOOD, **change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fractions", "values", "says"),
    [
        ([0, 0.5], [1, 1], "rise from 0 to 1"),
        ([0, 1], [1, 1, 1], "one length"),
        ([0, 1], [1, np.nan], "finite"),
        ([0], [1], "rise from 0 to 1"),
        ([0, 1], ["a", "b"], "real numbers"),
    ],
)
def test_bad_area(fractions, values, says):
    with pytest.raises(InvalidInput, match=says):
        backfill_auc(fractions, values)
