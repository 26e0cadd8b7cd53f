"""`registry.retrieval` against plain loops and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from registry.errors import BadVector, DimensionMismatch, InvalidInput
from registry.retrieval import Retrieval, retrieval


def naive(queries, gallery, q_labels, g_labels, *, ks=(1, 5), map_ks=(), same_items=False, metric="cosine"):
    """One query at a time, in float64; ties ranked with the relevant items last."""
    q_labels, g_labels = np.asarray(q_labels), np.asarray(g_labels)
    q, g = np.asarray(queries, np.float64), np.asarray(gallery, np.float64)
    if metric == "cosine":
        q, g = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, g))
    out = []
    for i in range(len(q)):
        scores = -np.linalg.norm(q[i] - g, axis=1) if metric == "l2" else g @ q[i]
        if g_labels.ndim == 2:
            relevant = np.asarray([bool(set(np.flatnonzero(q_labels[i])) & set(np.flatnonzero(g))) for g in g_labels])
        else:
            relevant = g_labels == q_labels[i]
        if same_items:
            scores, relevant = np.delete(scores, i), np.delete(relevant, i)
        r = int(relevant.sum())
        if r == 0:
            out.append([np.nan] * (len(ks) + 3 + len(map_ks)))
            continue
        ranked = relevant[np.lexsort((relevant, -scores))]
        precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
        first = int(np.argmax(ranked)) + 1
        ap = average_precision_score(relevant, scores)
        cut = [(precision * ranked)[:k].sum() / min(r, k) for k in (r, *map_ks)]
        out.append([*(float(first <= k) for k in ks), ap, cut[0], 1 / first, *cut[1:]])
    return np.asarray(out)


def table(result: Retrieval) -> np.ndarray:
    return np.column_stack(list(result.per_query.values()))


def clusters(n=120, d=16, classes=7, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return (rng.standard_normal((classes, d))[labels] + rng.standard_normal((n, d))).astype(dtype), labels


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("same_items", [False, True])
@pytest.mark.parametrize("block", [None, 1, 17])
def test_equals_a_plain_loop(metric, same_items, block):
    x, labels = clusters()
    queries, q_labels = (x, labels) if same_items else clusters(n=53, seed=1)
    queries = queries + 0.1 if same_items else queries  # written by another version
    result = retrieval(
        queries, x, query_labels=q_labels, gallery_labels=labels, same_items=same_items, metric=metric, block=block
    )
    expected = naive(queries, x, q_labels, labels, same_items=same_items, metric=metric)
    np.testing.assert_allclose(table(result), expected, atol=1e-6)
    np.testing.assert_allclose(list(result.values().values()), expected.mean(axis=0), atol=1e-6)
    assert list(result.values()) == ["cmc@1", "cmc@5", "map", "map@r", "mrr"] == list(result.per_query)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_types(dtype):
    x, labels = clusters(dtype=dtype)
    result = retrieval(x, x, query_labels=labels, gallery_labels=labels, same_items=True)
    np.testing.assert_allclose(table(result), naive(x, x, labels, labels, same_items=True), atol=1e-6)


small = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        arrays(np.int8, (n, 2), elements=st.integers(1, 3)),
        arrays(np.int8, n, elements=st.integers(0, 3)),
        arrays(np.int8, (4, 2), elements=st.integers(1, 3)),
        arrays(np.int8, 4, elements=st.integers(0, 4)),
    )
)


@settings(max_examples=150, deadline=None)
@given(small, st.sampled_from(["dot", "l2"]), st.booleans())
def test_ties_equal_a_plain_loop(case, metric, same_items):
    """Small integers score exactly, so almost every score is tied; labels may be missing on either side."""
    gallery, g_labels, queries, q_labels = case
    if same_items:
        queries, q_labels = gallery, g_labels
    expected = naive(queries, gallery, q_labels, g_labels, same_items=same_items, metric=metric)
    arguments = {"query_labels": q_labels, "gallery_labels": g_labels, "same_items": same_items, "metric": metric}
    if np.isnan(expected).all():
        with pytest.raises(InvalidInput, match="no query has a relevant item"):
            retrieval(queries, gallery, **arguments)
        return
    result = retrieval(queries, gallery, **arguments)
    np.testing.assert_allclose(table(result), expected, atol=1e-12)
    assert result.queries + result.skipped == len(queries)
    assert all(0 <= value <= 1 for value in result.values().values())


# --- several labels an item -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("same_items", [False, True])
@pytest.mark.parametrize("block", [None, 1, 17])
def test_several_labels_equal_a_plain_loop(metric, same_items, block):
    x, _ = clusters()
    labels = np.random.default_rng(2).random((len(x), 6)) < 0.25  # about one in six carries none
    queries, q_labels = (x + 0.1, labels) if same_items else (x[:53] + 0.1, labels[7:60])
    result = retrieval(
        queries, x, query_labels=q_labels, gallery_labels=labels, same_items=same_items, metric=metric, block=block,
        map_ks=(10, 100),
    )  # fmt: skip
    expected = naive(queries, x, q_labels, labels, same_items=same_items, metric=metric, map_ks=(10, 100))
    np.testing.assert_allclose(table(result), expected, atol=1e-6)
    assert result.skipped == np.isnan(expected[:, 0]).sum() > 0
    assert result.map_at == pytest.approx(dict(zip((10, 100), np.nanmean(expected[:, -2:], axis=0), strict=True)))


def test_one_label_each_is_a_matrix_with_one_true_in_a_row():
    x, labels = clusters()
    arguments = {"same_items": True, "map_ks": (7,)}
    one = retrieval(x, x, query_labels=labels, gallery_labels=labels, **arguments)
    matrix = np.eye(7, dtype=bool)[labels]
    many = retrieval(x, x, query_labels=matrix, gallery_labels=matrix, **arguments)
    np.testing.assert_allclose(table(many), table(one), atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 20).flatmap(
        lambda n: st.tuples(
            arrays(np.int8, (n, 2), elements=st.integers(1, 3)), arrays(np.bool_, (n, 3)), arrays(np.bool_, (4, 3))
        )
    ),
    st.booleans(),
)
def test_several_labels_and_ties_equal_a_plain_loop(case, same_items):
    gallery, g_labels, q_labels = case
    queries = gallery if same_items else np.resize(gallery, (4, 2))
    q_labels = g_labels if same_items else q_labels
    arguments = {"same_items": same_items, "metric": "dot", "map_ks": (1, 3)}
    expected = naive(queries, gallery, q_labels, g_labels, **arguments)
    arguments |= {"query_labels": q_labels, "gallery_labels": g_labels}
    if np.isnan(expected).all():
        with pytest.raises(InvalidInput, match="no query has a relevant item"):
            retrieval(queries, gallery, **arguments)
        return
    np.testing.assert_allclose(table(retrieval(queries, gallery, **arguments)), expected, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 9))
def test_order_and_names_do_not_matter(random, classes):
    x, labels = clusters(n=40, classes=classes)
    order = list(range(40))
    random.shuffle(order)
    a = retrieval(x, x, query_labels=labels, gallery_labels=labels, same_items=True)
    names = np.asarray([f"class {(label * 7) % 11}" for label in labels[order]])
    b = retrieval(x[order], x[order], query_labels=names, gallery_labels=names, same_items=True)
    np.testing.assert_allclose(table(a)[order], table(b), atol=1e-6)


def test_one_point_gets_no_credit():
    """A collapsed model ranks nothing: every rank is the last, and AP is the share of relevant items."""
    x, labels = np.ones((10, 3), np.float32), np.arange(10) % 2
    result = retrieval(x, x, query_labels=labels, gallery_labels=labels, same_items=True)
    assert result.cmc == {1: 0.0, 5: 0.0}
    assert result.mrr == pytest.approx(1 / 6)
    assert result.map == pytest.approx(4 / 9)


def test_own_row_is_dropped_even_where_its_twin_is_relevant():
    x = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    result = retrieval(x, x, query_labels=[7, 7, 8, 9], gallery_labels=[7, 7, 8, 9], same_items=True)
    assert result.cmc[1] == 1
    assert (result.queries, result.skipped) == (2, 2)
    assert np.isnan(result.per_query["map"]).tolist() == [False, False, True, True]


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_some_rows_are_queries(metric):
    x, labels = clusters()
    own = np.random.default_rng(2).permutation(len(x))[:17]
    arguments = {"gallery_labels": labels, "metric": metric}
    whole = retrieval(x + 0.1, x, query_labels=labels, same_items=True, **arguments)
    some = retrieval((x + 0.1)[own], x, query_labels=labels[own], own=own, **arguments)
    for name, values in some.per_query.items():
        np.testing.assert_allclose(values, whole.per_query[name][own], atol=1e-6)


def test_negative_scores_are_scores():
    queries, gallery = np.asarray([[1.0, 0]]), np.asarray([[-1.0, 0.1], [-1.0, 0.0]])
    result = retrieval(queries, gallery, query_labels=["a"], gallery_labels=["a", "b"])
    assert result.values() == {"cmc@1": 1, "cmc@5": 1, "map": 1, "map@r": 1, "mrr": 1}


def test_l2_far_from_the_origin():
    x, labels = clusters(d=4)
    near = retrieval(x, x, query_labels=labels, gallery_labels=labels, same_items=True, metric="l2")
    far = retrieval(x + 500, x + 500, query_labels=labels, gallery_labels=labels, same_items=True, metric="l2")
    assert far.map == pytest.approx(near.map, abs=1e-3)


X = np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"queries": np.ones((2, 2))}, InvalidInput, "query_labels has 3 entries for 2 rows"),
        ({"gallery": np.ones((3, 4))}, DimensionMismatch, "queries have 2 dimensions, the gallery 4"),
        ({"queries": np.ones(2)}, InvalidInput, "queries must be a matrix"),
        ({"gallery": np.empty((0, 2)), "gallery_labels": np.empty(0, int)}, InvalidInput, "got 3 and 0 rows"),
        ({"gallery": np.asarray([[1, 1], [1, np.nan], [0, 1]])}, BadVector, "gallery row 1"),
        ({"queries": np.asarray([[1, 1], [1, 1], [0, 0]])}, BadVector, "queries row 2"),
        ({"ks": (1, 0)}, InvalidInput, "ks must be positive"),
        ({"ks": ()}, InvalidInput, "ks must be positive"),
        ({"ks": (1.5,)}, InvalidInput, "ks must be positive"),
        ({"ks": 5}, InvalidInput, "ks must be positive"),
        ({"ks": (True,)}, InvalidInput, "ks must be positive"),
        ({"block": 0}, InvalidInput, "block must be a positive"),
        ({"map_ks": (0,)}, InvalidInput, "map_ks must be positive"),
        ({"map_ks": 100}, InvalidInput, "map_ks must be positive"),
        ({"query_labels": np.ones((3, 2), bool)}, InvalidInput, "use one type for both"),
        (
            {"query_labels": np.ones((3, 2), bool), "gallery_labels": np.ones((3, 4), bool)},
            InvalidInput,
            "query_labels are over 2 labels, gallery_labels over 4",
        ),
        (
            {"query_labels": np.ones((2, 2), bool), "gallery_labels": np.ones((3, 2), bool)},
            InvalidInput,
            "query_labels has 2 entries for 3 rows",
        ),
        (
            {"query_labels": np.zeros((3, 2), bool), "gallery_labels": np.ones((3, 2), bool)},
            InvalidInput,
            "no query has a relevant item",
        ),
        ({"query_labels": [[1], [1, 2], [3]]}, InvalidInput, "query_labels must be"),
        ({"metric": "cosin"}, InvalidInput, "metric 'cosin' is not known"),
        ({"query_labels": [5, 6, 7]}, InvalidInput, "no query has a relevant item"),
        ({"query_labels": ["a", "a", "b"]}, InvalidInput, "use one type for both"),
        ({"query_labels": [0.5, 1, 1]}, InvalidInput, "query_labels must be"),
        ({"query_labels": [[1, 1, 1]]}, InvalidInput, "query_labels must be"),
        ({"query_labels": [None, 1, 1]}, InvalidInput, "query_labels must be"),
        ({"same_items": True, "query_labels": [2, 1, 1]}, InvalidInput, "their labels differ"),
        ({"same_items": True, "queries": X[:2], "query_labels": [1, 1]}, InvalidInput, "got 2 queries and 3 rows"),
        ({"own": [0, 1]}, InvalidInput, "own must name a gallery row from 0 to 2 for each of 3 queries"),
        ({"own": [0, 1, 3]}, InvalidInput, "own must name a gallery row"),
        ({"own": [0.0, 1, 2]}, InvalidInput, "own must be row numbers"),
        ({"own": [0, 2, 1]}, InvalidInput, "their labels differ"),
        ({"own": [0, 1, 2], "same_items": True}, InvalidInput, "leave own out"),
        ({"queries": X * 1e18, "gallery": X * 1e19, "metric": "dot"}, InvalidInput, "scores overflow"),
    ],
)
def test_bad_input(change, error, says):
    given = {"queries": X, "gallery": X, "query_labels": [1, 1, 2], "gallery_labels": [1, 1, 2], **change}
    with pytest.raises(error, match=says) as caught:
        retrieval(**given)
    assert "\n" not in str(caught.value)
