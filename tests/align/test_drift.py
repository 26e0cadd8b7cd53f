"""Frechet distance and MMD: SciPy, plain loops, and whether they see a drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from align.metrics import frechet_distance, mmd
from align.moments import accumulate
from registry.errors import BadVector, DimensionMismatch, InvalidInput

FLOATS = [np.float16, np.float32, np.float64]


def galleries(n=300, m=200, d=5, shift=0.0, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((d, d))
    return (rng.standard_normal((n, d)) @ mix).astype(dtype), (rng.standard_normal((m, d)) @ mix + shift).astype(dtype)


def fid(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    cx, cy = np.cov(x.T), np.cov(y.T)
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(cx + cy - 2 * sqrtm(cx @ cy).real)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_frechet_distance_equals_the_formula(dtype, shift):
    x, y = galleries(shift=shift, dtype=dtype)
    assert frechet_distance(x, y, device="cpu") ** 2 == pytest.approx(fid(x, y), abs=1e-4)
    taken = [accumulate(v, parts=("xx",), device="cpu") for v in (x, y)]
    assert frechet_distance(*taken) == pytest.approx(frechet_distance(x, y, device="cpu"))


def test_frechet_distance_of_normalised_rows():
    x, y = galleries(shift=0.5)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y)]
    assert frechet_distance(x, y, normalize=True, device="cpu") == pytest.approx(np.sqrt(fid(*unit)), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 8), st.integers(1, 12), st.floats(0, 3))
def test_frechet_distance_is_a_distance_also_with_few_rows(seed, n, d, shift):
    """Fewer rows than dimensions make singular covariances, whose product SciPy's root cannot be trusted with."""
    x, y = galleries(n, n + 1, d, shift, seed)
    found = frechet_distance(x, y, device="cpu")
    scale = np.sqrt(np.square(x).sum(axis=1).max())
    assert found == pytest.approx(frechet_distance(y, x, device="cpu"), abs=2e-3 * scale)
    assert frechet_distance(x, x[::-1], device="cpu") < 2e-3 * scale
    assert found >= np.linalg.norm(x.mean(0) - y.mean(0)) - 2e-3 * scale
    z = galleries(n, 3, d, -shift, seed + 1)[1]
    there = frechet_distance(x, z, device="cpu") + frechet_distance(z, y, device="cpu")
    assert found <= there + 4e-3 * (scale + 1)


def test_single_points_are_as_far_as_they_are():
    x, y = np.tile([3.0, 0.0], (5, 1)), np.tile([0.0, 4.0], (7, 1))
    assert frechet_distance(x, y, device="cpu") == pytest.approx(5)


# --- MMD ------------------------------------------------------------------------------------------------------------


def mmd_by_hand(x, y, bandwidth):
    def mean(a, b, same):
        total = sum(
            np.exp(-np.sum((p - q) ** 2) / (2 * bandwidth**2))
            for i, p in enumerate(a)
            for j, q in enumerate(b)
            if not (same and i == j)
        )
        return total / (len(a) * (len(b) - same))

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("block", [None, 1, 13])
def test_mmd_equals_a_plain_loop(dtype, block):
    x, y = galleries(30, 20, shift=0.7, dtype=dtype)
    expected = mmd_by_hand(x.astype(np.float64), y.astype(np.float64), 2.0)
    found = mmd(x, y, bandwidth=2.0, block=block)
    assert found.value == pytest.approx(expected, abs=1e-6)
    assert (found.bandwidth, found.p_value) == (2.0, None)


def test_the_bandwidth_is_the_median_distance():
    x, y = galleries(30, 20, shift=0.7)
    both = np.concatenate([x, y])
    distances = np.linalg.norm(both[:, None] - both, axis=2)[np.triu_indices(50, 1)]
    found = mmd(x, y)
    assert found.bandwidth == pytest.approx(np.median(distances), rel=1e-5)
    assert found.value == pytest.approx(mmd_by_hand(x, y, np.median(distances)), abs=1e-6)
    x, y = galleries(3000, 2000)
    assert mmd(x, y).bandwidth == mmd(x, y, permutations=3).bandwidth


