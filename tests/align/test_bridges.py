"""`align.fit`: what closed form promises, against SciPy and scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import Ridge

import align
from registry import transforms
from registry.errors import BadVector, InvalidInput
from registry.vectors import normalize


def rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


def anisotropic(n=400, d=8, seed=0):
    """A few directions carry almost all of the variance, as in real embeddings; the mean is not zero."""
    return np.random.default_rng(seed).standard_normal((n, d)) * np.logspace(0, -2, d) + 0.3


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([True, False]), st.floats(0.1, 10), st.floats(-3, 3))
def test_an_exact_rotation_of_anisotropic_data_is_recovered(seed, unit, scale, shift):
    x, r = anisotropic(seed=seed), rotation(8, seed)
    y = normalize(x) @ r if unit else scale * (x @ r) + shift
    bridge = align.fit(x, y, normalize=unit, device="cpu")
    tolerance = 1e-5 if unit else 1e-5 * scale * np.abs(y).max() * 10
    np.testing.assert_allclose(bridge.apply(x), y, atol=tolerance)
    assert bridge.report["scale"] == pytest.approx(1 if unit else scale, rel=1e-4)
    assert bridge.report["residual"] < 1e-5
    assert bridge.report["explained"] == pytest.approx(1, abs=1e-5)
    assert bridge.report["pairs"] == 400


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_orthogonal_equals_scipy_on_centred_data(dtype):
    rng = np.random.default_rng(1)
    x = anisotropic().astype(dtype)
    y = (anisotropic() @ rotation(8) + 0.1 * rng.standard_normal((400, 8))).astype(dtype)
    a, b = (v.astype(np.float64) - v.astype(np.float64).mean(0) for v in (x, y))
    expected, nuclear = orthogonal_procrustes(a, b)
    bridge = align.fit(x, y, normalize=False, device="cpu")
    scale = nuclear / np.square(a).sum()
    assert bridge.report["scale"] == pytest.approx(scale, rel=1e-5)
    np.testing.assert_allclose(bridge.weight / scale, expected, atol=1e-3 if dtype == np.float16 else 1e-4)
    np.testing.assert_allclose(bridge.apply(x).mean(0), y.astype(np.float64).mean(0), atol=1e-4)
    missed = np.square(scale * a @ expected - b).sum() / np.square(b).sum()
    assert bridge.report["residual"] == pytest.approx(missed, abs=1e-5)


@pytest.mark.parametrize(("ds", "dt"), [(4, 7), (7, 4)])
def test_spaces_of_different_width(ds, dt):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, ds)) * np.arange(1, ds + 1)
    y = x @ rng.standard_normal((ds, dt)) + 0.1 * rng.standard_normal((300, dt))
    bridge = align.fit(x, y, normalize=False, device="cpu")
    q = bridge.weight / bridge.report["scale"]
    np.testing.assert_allclose(q @ q.T if ds < dt else q.T @ q, np.eye(min(ds, dt)), atol=1e-5)
    error = np.square(bridge.apply(x) - y).sum() / np.square(y - y.mean(0)).sum()
    assert bridge.report["residual"] == pytest.approx(error, abs=1e-4)
    for factor in (0.99, 1.01):  # the scale is the best one
        moved = transforms.Orthogonal(
            weight=factor * bridge.weight, bias=y.mean(0) - x.mean(0) @ (factor * bridge.weight), normalize=False
        )
        assert np.square(moved.apply(x) - y).sum() > np.square(bridge.apply(x) - y).sum()
    assert align.fit([(x, y)], normalize=False, device="cpu").digest() == bridge.digest()


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 0.5])
def test_affine_equals_scikit_learn(ridge):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6)) * 2 + 1
    y = x @ rng.standard_normal((6, 4)) + rng.standard_normal((300, 4))
    bridge = align.fit(x, y, "affine", normalize=False, ridge=ridge, device="cpu")
    expected = Ridge(alpha=300 * ridge).fit(x, y)
    np.testing.assert_allclose(bridge.weight, expected.coef_.T, atol=1e-4)
    np.testing.assert_allclose(bridge.bias, expected.intercept_, atol=1e-4)
    error = np.square(expected.predict(x) - y).sum() / np.square(y - y.mean(0)).sum()
    assert bridge.report["residual"] == pytest.approx(error, abs=1e-5)
    assert bridge.report["ridge"] == ridge


def gcv(x, y, ridge):
    """The definition, with the whole n x n hat matrix."""
    n = len(x)
    a, b = x - x.mean(0), y - y.mean(0)
    hat = a @ np.linalg.solve(a.T @ a / n + ridge * np.eye(x.shape[1]), a.T) / n
    return np.square(b - hat @ b).sum() / n / (1 - (1 + np.trace(hat)) / n) ** 2


@pytest.mark.parametrize(("n", "noise"), [(60, 3.0), (300, 0.5)])
def test_the_ridge_minimises_generalised_cross_validation(n, noise):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 20)) * np.logspace(0, -1, 20)
    y = x @ rng.standard_normal((20, 5)) + noise * rng.standard_normal((n, 5))
    chosen = align.fit(x, y, "affine", normalize=False, device="cpu").report["ridge"]
    grid = np.logspace(-9, 1, 400)
    assert gcv(x, y, chosen) <= min(gcv(x, y, r) for r in grid) * 1.001


def test_fewer_pairs_than_dimensions_stay_finite():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 20, 50))
    for method in ("orthogonal", "affine"):
        with pytest.warns(UserWarning, match="20 pairs are few for 50 -> 50 dimensions: give 100"):
            bridge = align.fit(x, y, method, device="cpu")
        assert np.isfinite(bridge.apply(x)).all()
        assert 0 <= bridge.report["residual"] <= 1


def test_enough_pairs_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        align.fit(anisotropic(), anisotropic(), device="cpu")


@pytest.mark.parametrize("method", ["orthogonal", "affine"])
def test_constant_and_dead_dimensions_are_harmless(method):
    x = anisotropic()
    x[:, 3], x[:, 5] = 0, 7
    y = x @ rotation(8)
    for ridge in (None, 0.0) if method == "affine" else (None,):
        bridge = align.fit(x, y, method, normalize=False, ridge=ridge, device="cpu")
        np.testing.assert_allclose(bridge.apply(x), y, atol=1e-3)


@pytest.mark.parametrize("method", ["orthogonal", "affine"])
def test_a_fit_survives_its_file(tmp_path, method):
    pytest.importorskip("safetensors")
    bridge = align.fit(anisotropic(), anisotropic(seed=1), method, device="cpu")
    bridge.save(tmp_path / "t.safetensors")
    loaded = transforms.load(tmp_path / "t.safetensors")
    assert loaded.kind == method
    assert loaded.report == bridge.report
    np.testing.assert_array_equal(loaded.apply(anisotropic()), bridge.apply(anisotropic()))


def test_chunks_and_progress_give_the_same_map():
    x, y = anisotropic(), anisotropic(seed=1)
    seen: list[int] = []
    parts = ((x[i : i + 90], y[i : i + 90]) for i in range(0, 400, 90))
    found = align.fit(parts, method="affine", device="cpu", progress=lambda done, _: seen.append(done))
    np.testing.assert_allclose(found.weight, align.fit(x, y, "affine", device="cpu").weight, rtol=1e-3, atol=1e-3)
    assert seen == [90, 180, 270, 360, 400]


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(40)))
def test_the_order_of_pairs_does_not_matter(order):
    x, y = anisotropic(40, 4), anisotropic(40, 4, seed=1)
    a, b = align.fit(x, y, device="cpu"), align.fit(x[order], y[order], device="cpu")
    np.testing.assert_allclose(a.weight, b.weight, atol=1e-4)


X = anisotropic(20, 3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: align.fit(X, X, "lowrnk"), "method 'lowrnk' is not known"),
        (lambda: align.fit(X, X, ridge=1.0), "ridge belongs to the affine method"),
        (lambda: align.fit(X, X, "affine", ridge=-1.0), "ridge must be"),
        (lambda: align.fit(X, X, "affine", ridge=np.nan), "ridge must be"),
        (lambda: align.fit(X), "fit needs pairs"),
        (lambda: align.fit(iter(())), "empty"),
        (lambda: align.fit(X[:1], X[:1]), "at least 2 pairs, got 1"),
        (lambda: align.fit(X, X[:9]), "source has 20 rows and target 9"),
        (lambda: align.fit(np.ones((20, 3)), X), "are equal"),
        (lambda: align.fit(X, np.full((20, 3), 0.1)), "are equal"),
        (lambda: align.fit(np.repeat(X[:1], 20, 0), np.repeat(X[1:2], 20, 0), "affine"), "are equal"),
        (
            lambda: align.fit([[1, 1], [1, -1], [-1, 1], [-1, -1]] * 2, [[1], [2], [2], [1]] * 2, normalize=False),
            "vary together",
        ),
    ],
)
def test_bad_input(call, says):
    with pytest.raises(InvalidInput, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_bad_row_is_named():
    bad = X.copy()
    bad[7, 1] = np.nan
    with pytest.raises(BadVector, match="target row 7"):
        align.fit(X, bad, device="cpu")
