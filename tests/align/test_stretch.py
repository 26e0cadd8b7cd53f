"""Maps between spaces of directions are stretched about the target's mean, as far as their rows spread too little."""

from __future__ import annotations

import doctest
import importlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.bridges import closed
from align.bridges.learned import lambda_orthogonal, mlp
from align.metrics.neighbours import reembedding_recall
from align.moments import accumulate
from registry.vectors import normalize

CLOSED = {"orthogonal": closed.orthogonal, "affine": closed.affine, "lowrank": closed.lowrank}
QUICK = {"epochs": 15, "batch": 256, "device": "cpu", "normalize": True}
LEARNED = {
    "mlp": lambda x, y: mlp(x, y, hidden=32, **QUICK),
    "lambda-orthogonal": lambda x, y: lambda_orthogonal(x, y, **QUICK),
}


def cones(n, d=16, noise=0.8, seed=0):
    """Two noisy views of one thing, both in a narrow cone, as the embeddings of most encoders are."""
    shared, one, two = np.random.default_rng(seed).standard_normal((3, n, d))
    mean = 2 * np.random.default_rng(7).standard_normal((2, d))
    turn = np.linalg.qr(np.random.default_rng(8).standard_normal((d, d)))[0]
    x, y = mean[0] + shared @ turn + noise * one, mean[1] + shared + noise * two
    return x.astype(np.float32), y.astype(np.float32)


def spread(rows):
    return float(np.square(rows - rows.mean(0)).sum(axis=1).mean())


def moments(x, y):
    return accumulate(x, y, normalize=True, device="cpu")


@pytest.mark.parametrize("name", CLOSED)
def test_it_is_the_least_squares_map_stretched_about_the_mean(name):
    x, y = cones(2000)
    m = moments(x, y)
    plain, found = (CLOSED[name](m, normalize=normalized) for normalized in (False, True))
    c = found.report["stretch"]
    assert c > 1.1
    mapped = plain.apply(normalize(x))  # a map of lengths says where least squares puts a row
    np.testing.assert_allclose(found.apply(x), normalize(m.mean_y + c * (mapped - m.mean_y)), atol=1e-5)
    assert spread(m.mean_y + c * (mapped - m.mean_y)) == pytest.approx(m.spread_y, rel=1e-4)
    assert "stretch" not in plain.report
    assert found.report["residual"] == plain.report["residual"]


@pytest.mark.parametrize("name", [*CLOSED, *LEARNED])
def test_it_finds_more_neighbours_than_the_least_squares_map(name):
    x, y = cones(3000)
    test_x, test_y = cones(600, seed=1)
    fitted = LEARNED[name](x, y) if name in LEARNED else CLOSED[name](moments(x, y), normalize=True)
    plain = replace(closed.affine(moments(x, y), normalize=False), normalize=True)
    found = {
        who: reembedding_recall(test_x, test_x, bridged=(t.apply(test_x), test_y), k=10, same_items=True).value
        for who, t in (("stretched", fitted), ("plain", plain))
    }
    assert found["stretched"] > found["plain"] + 0.02


@pytest.mark.parametrize("name", LEARNED)
def test_what_is_learned_spreads_as_its_target(name):
    x, y = cones(2000)
    assert spread(LEARNED[name](x, y).apply(x)) == pytest.approx(spread(normalize(y)), rel=0.03)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(sorted(CLOSED)), st.sampled_from([np.float16, np.float32, np.float64]))
def test_an_exact_map_is_not_stretched(seed, name, dtype):
    x, _ = cones(300, d=6, seed=seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((6, 6)))[0]
    y = normalize(x) @ turn
    fitted = CLOSED[name](moments(x.astype(dtype), y.astype(dtype)), normalize=True)
    tolerance = 1e-2 if dtype == np.float16 else 1e-3
    assert fitted.report["stretch"] == pytest.approx(1, abs=tolerance)
    np.testing.assert_allclose(fitted.apply(x), y, atol=3 * tolerance)


@pytest.mark.parametrize("name", CLOSED)
def test_sides_that_have_nothing_to_do_with_each_other_give_a_finite_map(name):
    x, y = cones(500)
    found = CLOSED[name](moments(x, y[::-1].copy()), normalize=True).apply(x)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("module", ["closed", "networks", "slerp"])
def test_doctests(module):
    assert doctest.testmod(importlib.import_module(f"align.bridges.{module}")).failed == 0


@pytest.mark.parametrize("module", ["mlp", "slerp"])
def test_doctests_of_transforms(module):
    result = doctest.testmod(importlib.import_module(f"registry.transforms.{module}"))
    assert result.attempted and not result.failed
