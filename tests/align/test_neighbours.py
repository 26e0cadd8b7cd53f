"""Neighbour overlap and recall against the full re-embedding: plain loops, ties, padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from align.metrics import neighbour_overlap, reembedding_recall
from registry.errors import BadVector, DimensionMismatch, InvalidInput


def spaces(seed=0, n=60):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 6)) * [3, 2, 1, 1, 0.5, 0.2] + 1
    return x, x @ rng.standard_normal((6, 4)) + rng.standard_normal((n, 4))


def ranked(q, g, metric="cosine"):
    """Gallery rows of each query, best first, in float64."""
    q, g = np.asarray(q, np.float64), np.asarray(g, np.float64)
    if metric == "l2":
        return np.argsort(np.linalg.norm(q[:, None] - g, axis=2), axis=1)
    if metric == "cosine":
        q, g = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (q, g))
    return np.argsort(-(q @ g.T), axis=1)


@pytest.mark.parametrize("block", [None, 7])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_neighbour_overlap_equals_a_plain_loop(block, dtype):
    x, y = (v.astype(dtype) for v in spaces())
    near = [[set(row[row != i][:5]) for i, row in enumerate(ranked(v, v))] for v in (x, y)]
    expected = np.mean([len(a & b) / 5 for a, b in zip(*near, strict=True)])
    assert neighbour_overlap(x, y, 5, block=block) == pytest.approx(expected)


def test_neighbour_overlap_on_ties_is_whole():
    x = np.ones((10, 2))
    assert neighbour_overlap(x, 2 * x, 3) == 1


# --- recall ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [None, 1, 7])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_recall_equals_a_plain_loop(block, metric):
    x, y = spaces()
    true, served = ranked(x[:25], x, metric), ranked(y[:25], y, metric)
    expected = [len(set(a[:5]) & set(b[:5])) / 5 for a, b in zip(true, served, strict=True)]
    found = reembedding_recall(x[:25], x, bridged=(y[:25], y), k=5, metric=metric, block=block)
    np.testing.assert_allclose(found.per_query, expected)
    assert found.value == pytest.approx(np.mean(expected))
    by_ids = reembedding_recall(x[:25], x, found=served[:, :9], k=5, metric=metric, block=block)
    np.testing.assert_allclose(by_ids.per_query, expected)


def test_recall_without_the_query_itself():
    x, y = spaces()
    near = [[row[row != i][:5] for i, row in enumerate(ranked(v, v))] for v in (x, y)]
    expected = [len(set(a) & set(b)) / 5 for a, b in zip(*near, strict=True)]
    np.testing.assert_allclose(reembedding_recall(x, x, bridged=(y, y), k=5, same_items=True).per_query, expected)
    np.testing.assert_allclose(reembedding_recall(x, x, found=near[1], k=5, same_items=True).per_query, expected)


def test_padding_is_never_a_hit():
    """-1 must not stand for the last row, nor agree with another -1."""
    x, _ = spaces(n=20)
    best = ranked(x[:1], x)[0]
    assert reembedding_recall(x[:1], x, found=[[-1, -1, -1]], k=3).value == 0
    assert reembedding_recall(x[:1], x, found=[[best[2], -1, -1]], k=3).value == pytest.approx(1 / 3)
    last = np.roll(x, 19 - best[0], axis=0)  # the nearest row is now the last one
    assert reembedding_recall(x[:1], last, found=[[-1]], k=1).value == 0


def test_one_point_has_the_recall_of_a_random_draw():
    x, _ = spaces(n=40)
    point = np.ones((40, 2))
    assert reembedding_recall(x[:9], x, bridged=(point[:9], point), k=10).value == pytest.approx(10 / 40)
    assert reembedding_recall(x, x, bridged=(point, point), k=10, same_items=True).value == pytest.approx(10 / 39)


def test_either_of_equal_true_items_is_right():
    gallery = np.asarray([[1, 0], [1, 1], [1, -1], [0, 1.0]])
    for row in (1, 2):
        assert reembedding_recall([[1, 0]], gallery, found=[[0, row]], k=2).value == 1
    assert reembedding_recall([[1, 0]], gallery, found=[[0, 3]], k=2).value == 0.5


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.int8, (8, 2), elements=st.integers(1, 3)), arrays(np.int8, (8, 2), elements=st.integers(1, 3)),
    st.integers(1, 7), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_ties_are_the_mean_over_their_orders(x, y, k, same_items, seed):
    """Against many shuffles of the bridged side, each of which breaks ties in another way."""
    found = reembedding_recall(x, x, bridged=(y, y), k=k, same_items=same_items, metric="dot")
    true, served = x.astype(int) @ x.T.astype(int), y.astype(int) @ y.T.astype(int)
    rng = np.random.default_rng(seed)
    i = seed % 8
    others = np.asarray([j for j in range(8) if not (same_items and j == i)])
    kth = np.sort(true[i, others])[-k]
    hits = []
    for _ in range(300):
        order = rng.permutation(others)
        best = order[np.argsort(-served[i, order], kind="stable")][:k]
        hits.append((true[i, best] >= kth).sum() / k)
    assert found.per_query[i] == pytest.approx(np.mean(hits), abs=0.15)
    assert 0 <= found.value <= 1


# --- bad input ------------------------------------------------------------------------------------------------------

X = np.arange(1, 13.0).reshape(6, 2) ** 2


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(0, 5))
def test_broken_rows_are_refused(broken_rows, data, place):
    bad, good = data.draw(broken_rows(6, 3)), np.random.default_rng(0).standard_normal((6, 3))
    a, b = (bad, good) if place % 2 else (good, bad)
    calls = (
        lambda: neighbour_overlap(a, b, 2),
        lambda: reembedding_recall(a, b, bridged=(good, good), k=2),
        lambda: reembedding_recall(good, good, bridged=(a, b), k=2),
    )
    with pytest.raises(InvalidInput) as caught:
        calls[place // 2]()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: neighbour_overlap(X, X[:3], 1), InvalidInput, "same items"),
        (lambda: neighbour_overlap(X[:1], X[:1], 1), InvalidInput, "two items"),
        (lambda: neighbour_overlap(X, X, 6), InvalidInput, "k must be a whole number from 1 to 5"),
        (lambda: neighbour_overlap(X, X, 0), InvalidInput, "k must be"),
        (lambda: neighbour_overlap(X, X, 1, block=0), InvalidInput, "block must be"),
        (lambda: neighbour_overlap(X, X * [[0], [1], [1], [1], [1], [1]], 2), BadVector, "y row 0"),
        (lambda: reembedding_recall(X, X, k=2), InvalidInput, "give either"),
        (lambda: reembedding_recall(X, X, bridged=(X, X), found=[[0]] * 6, k=1), InvalidInput, "give either"),
        (lambda: reembedding_recall(X, X, bridged=X, k=2), InvalidInput, "must be a pair"),
        (lambda: reembedding_recall(X, X, bridged=(X, X[:3]), k=2), InvalidInput, "6 queries and 3 rows"),
        (lambda: reembedding_recall(X, X, bridged=(X, X[:, :1]), k=2), DimensionMismatch, "2 dimensions"),
        (lambda: reembedding_recall(X, X, bridged=(X, X), k=7), InvalidInput, "from 1 to 6"),
        (lambda: reembedding_recall(X, X, bridged=(X, X), k=6, same_items=True), InvalidInput, "from 1 to 5"),
        (lambda: reembedding_recall(X[:2], X, bridged=(X, X), k=1, same_items=True), InvalidInput, "same_items"),
        (lambda: reembedding_recall(X[:1], X[:1], bridged=(X, X), k=1, same_items=True), InvalidInput, "another row"),
        (lambda: reembedding_recall(X, X, found=[[0, 1]] * 5, k=2), InvalidInput, "found must hold"),
        (lambda: reembedding_recall(X, X, found=[[0]] * 6, k=2), InvalidInput, "found must hold"),
        (
            lambda: reembedding_recall(X, X, found=[[0.0, 1]] * 6, k=2),
            InvalidInput,
            "found must be row numbers, got float64",
        ),
        (lambda: reembedding_recall(X, X, found=[[0, 6]] * 6, k=2), InvalidInput, "rows from 0 to 5"),
        (lambda: reembedding_recall(X, X, found=[[0, -2]] * 6, k=2), InvalidInput, "rows from 0 to 5"),
        (lambda: reembedding_recall(X, X, found=[[0, 1]] * 5 + [[3, 3]], k=2), InvalidInput, "twice for query 5"),
        (lambda: reembedding_recall(X, X, found=[[0], [0, 1]], k=1), InvalidInput, "found must be an array"),
        (lambda: reembedding_recall(X, X, bridged=(X, X), k=2, metric="angle"), InvalidInput, "metric"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
