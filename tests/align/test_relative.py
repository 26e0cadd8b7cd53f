"""`align.relative`: a table of what changes a relative space and what does not, and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.anchors import select
from align.relative import project, transform
from registry import transforms
from registry.errors import BadVector, DimensionMismatch, InvalidInput
from registry.vectors import normalize


def data(n=400, d=6, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d)) * np.linspace(0.5, 2, d) + 0.5


def rotated(x, rng):
    return x @ np.linalg.qr(rng.standard_normal((x.shape[1],) * 2))[0]


def scaled(x, rng):
    return x * rng.uniform(0.1, 10)


def shifted(x, rng):
    return x + rng.uniform(1, 2, x.shape[1])


def stretched(x, rng):
    u, v = (np.linalg.qr(rng.standard_normal((x.shape[1],) * 2))[0] for _ in range(2))
    return x @ (u * np.geomspace(0.2, 5, x.shape[1])) @ v


def affine(x, rng):
    return shifted(stretched(x, rng), rng)


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(
        [
            ("cosine", rotated, True),
            ("cosine", scaled, True),
            ("cosine", shifted, False),
            ("cosine", affine, False),
            ("whitened", rotated, True),
            ("whitened", scaled, True),
            ("whitened", shifted, True),
            ("whitened", stretched, True),
            ("whitened", affine, True),
        ]
    ),
    st.sampled_from(["uniform", "prototype"]),
    st.integers(0, 2**31),
)
def test_invariance(case, strategy, seed):
    similarity, change, holds = case
    x = data()
    y = change(x, np.random.default_rng(seed))
    anchors = select(x, 20, strategy)
    a, b = project(x, anchors, similarity), project(y, anchors, similarity)
    if holds:
        np.testing.assert_allclose(a, b, atol=2e-3 if similarity == "whitened" else 1e-5)
    else:
        assert np.abs(a - b).max() > 1e-2


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equals_a_plain_loop(dtype):
    x, a = data().astype(dtype), data(10, seed=1).astype(dtype)
    found = project(x, a)
    assert found.dtype == np.float32
    expected = [
        [float(u @ v) / np.linalg.norm(u) / np.linalg.norm(v) for v in a.astype(float)] for u in x.astype(float)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    wide = x.astype(np.float64)
    precision = np.linalg.inv(np.cov(wide.T, bias=True))
    expected = (wide - wide.mean(0)) @ precision @ (a.astype(np.float64) - wide.mean(0)).T
    np.testing.assert_allclose(project(x, a, "whitened"), expected, atol=2e-3)


def test_the_transform_is_what_project_computes():
    x = data()
    cosine = transform(x[:9])
    assert isinstance(cosine, transforms.Relative)
    np.testing.assert_allclose(cosine.apply(x), normalize(project(x, x[:9])), atol=1e-6)
    whitened = transform(x[:9], "whitened", data=x)
    np.testing.assert_allclose(whitened.apply(x), project(x, x[:9], "whitened"), atol=1e-6)
    assert whitened.normalize is False
    assert whitened.report["rows"] == 400


def test_data_may_come_in_chunks_or_from_elsewhere():
    x = data()
    whole, parts = (
        transform(x[:9], "whitened", data=x),
        transform(x[:9], "whitened", data=(x[i : i + 99] for i in range(0, 400, 99))),
    )
    np.testing.assert_allclose(whole.precision, parts.precision, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(project(x[:50], x[:9], "whitened", data=x), whole.apply(x[:50]), atol=1e-6)


def test_a_dead_dimension_stays_finite():
    x = data()
    x[:, 2] = 1
    assert np.isfinite(project(x, x[:5], "whitened")).all()


def test_few_rows_warn():
    with pytest.warns(UserWarning, match="10 rows say little about a covariance of 6 dimensions"):
        found = project(data(10), data(4), "whitened")
    assert np.isfinite(found).all()


X = data()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: project(X, X[:3, :2]), DimensionMismatch, "x have 6 dimensions"),
        (lambda: project(X, X[:3, :2], "whitened"), DimensionMismatch, "anchors have 2 dimensions"),
        (lambda: project(X, X[:3], "dot"), InvalidInput, "similarity 'dot' is not known"),
        (lambda: project(X, X[:3], data=X), InvalidInput, "leave it out for cosine"),
        (lambda: project(X, X[:3], "whitened", floor=0), InvalidInput, "floor must be"),
        (lambda: project(np.zeros((3, 6)), X[:3]), BadVector, "x row 0"),
        (lambda: project(X, np.zeros((3, 6))), BadVector, "anchors row 0"),
        (lambda: transform(X[:3], "whitened"), InvalidInput, "needs data"),
        (lambda: transform(X[:3], "whitened", data=np.ones((30, 6))), InvalidInput, "do not vary"),
    ],
)
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
