"""The numbers of a study, one by one: a half-filled gallery, the order of filling, neighbours, components, maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.metrics import backfill_auc
from registry.retrieval import retrieval
from registry.study import filling, neighbours, scores
from registry.study.components import prepared, principal
from registry.study.maps import FEWEST, TOLD, aligned, breadth, maps
from registry.study.sides import Sides

N = 24


def case(metric="cosine", n=N, d=5, seed=0):
    """Labels, and the sides of all three stages; every item is a query."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    old = (rng.standard_normal((4, d))[labels] + rng.standard_normal((n, d))).astype(np.float32)
    mapped, new = ((old + s * rng.standard_normal((n, d))).astype(np.float32) for s in (0.6, 0.3))
    return labels, {
        "today": Sides(old, old, metric), "upgraded": Sides(mapped, old, metric), "backfilled": Sides(new, new, metric),
    }  # fmt: skip


def by_hand(labels, sides, order, share, metric):
    """Mean average precision and CMC@1 of a gallery of which a share is new; what cannot be read is never found."""
    n = len(labels)
    fresh = np.isin(np.arange(n), order[: int(np.floor(share * n + 1e-9))])

    def score(of):
        if of is None:
            return np.full((n, n), -np.inf)
        q, g = (np.asarray(x, np.float64) for x in (of.queries, of.gallery))
        if metric == "cosine":
            q, g = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, g))
        return -np.square(q[:, None] - g).sum(axis=2) if metric == "l2" else q @ g.T

    merged = np.where(fresh, score(sides["backfilled"]), score(sides.get("upgraded")))
    precision, first = [], []
    for i, row in enumerate(merged):
        others = [j for j in np.argsort(-row, kind="stable") if j != i]
        right = np.array([labels[j] == labels[i] and row[j] > -np.inf for j in others])
        places = np.flatnonzero(right)
        precision.append((np.arange(1, len(places) + 1) / (places + 1)).sum() / (np.sum(labels == labels[i]) - 1))
        first.append(right[0])
    return np.mean(precision), np.mean(first)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("path", [True, False])
def test_filling_equals_a_search_of_both_segments(metric, path):
    labels, sides = case(metric)
    sides = sides if path else {stage: of for stage, of in sides.items() if stage != "upgraded"}
    order = np.random.default_rng(8).permutation(N)
    steps = []
    found = filling.filling(
        sides, np.arange(N), labels, first=order, seed=1, told=lambda: steps.append(None)
    )  # fmt: skip
    assert [(f.order, f.metric) for f in found] == [
        (o, m) for o in ("random", "uncertainty") for m in ("map", "cmc@1")
    ]  # fmt: skip
    assert len(steps) == filling.DRAWS + 1
    told = {(f.order, f.metric): f for f in found}
    shares = [i / 10 for i in range(11)]
    expected = np.array([by_hand(labels, sides, order, share, metric) for share in shares])
    for i, m in enumerate(("map", "cmc@1")):
        curve = told["uncertainty", m].curve
        assert curve.at == pytest.approx(shares)
        np.testing.assert_allclose(curve.values, expected[:, i], atol=1e-6)
        assert told["uncertainty", m].area == pytest.approx(backfill_auc(shares, expected[:, i]), abs=1e-6)
        drawn = told["random", m]
        np.testing.assert_allclose([drawn.curve.values[i] for i in (0, -1)], expected[[0, -1], i], atol=1e-6)
        assert drawn.area == pytest.approx(backfill_auc(shares, drawn.curve.values))
        assert drawn.curve.values != curve.values


def test_scores_of_two_metrics_are_not_merged():
    labels, sides = case("cosine")
    apart = {**sides, "backfilled": Sides(sides["backfilled"].queries, sides["backfilled"].gallery, "l2")}
    assert filling.filling(apart, np.arange(N), labels, first=None, seed=0, told=lambda: None) == ()


def test_what_the_path_serves_worst_comes_first():
    rng = np.random.default_rng(0)
    old = np.concatenate([rng.normal(m, 0.2, (100, 4)) for m in (3, -3)]).astype(np.float32)
    far = np.concatenate([rng.uniform(0, 0.1, 100), rng.uniform(0.5, 0.6, 100)])
    order = filling.worst_first(old, "cosine", far, 0)
    assert sorted(order) == list(range(200))
    assert set(order[:100]) == set(range(100, 200))


