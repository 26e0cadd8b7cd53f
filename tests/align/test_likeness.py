"""CKA, the Procrustes distance and its bound: whole-matrix formulas, SciPy, invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

from align import metrics
from align.moments import accumulate
from registry.errors import InvalidInput


def spaces(seed=0, n=200):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 6)) * [3, 2, 1, 1, 0.5, 0.2] + 1
    return x, x @ rng.standard_normal((6, 4)) + rng.standard_normal((n, 4))


def test_cka_and_procrustes_equal_the_whole_matrix_formulas():
    x, y = spaces()
    a, b = x - x.mean(0), y - y.mean(0)
    gram = [v @ v.T for v in (a, b)]
    cka = (gram[0] * gram[1]).sum() / np.sqrt(np.square(gram[0]).sum() * np.square(gram[1]).sum())
    assert metrics.linear_cka(x, y, device="cpu") == pytest.approx(cka, abs=1e-5)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    distance = np.sqrt(2 - 2 * np.linalg.norm(a.T @ b, "nuc"))
    assert metrics.procrustes_distance(x, y, device="cpu") == pytest.approx(distance, abs=1e-4)
    assert metrics.linear_cka(accumulate(x, y, device="cpu")) == pytest.approx(cka, abs=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_types(dtype):
    x, y = (v.astype(dtype) for v in spaces())
    for measure in (metrics.linear_cka, metrics.procrustes_distance):
        wide = measure(x.astype(np.float64), y.astype(np.float64), device="cpu")
        assert measure(x, y, device="cpu") == pytest.approx(wide, abs=1e-5)
    wide = metrics.procrustes_bound(x.astype(np.float64), y.astype(np.float64))
    assert metrics.procrustes_bound(x, y) == pytest.approx(wide, rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 10), st.floats(-20, 20))
def test_likeness_is_invariant_under_rotation_scale_shift_and_order(seed, scale, shift):
    x, y = spaces()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    turned = scale * (x @ np.linalg.qr(rng.standard_normal((6, 6)))[0]) + shift
    for measure in (metrics.linear_cka, metrics.procrustes_distance):
        expected = measure(x, y, device="cpu")
        assert measure(turned[order], y[order], device="cpu") == pytest.approx(expected, abs=1e-3)
    assert metrics.linear_cka(x, turned, device="cpu") == pytest.approx(1, abs=1e-4)
    assert metrics.procrustes_distance(x, turned, device="cpu") < 1e-2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 9), st.integers(1, 12), st.integers(1, 12))
def test_fewer_rows_than_dimensions_and_constant_dimensions(seed, n, dx, dy):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, dx + 1)), rng.standard_normal((n, dy + 1))
    x[:, -1] = 3
    assert 0 <= metrics.linear_cka(x, y, device="cpu") <= 1
    assert 0 <= metrics.procrustes_distance(x, y, device="cpu") <= np.sqrt(2)
    without = metrics.linear_cka(x[:, :-1], y, device="cpu")
    assert metrics.linear_cka(x, y, device="cpu") == pytest.approx(without, abs=1e-4)


# --- the bound ------------------------------------------------------------------------------------------------------


def after_rotation(x, y):
    """Root mean square distance after the best rotation, by SciPy."""
    wide = max(x.shape[1], y.shape[1])
    a, b = (np.pad(v.astype(np.float64), ((0, 0), (0, wide - v.shape[1]))) for v in (x, y))
    return np.linalg.norm(a @ orthogonal_procrustes(a, b)[0] - b) / np.sqrt(len(a))


@st.composite
def pairs(draw):
    """Spaces from equal but for a rotation to unrelated, of any shapes, scales and offsets."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    n, dx, dy = (draw(st.integers(1, 15)) for _ in range(3))
    x = rng.standard_normal((n, dx)) * np.geomspace(1, draw(st.sampled_from([1, 1e-3])), dx) + draw(st.floats(-5, 5))
    wide = max(dx, dy)
    rotation = np.linalg.qr(rng.standard_normal((wide, wide)))[0]
    y = (np.pad(x, ((0, 0), (0, wide - dx))) @ rotation)[:, :dy]
    y = y + draw(st.sampled_from([0, 1e-6, 1e-3, 0.1, 3])) * rng.standard_normal((n, dy))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    x, y = (draw(st.sampled_from([1e-2, 1, 50])) * x).astype(dtype), y.astype(dtype)
    assume(all((np.linalg.norm(v.astype(np.float64), axis=1) > 1e-6).all() for v in (x, y)))
    return x, y