def test_mmd_far_from_the_origin():
    x, y = galleries(30, 20, shift=0.7)
    assert mmd(x + 1000, y + 1000).value == pytest.approx(mmd(x, y).value, abs=1e-4)


def test_the_permutation_test_is_fair_and_sees_drift():
    """Under no drift p is even over (0, 1]; a shift of half a deviation is found."""
    found = [mmd(*galleries(30, 30, 2, seed=seed), permutations=39, seed=seed).p_value for seed in range(120)]
    assert 0.4 < np.mean(found) < 0.6
    assert np.mean(np.asarray(found) <= 0.1) == pytest.approx(0.1, abs=0.08)
    assert mmd(*galleries(100, 100, 2, shift=1.0), permutations=99).p_value == 0.01


def test_mmd_sees_what_means_and_covariances_hide():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((400, 1)), rng.choice([-1.0, 1.0], size=(400, 1))
    x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    assert frechet_distance(x, y, device="cpu") < 1e-2
    assert mmd(x, y, permutations=99).p_value == 0.01


def test_mmd_without_drift_is_about_nothing():
    values = [mmd(*galleries(50, 40, seed=seed), bandwidth=2.0).value for seed in range(60)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(60)


def test_at_most_so_many_rows_are_drawn_with_the_seed():
    x, y = galleries(300, 200, shift=0.5)
    a, b, c = (mmd(x, y, rows=50, seed=seed).value for seed in (1, 1, 2))
    assert a == b != c
    assert a == pytest.approx(mmd(x, y).value, abs=0.2)
    assert mmd(x, y, rows=300) == mmd(x, y)


def test_mmd_of_normalised_rows():
    x, y = galleries(shift=0.5)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y)]
    assert mmd(x, y, normalize=True).value == pytest.approx(mmd(*unit).value, abs=1e-6)


# --- bad input ------------------------------------------------------------------------------------------------------

X, Y = galleries(6, 6, 3)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([frechet_distance, mmd]), st.booleans())
def test_broken_rows_are_refused(broken_rows, data, measure, second):
    bad = data.draw(broken_rows(6, 3))
    with pytest.raises(InvalidInput) as caught:
        measure(*((X, bad) if second else (bad, Y)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: frechet_distance(X, Y[:, :2], device="cpu"), DimensionMismatch, "x has 3 dimensions, y 2"),
        (lambda: frechet_distance(X[:1], Y, device="cpu"), InvalidInput, "x must hold two rows"),
        (lambda: frechet_distance(X, accumulate(Y, parts=(), device="cpu")), InvalidInput, "hold no xx"),
        (lambda: frechet_distance(X, accumulate(Y[:1], parts=("xx",), device="cpu")), InvalidInput, "two rows"),
        (lambda: frechet_distance(X, Y * [[1], [1], [0], [1], [1], [1]], device="cpu"), BadVector, "row 2"),
        (lambda: mmd(X, Y[:, :2]), DimensionMismatch, "x has 3 dimensions, y 2"),
        (lambda: mmd(X, Y[:1]), InvalidInput, "y must hold two rows"),
        (lambda: mmd(X, Y * [[1], [1], [0], [1], [1], [1]]), BadVector, "y row 2"),
        (lambda: mmd(np.ones((5, 2)), np.ones((5, 2))), InvalidInput, "give a bandwidth"),
        (lambda: mmd(X, Y, bandwidth=0), InvalidInput, "bandwidth must be"),
        (lambda: mmd(X, Y, bandwidth=np.nan), InvalidInput, "bandwidth must be"),
        (lambda: mmd(X, Y, permutations=-1), InvalidInput, "permutations must be"),
        (lambda: mmd(X, Y, rows=1), InvalidInput, "rows must be"),
        (lambda: mmd(X, Y, seed=None), InvalidInput, "seed must be"),
        (lambda: mmd(X, Y, block=0), InvalidInput, "block must be"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_equal_rows_have_an_mmd_with_a_bandwidth():
    assert mmd(np.ones((5, 2)), np.ones((5, 2)), bandwidth=1.0).value == 0
    assert mmd(np.ones((5, 2)), -np.ones((4, 2)), bandwidth=1.0).value == pytest.approx(2 - 2 * np.exp(-4))
