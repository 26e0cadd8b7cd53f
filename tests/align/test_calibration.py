"""Calibration of scores across a bridge, against scikit-learn and SciPy, and in the reports of fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ks_2samp
from sklearn.isotonic import IsotonicRegression

import align
from align.bridges.calibration import calibrate, isotonic, ks_distance
from registry import calibration
from registry.errors import InvalidInput

SCORES = st.floats(-1, 1, width=32)


def scored(n=20_000, noise=0.05, seed=0):
    """Scores of a bridge that shrinks and bends what the native space gives: across (n,), native (n,)."""
    rng = np.random.default_rng(seed)
    native = np.clip(rng.normal(0.1, 0.3, n), -1, 1)
    return 0.3 * native + 0.2 * np.maximum(native, 0) ** 3 + noise * 0.3 * rng.standard_normal(n) - 0.1, native


def test_few_points_are_kept_as_scikit_learn_finds_them():
    across, native = scored(40)
    x, y = isotonic(across, native, knots=1000)
    grid = np.linspace(-2, 2, 300)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(across, native)
    np.testing.assert_allclose(calibration.apply(grid, x, y), oracle.predict(grid), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_thinned_to_64_knots_it_hardly_moves(dtype):
    across, native = (v.astype(dtype) for v in scored())
    x, y = isotonic(across, native)
    assert len(x) <= 64
    oracle = IsotonicRegression(out_of_bounds="clip").fit(across, native)
    off = np.abs(calibration.apply(across, x, y) - oracle.predict(across))
    assert off.mean() < 0.01 and off.max() < 0.06
    assert np.square(calibration.apply(across, x, y) - native).mean() < 0.02 * np.square(across - native).mean() + 1e-3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=200), st.integers(2, 64))
def test_calibrated_scores_rise_with_scores_and_stay_in_range(points, knots):
    across, native = np.array(points, dtype=np.float64).T
    x, y = isotonic(across, native, knots=knots)
    assert len(x) <= knots and (np.diff(x) > 0).all() and (np.diff(y) >= 0).all()
    assert calibration.curve({"calibration": {"x": x.tolist(), "y": y.tolist(), "native": "source"}}, "source")
    found = calibration.apply(np.sort(np.concatenate([across, [-5, 5]])), x, y)
    assert (np.diff(found) >= 0).all()
    assert native.min() - 1e-6 <= found.min() and found.max() <= native.max() + 1e-6


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.integers(3, 50), elements=SCORES), arrays(np.float64, st.integers(3, 50), elements=SCORES))
def test_ks_is_scipys(a, b):
    assert ks_distance(a, b) == pytest.approx(ks_2samp(a, b, method="asymp").statistic)


def test_empty_places_stay_empty_and_no_order_changes():
    across, native = scored(500)
    x, y = isotonic(across, native)
    scores = np.array([[0.9, 0.1, -0.05, -np.inf]], dtype=np.float32)
    found = calibration.apply(scores, x, y)
    assert found.dtype == np.float32 and found[0, 3] == -np.inf
    assert (np.diff(found[0]) <= 0).all()


@pytest.mark.parametrize(
    "stored",
    [
        None, 3, {}, {"x": [0, 1], "y": [0, 1]}, {"x": [0, 1], "y": [0, 1], "native": "target"},
        {"x": [1, 0], "y": [0, 1], "native": "source"}, {"x": [0, 1], "y": [1, 0], "native": "source"},
        {"x": [0, 1], "y": [0], "native": "source"}, {"x": [], "y": [], "native": "source"},
        {"x": ["a"], "y": [0], "native": "source"}, {"x": [[0]], "y": [[0]], "native": "source"},
        {"x": [0, float("nan")], "y": [0, 1], "native": "source"}, {"x": [0, [1]], "y": [0, 1], "native": "source"},
    ],
)  # fmt: skip
def test_what_is_no_calibration_is_none(stored):
    assert calibration.curve({"calibration": stored} if stored is not None else {}, "source") is None


@pytest.mark.parametrize(("across", "native"), [([], []), ([0.1], [0.1, 0.2]), ([np.nan], [0.0]), ([0.0], [np.inf])])
def test_bad_scores(across, native):
    with pytest.raises(InvalidInput, match="calibration needs"):
        isotonic(np.array(across), np.array(native))


def test_equal_scores_everywhere_give_one_level():
    found = calibrate(np.full(9, 0.3), np.linspace(0, 1, 9), end="source")
    assert (found["x"], found["y"]) == ([0.3], [0.5])


def test_a_shrinking_bridge_is_calibrated_by_its_fit():
    rng = np.random.default_rng(0)
    new = rng.standard_normal((3000, 48))
    old = new @ np.linalg.qr(rng.standard_normal((48, 48)))[0] + 1.2 * rng.standard_normal((3000, 48))
    found = align.fit(new, old, holdout=0.2, device="cpu")
    stored = found.report["calibration"]
    assert len(stored["x"]) <= 64 and stored["native"] == "source"
    assert stored["ks_after"] < stored["ks_before"] or stored["ks_before"] < 0.1
    curve = calibration.curve(found.report, "source")
    own = np.vecdot(found.apply(new), old / np.linalg.norm(old, axis=1, keepdims=True))
    assert own.mean() < 0.75, "an item is not even near itself across this bridge"
    assert calibration.apply(own, *curve).mean() > 0.85, "as near as it is to itself in the new space, nearly"
    assert calibration.curve(found.report, "target") is None, "the other way round, nobody measured"