@settings(max_examples=300, deadline=None)
@given(pairs())
def test_the_bound_holds(case):
    """The statement of arXiv 2510.13406 for rows as samples, from rows and from moments."""
    x, y = case
    truth = after_rotation(x, y)
    scale = np.sqrt(np.square(x.astype(np.float64)).sum(axis=1).max())
    assert metrics.procrustes_bound(x, y) >= truth - 1e-9 * scale
    assert metrics.procrustes_bound(accumulate(x, y, device="cpu")) >= truth - 1e-9 * scale


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_the_bound_needs_inner_products_alone(case):
    x, y = (v.astype(np.float32).astype(np.float64) for v in case)
    differences = x @ x.T - y @ y.T
    delta = np.sqrt(np.square(differences).mean())
    expected = min(len(x), x.shape[1] + y.shape[1]) ** 0.25 * np.sqrt(delta)
    found = metrics.procrustes_bound(x, y)
    floor = 2e-3 * np.sqrt(max(np.square(v).sum(axis=1).max() for v in (x, y)))
    assert found == pytest.approx(expected, rel=1e-3, abs=floor)


def test_the_bound_of_equal_and_nearly_equal_unit_rows():
    """What the docstring promises of rounding, at a real size."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 64)).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = x @ np.linalg.qr(rng.standard_normal((64, 64)))[0].astype(np.float32)
    assert metrics.procrustes_bound(x, y) < 2e-3
    assert metrics.procrustes_bound(accumulate(x, y, device="cpu")) < 0.1
    noisy = y + 0.01 * rng.standard_normal(y.shape)
    assert after_rotation(x, noisy) < metrics.procrustes_bound(x, noisy) < 0.5


# --- bad input ------------------------------------------------------------------------------------------------------

X = np.arange(1, 13.0).reshape(6, 2) ** 2
ALL = (metrics.linear_cka, metrics.procrustes_distance, metrics.procrustes_bound)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(ALL), st.booleans())
def test_broken_rows_are_refused(broken_rows, data, measure, second):
    bad, good = data.draw(broken_rows(6, 3)), np.random.default_rng(0).standard_normal((6, 3))
    with pytest.raises(InvalidInput) as caught:
        measure(*((good, bad) if second else (bad, good)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("measure", ALL)
def test_two_matrices_are_needed(measure):
    with pytest.raises(InvalidInput, match="two matrices"):
        measure(X)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: metrics.linear_cka(X, np.ones((6, 2)), device="cpu"), "all rows of one side are equal"),
        (lambda: metrics.procrustes_distance(np.full((6, 3), 7.0), X, device="cpu"), "all rows of one side are equal"),
        (lambda: metrics.linear_cka(X[:1], X[:1], device="cpu"), "all rows of one side are equal"),
        (lambda: metrics.linear_cka(accumulate(X, X, parts=("xy",), device="cpu")), "hold no xx"),
        (lambda: metrics.procrustes_bound(accumulate(X, X, parts=("xy",), device="cpu")), "hold no xx"),
        (lambda: metrics.procrustes_distance(X, X[:3], device="cpu"), "6 rows and target 3"),
        (lambda: metrics.procrustes_bound(X, X[:3]), "6 rows and target 3"),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_equal_rows_have_a_bound():
    """One point against another: no shift is allowed, so the rotation leaves the difference of their lengths."""
    x, y = np.full((5, 2), 3.0), np.full((5, 2), 4.0)
    assert metrics.procrustes_bound(x, y) >= after_rotation(x, y) == pytest.approx(np.sqrt(2))
