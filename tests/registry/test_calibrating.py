"""The calibration that labels give: against what is known of the scores, and its shape whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from registry.calibration import apply
from registry.retrieval.calibrating import _blocks, between, odds

METRICS = ("cosine", "dot", "l2")


def sides(seed, n, d, classes, noise):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, classes, n)
    native = rng.standard_normal((classes, d))[codes] + rng.standard_normal((n, d))
    return codes, native, native @ rng.standard_normal((d, d)) + noise * rng.standard_normal((n, d)) + rng.uniform(0, 3)


def told(vectors, metric, codes, seed=0):
    own = np.arange(len(codes))
    return odds(vectors, vectors, metric, query_codes=codes, gallery_codes=codes, own=own, seed=seed)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1000), st.integers(4, 120), st.integers(2, 8), st.integers(2, 6), st.floats(0, 5),
    st.sampled_from(METRICS), st.sampled_from(METRICS),
)  # fmt: skip
def test_a_calibration_rises_strictly_and_stays_where_scores_can_be(seed, n, d, classes, noise, metric, native_metric):
    codes, native, old = sides(seed, n, d, classes, noise)
    across, own = told(old, metric, codes), told(native, native_metric, codes)
    if across is None or own is None or (line := between(across, own)) is None:
        return
    x, y = line
    assert 2 <= len(x) <= 64 and (np.diff(x) > 0).all() and (np.diff(y) > 0).all()
    assert np.isfinite(line).all()
    if native_metric == "cosine":
        assert y.min() >= -1 and y.max() <= 1
    if native_metric == "l2":
        assert y.max() <= 0
    seen = np.unique((old @ old.T).ravel()) if metric == "dot" else np.linspace(x[0], x[-1], 50)
    assert (np.diff(apply(seen.astype(np.float64), x, y)) >= 0).all()


def test_scores_that_are_bent_come_back():
    """Across the path everything is as it was, but for a bend of the scores: lengths of l2 that are halved."""
    codes, native, _ = sides(0, 400, 8, 5, 0)
    across, own = told(native / 2, "l2", codes), told(native, "l2", codes)
    x, y = between(across, own)
    scores = -np.linspace(1, 12, 20)
    np.testing.assert_allclose(apply(scores, x, y), 4 * scores, rtol=1e-3)


def test_the_share_of_relevant_items_is_kept():
    """Of items at one calibrated score as many are relevant as of those at that native score."""
    codes, native, old = sides(1, 1500, 8, 5, 4.0)
    x, y = between(told(old, "cosine", codes), told(native, "cosine", codes))
    own, far = (unit @ unit.T for unit in (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (native, old)))
    relevant = codes[:, None] == codes
    np.fill_diagonal(relevant, False)
    mapped = apply(far, x, y)
    for low, high in ((-0.2, 0.0), (0.2, 0.4), (0.4, 0.6)):
        shares = [relevant[(scores >= low) & (scores < high)].mean() for scores in (own, mapped)]
        assert shares[1] == pytest.approx(shares[0], abs=0.06)


def test_blocks_are_isotonic_regression():
    rng = np.random.default_rng(0)
    centres, many = np.sort(rng.standard_normal(300)), rng.uniform(1, 9, 300)
    shares = np.clip(1 / (1 + np.exp(-centres)) + 0.2 * rng.standard_normal(300), 0.01, 0.99)
    found, levels = _blocks(centres, many, shares)
    oracle = IsotonicRegression().fit(centres, shares, sample_weight=many).predict(centres)
    assert levels == pytest.approx(np.unique(oracle.round(9)), abs=1e-8)
    assert (np.diff(found) > 0).all()


@pytest.mark.parametrize("codes", [np.zeros(30, int), np.arange(30)])
def test_labels_that_tell_nothing_calibrate_nothing(codes):
    rng = np.random.default_rng(0)
    assert told(rng.standard_normal((30, 4)), "cosine", codes) is None


def test_what_a_query_is_itself_never_counts():
    rng = np.random.default_rng(0)
    x, codes = rng.standard_normal((60, 6)), np.repeat(np.arange(30), 2)
    x[1::2] = -x[::2]  # the only relevant item lies opposite
    assert told(x, "cosine", codes) is None
