"""`align.anchors`: what each strategy promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.anchors import STRATEGIES, Anchors, select, selection
from registry.errors import BadVector, InvalidInput
from registry.vectors import normalize


def blobs(n=300, d=8, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return normalize(5 * rng.standard_normal((classes, d))[labels] + rng.standard_normal((n, d))), labels


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_shapes_seeds_and_weights(strategy):
    x, _ = blobs()
    a = select(x, 10, strategy, seed=3)
    assert len(a) == len(a.indices) == 10
    assert a.indices.dtype == np.int64
    np.testing.assert_allclose(a.weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(a.indices, select(x, 10, strategy, seed=3).indices)
    assert a.vectors(x).shape == (10, 8)
    assert a.vectors(x).dtype == np.float32
    if strategy != "prototype":
        assert len(np.unique(a.indices)) == 10
        np.testing.assert_array_equal(a.vectors(x), x[a.indices[:, 0]])


@pytest.mark.parametrize("strategy", ["uniform", "fps"])
def test_the_seed_decides(strategy):
    x, _ = blobs()
    assert (select(x, 10, strategy, seed=0).indices != select(x, 10, strategy, seed=1).indices).any()


def test_fps_is_the_naive_farthest_point():
    x, _ = blobs(n=60)
    found = select(x, 6, "fps").indices[:, 0].tolist()
    for i in range(1, 6):
        distance = np.min([np.linalg.norm(x - x[j], axis=1) for j in found[:i]], axis=0)
        assert distance[found[i]] == pytest.approx(distance.max(), abs=1e-6)


@pytest.mark.parametrize("strategy", ["fps", "kmeans", "prototype"])
def test_every_cluster_gets_an_anchor(strategy):
    x, labels = blobs()
    a = select(x, 5, strategy, nearest=20)
    assert sorted(labels[a.indices[:, 0]]) == [0, 1, 2, 3, 4]
    if strategy == "prototype":
        assert (labels[a.indices] == labels[a.indices[:, :1]]).all()
        assert a.indices.shape == (5, 20)
        np.testing.assert_allclose(a.vectors(x), [x[row].mean(0) for row in a.indices], atol=1e-6)


def test_prototypes_carry_over_to_any_affine_version(tmp_path):
    x, _ = blobs()
    w, b = np.random.default_rng(1).standard_normal((8, 6)), np.arange(6)
    a = select(x, 5, "prototype")
    np.testing.assert_allclose(a.vectors(x @ w + b), a.vectors(x) @ w + b, atol=1e-4)
    np.save(tmp_path / "x.npy", x)
    np.testing.assert_array_equal(a.vectors(np.load(tmp_path / "x.npy", mmap_mode="r")), a.vectors(x))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 20), st.sampled_from(STRATEGIES), st.floats(0.1, 100))
def test_only_directions_count(k, strategy, scale):
    x, _ = blobs(n=20)
    x = np.float32(2.0 ** np.round(np.log2(scale))) * x  # exact in float32
    np.testing.assert_array_equal(select(x, k, strategy).indices, select(x * 4, k, strategy).indices)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_copies_of_one_item(strategy):
    """Fewer different rows than anchors: still k anchors, of different items where an anchor is an item."""
    a = select(np.ones((6, 3)), 4, strategy)
    assert np.isfinite(a.vectors(np.ones((6, 3)))).all()
    assert a.indices.shape == ((4, 6) if strategy == "prototype" else (4, 1))
    if strategy != "prototype":
        assert len(np.unique(a.indices)) == 4


def test_k_means_of_many_rows_looks_at_a_sample(monkeypatch):
    x, labels = blobs()
    monkeypatch.setattr(selection, "_SAMPLE", 10)
    assert sorted(labels[select(x, 5, "kmeans").indices[:, 0]]) == [0, 1, 2, 3, 4]


def test_unit_takes_the_mean_of_directions():
    a = Anchors(np.asarray([[0, 1]]), np.asarray([[0.5, 0.5]]))
    x = np.asarray([[10.0, 0.0], [0.0, 0.1]])
    np.testing.assert_allclose(a.vectors(x), [[5, 0.05]], rtol=1e-6)
    np.testing.assert_allclose(a.vectors(x, unit=True), [[0.5, 0.5]], rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(STRATEGIES))
def test_rows_that_cannot_be_are_refused(broken_rows, data, strategy):
    with pytest.raises(InvalidInput) as caught:
        select(data.draw(broken_rows(12, 3)), 4, strategy)
    assert "\n" not in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(STRATEGIES), st.sampled_from([np.float16, np.float32, np.float64]), st.integers(1, 6))
def test_dull_data_gives_finite_anchors(strategy, dtype, k):
    """Constant dimensions, copies of one item, fewer items than dimensions."""
    constant = np.random.default_rng(k).standard_normal((6, 9)).astype(dtype)
    constant[:, 3:] = 1
    for x in (constant, np.ones((6, 9), dtype)):
        a = select(x, k, strategy)
        assert a.indices.max() < 6
        assert np.isfinite(a.vectors(x)).all()


X = np.eye(4)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: select(X, 5), InvalidInput, "k must be a whole number from 1 to 4, got 5"),
        (lambda: select(X, 0), InvalidInput, "k must be"),
        (lambda: select(X, 1.5), InvalidInput, "k must be"),
        (lambda: select(X, 2, "best"), InvalidInput, "strategy 'best' is not known"),
        (lambda: select(X, 2, "prototype", nearest=0), InvalidInput, "nearest must be a whole number from 1 up"),
        (lambda: select(np.zeros((2, 3)), 1), BadVector, "x row 0"),
        (lambda: select(X[0], 1), InvalidInput, "x must be a matrix"),
        (lambda: select(X, 4).vectors(X[:2]), InvalidInput, "x has only 2 rows"),
        (lambda: select(X, 2, seed=-1), InvalidInput, "seed must be"),
        (lambda: select(X[:0], 1), InvalidInput, "give a row or more"),
        (lambda: Anchors(np.zeros((2, 1), int), np.ones((3, 1))), InvalidInput, "indices and weights"),
        (lambda: Anchors(np.zeros((2, 1)), np.ones((2, 1))), InvalidInput, "whole numbers from 0"),
        (lambda: Anchors(np.full((2, 1), -1), np.ones((2, 1))), InvalidInput, "whole numbers from 0"),
        (lambda: Anchors(np.zeros((2, 1), int), np.full((2, 1), np.nan)), InvalidInput, "weights must be finite"),
        (lambda: select(X, 4).vectors(X * [[1], [np.nan], [1], [1]]), BadVector, "x row 1"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
