"""`align.anchors.learn`: anchors that make versions agree, also one that had no part in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from align.anchors import Anchors, learn, select
from align.relative import project
from registry.errors import BadVector, InvalidInput
from registry.vectors import normalize


def versions(n=700, d=10, seed=0):
    """The same items in three versions: turned, stretched, moved and bent differently, with noise of their own."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, d))
    made = []
    for width in (10, 12, 10):
        turned = hidden @ np.linalg.qr(rng.standard_normal((max(d, width),) * 2))[0][:d, :width]
        moved = turned * np.geomspace(0.5, 1.5, width) + 0.3 * rng.standard_normal(width)
        made.append((np.tanh(0.3 * moved) + 0.02 * rng.standard_normal(moved.shape)).astype(np.float32))
    return made


def recall(a, b, anchors, similarity):
    """How often a test item of version a finds itself in version b; each is a pair of training and test rows."""
    q, g = (
        normalize(project(x[1], anchors.vectors(x[0], unit=True), similarity, device="cpu", normalize=True, **more))
        for x in (a, b)
        for more in [{"data": x[0]} if similarity == "whitened" else {}]
    )
    return float((np.argmax(q @ g.T, axis=1) == np.arange(len(q))).mean())


@pytest.mark.parametrize("similarity", ["cosine", "whitened", "l2"])
def test_versions_agree_more_than_with_prototypes(similarity):
    a, b, unseen = ((x[:500], x[500:]) for x in versions())
    history = []
    learned = learn([a[0], b[0]], 20, items=15, epochs=20, similarity=similarity, device="cpu", progress=history.append)
    plain = select(a[0], 20, "prototype", nearest=15)
    assert (learned.indices.shape, learned.weights.dtype) == ((20, 15), np.float32)
    np.testing.assert_allclose(learned.weights.sum(axis=1), 1, rtol=1e-5)
    assert (learned.weights > 0).all()
    assert all(len(set(row)) == 15 for row in learned.indices.tolist())
    assert min(e["heldout"] for e in history) < 0.95 * history[0]["heldout"], "held-out items gain"
    gain = 0.0 if similarity == "whitened" else 0.2  # whitened prototypes find nearly all of them as it is
    for other in (b, unseen):
        assert recall(a, other, learned, similarity) >= recall(a, other, plain, similarity) + gain


def test_one_seed_one_result():
    x = versions(n=200)[:2]
    first, again = (learn(x, 5, items=4, epochs=3, seed=7, device="cpu") for _ in range(2))
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.weights, again.weights)
    other = learn(x, 5, items=4, epochs=3, seed=8, device="cpu")
    assert (other.indices != first.indices).any()


def test_the_best_epoch_is_kept_and_no_progress_stops():
    x = versions(n=300)[:2]
    history = []
    learn(x, 8, items=5, epochs=40, lr=50.0, device="cpu", progress=history.append)  # so fast that it only harms
    assert len(history) < 41
    assert "loss" not in history[0]
    best = int(np.argmin([e["heldout"] for e in history]))
    assert best == len(history) - 5, "four epochs without a better one"
    stopped = learn(x, 8, items=5, epochs=best or 1, lr=50.0, device="cpu")
    kept = learn(x, 8, items=5, epochs=40, lr=50.0, device="cpu")
    if best:
        np.testing.assert_array_equal(kept.weights, stopped.weights)


def test_memory_maps_and_a_sample_of_the_items(tmp_path, monkeypatch):
    from align.anchors import learning

    a, b, _ = versions(n=300)
    for name, rows in (("a", a), ("b", b)):
        np.save(tmp_path / f"{name}.npy", rows)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "ab"]
    np.testing.assert_array_equal(
        learn(mapped, 5, epochs=1, device="cpu").weights, learn([a, b], 5, epochs=1, device="cpu").weights
    )
    monkeypatch.setattr(learning, "_MOST", 60)
    few = learn(mapped, 5, items=3, epochs=1, device="cpu")
    assert len(np.unique(few.indices)) <= 54
    assert few.indices.max() > 60, "picked from all of them"


X = np.random.default_rng(0).standard_normal((40, 3))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: learn([X], 4), InvalidInput, "two versions' rows or more"),
        (lambda: learn([X, X[:9]], 4), InvalidInput, r"row by row, got \[40, 9\] rows"),
        (lambda: learn([X[:3], X[:3]], 1), InvalidInput, "4 or more"),
        (lambda: learn([X, X], 37), InvalidInput, "k must be a whole number from 1 to 36"),
        (lambda: learn([X, X], 4, similarity="dot"), InvalidInput, "similarity 'dot' is not known"),
        (lambda: learn([X, X], 4, temperature=0), InvalidInput, "temperature must be a finite number above 0"),
        (lambda: learn([X, X], 4, lr=np.nan), InvalidInput, "lr must be"),
        (lambda: learn([X, X], 4, epochs=0), InvalidInput, "epochs must be"),
        (lambda: learn([X, X], 4, items=1.5), InvalidInput, "items must be"),
        (lambda: learn([X, X], 4, seed=-1), InvalidInput, "seed must be"),
        (lambda: learn([X, np.where(np.arange(40)[:, None] == 9, np.nan, X)], 4), BadVector, "version 2 row 9"),
        (lambda: learn([X, X[:, 0]], 4), InvalidInput, "version 2 must be a matrix"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.integers(0, 1))
def test_rows_that_cannot_be_are_refused(broken_rows, data, place):
    given = [X[:12], X[:12]]
    given[place] = data.draw(broken_rows(12, 3))
    with pytest.raises(InvalidInput) as caught:
        learn(given, 3, epochs=1, device="cpu")
    assert "\n" not in str(caught.value)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([np.float16, np.float32, np.float64]), st.sampled_from(["cosine", "l2", "product"]))
def test_dull_data_gives_finite_anchors(dtype, similarity):
    """Constant dimensions, half of the items copies, fewer items than dimensions."""
    x = np.random.default_rng(0).standard_normal((20, 30)).astype(dtype)
    x[:, 5:] = 1
    x[10:] = x[:10]
    found = learn([x, x[:, ::-1]], 4, items=3, epochs=2, similarity=similarity, device="cpu")
    assert isinstance(found, Anchors)
    assert np.isfinite(found.vectors(x)).all()