@given(st.integers(0, 199), st.sampled_from(["cosine", "dot", "l2"]), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_an_item_has_no_say_in_its_own_place(item, metric, seed):
    """Its own new vector is not known before it is re-embedded: only those that are near it are asked."""
    rng = np.random.default_rng(seed)
    old = rng.standard_normal((200, 3)).astype(np.float32)
    far = np.zeros(200)
    far[item] = 1.0
    order = filling.worst_first(old, metric, far, seed)
    told = np.flatnonzero(np.diff(order) < 0)  # of equally well predicted items the first ones come first
    near = set(order[: told[0] + 1].tolist()) if len(told) else set()
    assert item not in near


def test_deviations_are_angles_or_squared_distances():
    _, sides = case("cosine")
    x, y = sides["upgraded"].queries.astype(np.float64), sides["upgraded"].gallery.astype(np.float64)
    cosines = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(filling.deviations(sides["upgraded"]), 1 - cosines, atol=1e-6)
    _, sides = case("l2")
    np.testing.assert_allclose(filling.deviations(sides["upgraded"]), np.square(x - y).sum(axis=1), rtol=1e-5)


@given(st.integers(0, 10_000), st.sampled_from(["cosine", "dot", "l2"]), st.integers(2, 30), st.booleans())
@settings(max_examples=30, deadline=None)
def test_neighbours_equal_a_sort(seed, metric, n, twins):
    rng = np.random.default_rng(seed)
    x = (rng.integers(1, 3, (n, 2)) if twins else rng.standard_normal((n, 3))).astype(np.float32)
    k = int(rng.integers(1, n))
    found = neighbours.neighbours(x, metric, k)
    y = x.astype(np.float64)
    unit = y / np.linalg.norm(y, axis=1, keepdims=True)
    every = {"cosine": unit @ unit.T, "dot": y @ y.T, "l2": -np.square(y[:, None] - y).sum(axis=2)}[metric]
    np.fill_diagonal(every, -np.inf)
    assert found.rows.shape == found.scores.shape == (n, k)
    assert all(i not in row and len(set(row)) == k for i, row in enumerate(found.rows.tolist()))
    np.testing.assert_allclose(found.scores, -np.sort(-every, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(every, found.rows.astype(int), axis=1), found.scores, atol=1e-5)


def test_large_sets_of_pairs_are_sampled(monkeypatch):
    """The same pairs at each stage, all of which are of the set, and quantiles near those of all of them."""
    labels, sides = case(n=200)
    whole = scores.pairs(sides["today"], np.arange(200), labels, 0)
    monkeypatch.setattr(scores, "_MOST_SAMPLED", 3000)
    some = scores.pairs(sides["today"], np.arange(200), labels, 0)
    assert some.scores == whole.scores and some.negative_pairs == whole.negative_pairs == 200 * 150
    assert len(whole.negatives) == 30_000 and 2_700 < len(some.negatives) <= 3000
    assert set(some.negatives.tolist()) <= set(whole.negatives.tolist())
    np.testing.assert_allclose(
        np.quantile(some.negatives, [0.1, 0.5, 0.9]), np.quantile(whole.negatives, [0.1, 0.5, 0.9]), atol=0.05
    )
    again = scores.pairs(Sides(sides["today"].queries * 2, sides["today"].gallery, "dot"), np.arange(200), labels, 0)
    here = scores.pairs(Sides(sides["today"].queries, sides["today"].gallery, "dot"), np.arange(200), labels, 0)
    np.testing.assert_allclose(again.negatives, 2 * here.negatives, rtol=1e-5)


@given(st.integers(0, 1000), st.integers(2, 40), st.lists(st.integers(1, 9), min_size=1, max_size=2))
@settings(max_examples=30, deadline=None)
def test_components_are_those_of_a_full_decomposition(seed, n, widths):
    rng = np.random.default_rng(seed)
    spaces = [
        (rng.standard_normal((n, d)) * rng.uniform(0.1, 5, d) * 10.0 ** rng.integers(-3, 3)).astype(np.float32)
        for d in widths
    ]
    scaled = [x - x.mean(axis=0, dtype=np.float64) for x in spaces]
    whole = np.concatenate([x / np.sqrt(np.square(x).sum() / n) for x in scaled], axis=1)
    wanted = np.linalg.svd(whole, compute_uv=False)
    found = np.linalg.norm(principal(spaces, seed), axis=0)
    expected = np.zeros(2)
    expected[: len(wanted[:2])] = wanted[:2]
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=1e-6)


@given(st.integers(0, 1000), st.floats(0, 6.3), st.floats(0.1, 10), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_turned_map_is_turned_back(seed, angle, scale, mirrored):
    rng = np.random.default_rng(seed)
    old = rng.standard_normal((20, 2)) * [3, 1]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag(
        [1, -1 if mirrored else 1]
    )
    np.testing.assert_allclose(aligned(scale * old @ turn + [5, -7], old), old - old.mean(axis=0), atol=1e-9)


def drawn(x, y, seed=0):
    told = []
    near = tuple(neighbours.neighbours(v, "cosine", breadth(len(v))) for v in (x, y))
    return maps((x, y), ("cosine", "cosine"), near, seed=seed, told=lambda: told.append(1)), len(told)


def test_equal_versions_have_equal_maps():
    labels, sides = case(n=80)
    x = sides["today"].gallery
    (old, new), told = drawn(x, 4 * x)  # rounded alike, which other factors are not
    np.testing.assert_allclose(old, new, atol=1e-6)
    assert told == TOLD
    assert np.abs(old).max() == pytest.approx(1)
    found = retrieval(old, old, query_labels=labels, gallery_labels=labels, same_items=True, metric="l2")
    chance = retrieval(x[::-1], x, query_labels=labels, gallery_labels=labels, metric="dot")
    assert found.map > 1.2 * chance.map  # neighbours of one label lie together


@pytest.mark.parametrize("n", [2, 3, FEWEST - 1, FEWEST])
def test_maps_of_few_items(n):
    _, sides = case(n=n)
    (old, new), _ = drawn(sides["today"].gallery, sides["backfilled"].gallery)
    assert old.shape == new.shape == (n, 2) and old.dtype == np.float32
    assert np.isfinite(old).all() and np.isfinite(new).all() and max(np.abs(old).max(), np.abs(new).max()) <= 1


def test_twins_and_one_dimension_have_a_map_too():
    x = np.ones((40, 3), np.float32)
    (old, new), _ = drawn(x, np.arange(1, 41, dtype=np.float32)[:, None] - 20.5)
    assert np.isfinite(old).all() and np.isfinite(new).all()


def test_prepared_rows_are_as_they_are_compared():
    x = np.array([[3, 4], [0, 2]], np.float16)
    np.testing.assert_allclose(prepared(x, "cosine"), [[0.6, 0.8], [0, 1]], atol=1e-6)
    np.testing.assert_array_equal(prepared(x, "l2"), x)
