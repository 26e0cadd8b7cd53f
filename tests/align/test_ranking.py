"""Retrieval in torch against NumPy, and mAP@K against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from align import metrics
from align.metrics import ranking
from registry.errors import InvalidInput
from registry.retrieval import prepare
from registry.retrieval import retrieval as retrieval_numpy


def by_torch(queries, gallery, *, block=None, **arguments):
    task = prepare(queries, gallery, block=block, **arguments)
    return ranking._retrieval_torch(task, "cpu", block)


cases = st.integers(2, 30).flatmap(
    lambda n: st.tuples(
        arrays(np.int8, (n, 2), elements=st.integers(1, 4)),
        st.one_of(arrays(np.int8, n, elements=st.integers(0, 2)), arrays(np.bool_, (n, 3))),
        st.booleans(),
        st.sampled_from(["dot", "l2"]),
        st.sampled_from([None, 1, 7]),
    )
)


@settings(max_examples=80, deadline=None)
@given(cases)
def test_torch_equals_numpy_also_on_ties(case):
    x, labels, same_items, metric, block = case
    arguments = {
        "query_labels": labels,
        "gallery_labels": labels,
        "ks": (1, 3),
        "map_ks": (2, 5),
        "same_items": same_items,
        "metric": metric,
    }
    try:
        expected = retrieval_numpy(x, x, **arguments)
    except InvalidInput:
        return
    found = by_torch(x, x, block=block, **arguments)
    assert (found.queries, found.skipped) == (expected.queries, expected.skipped)
    assert list(found.per_query) == ["cmc@1", "cmc@3", "map", "map@r", "mrr", "map@2", "map@5"]
    for name, values in expected.per_query.items():
        np.testing.assert_allclose(found.per_query[name], values, atol=1e-12)


def test_torch_equals_numpy_on_cosine():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((300, 8)), rng.integers(0, 9, 300)
    arguments = {
        "query_labels": labels[:99],
        "gallery_labels": labels,
        "ks": (1, 5),
        "map_ks": (10,),
        "same_items": False,
        "metric": "cosine",
    }
    expected, found = retrieval_numpy(x[:99], x, **arguments), by_torch(x[:99], x, block=10, **arguments)
    assert found.values() == pytest.approx(expected.values(), abs=1e-5)


def test_retrieval_on_the_cpu_is_numpy():
    x = np.eye(3)[[0, 0, 1, 1]]
    found = metrics.retrieval(
        x, x, query_labels=[0, 0, 1, 1], gallery_labels=[0, 0, 1, 1], same_items=True, map_ks=(3,), device="cpu"
    )
    assert found.map == found.map_at[3] == 1


def landmarks(scores, relevant, k):
    """AP@K of one query by the words of the Google Landmarks v2 paper, for scores without ties."""
    hits, total = 0, 0.0
    for rank, item in enumerate(np.argsort(-scores)[:k], start=1):
        if relevant[item]:
            hits += 1
            total += hits / rank
    return total / min(relevant.sum(), k)


@pytest.mark.parametrize("k", [1, 7, 100])
def test_map_at_k_equals_its_definition(k):
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((150, 5)), rng.integers(0, 3, 150)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = [landmarks(unit @ unit[i], labels == labels[i], k) for i in range(40)]
    found = metrics.map_at(x[:40], x, query_labels=labels[:40], gallery_labels=labels, k=k, device="cpu")
    assert found == pytest.approx(np.mean(expected), abs=1e-9)


def test_map_at_takes_a_hundred_unless_told():
    rng = np.random.default_rng(2)
    x, labels = rng.standard_normal((300, 4)), np.arange(300) % 2
    arguments = {"query_labels": labels, "gallery_labels": labels, "device": "cpu"}
    assert metrics.map_at(x, x, **arguments) == metrics.retrieval(x, x, map_ks=(100,), **arguments).map_at[100]
    assert metrics.map_at(x, x, **arguments) != metrics.map_at(x, x, k=50, **arguments)


@pytest.mark.parametrize("k", [0, -1, 1.5, True, "5"])
def test_map_at_refuses_a_bad_k(k):
    with pytest.raises(InvalidInput, match="map_ks must be positive"):
        metrics.map_at(np.eye(2), np.eye(2), query_labels=[0, 1], gallery_labels=[0, 1], k=k, device="cpu")


@settings(max_examples=40, deadline=None)
@given(st.data(), st.booleans())
def test_broken_rows_are_refused(broken_rows, data, in_gallery):
    bad, good = data.draw(broken_rows(6, 3)), np.ones((6, 3))
    sides = (good, bad) if in_gallery else (bad, good)
    for call in (metrics.retrieval, metrics.map_at):
        with pytest.raises(InvalidInput) as caught:
            call(*sides, query_labels=[1] * 6, gallery_labels=[1] * 6, device="cpu")
        assert "\n" not in str(caught.value)
