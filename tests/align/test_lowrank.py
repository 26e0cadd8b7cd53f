"""`closed.lowrank`: reduced-rank regression against its definition, and what it does at the edges."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.bridges import closed
from align.moments import accumulate
from registry.errors import InvalidInput


def pairs(n=400, ds=8, dt=6, rank=3, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, ds)) * np.logspace(0, -1, ds) + 0.5
    return x, x @ rng.standard_normal((ds, rank)) @ rng.standard_normal((rank, dt)) + noise * rng.standard_normal(
        (n, dt)
    )


def fit(x, y, **options):
    return closed.lowrank(accumulate(x, y, device="cpu"), normalize=False, **options)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.sampled_from([0.0, 1e-3, 0.3]), st.sampled_from([(8, 6), (5, 9)]))
def test_it_is_the_best_projection_of_the_ridge_fit(seed, rank, ridge, widths):
    """The augmented problem [X; sqrt(n ridge) I] W = [Y; 0]: its fitted values, cut to rank r by their SVD."""
    x, y = pairs(seed=seed, ds=widths[0], dt=widths[1])
    n, d = x.shape
    a, b = x - x.mean(0), y - y.mean(0)
    a, b = np.vstack([a, np.sqrt(n * ridge) * np.eye(d)]), np.vstack([b, np.zeros((d, y.shape[1]))])
    whole = np.linalg.lstsq(a, b, rcond=None)[0]
    v = np.linalg.svd(a @ whole, full_matrices=False)[2][:rank]
    got = fit(x, y, rank=rank, ridge=ridge)
    assert got.report["rank"] == got.rank == rank
    np.testing.assert_allclose(got.down @ got.up, whole @ v.T @ v, atol=2e-3 * np.abs(whole).max())
    np.testing.assert_allclose(got.apply(x).mean(0), y.mean(0), atol=1e-4)
    missed = np.square(got.apply(x) - y).sum() / np.square(y - y.mean(0)).sum()
    assert got.report["residual"] == pytest.approx(missed, abs=1e-4)
    assert got.report["explained"] == pytest.approx(1 - missed, abs=1e-4)


def test_full_rank_is_the_affine_map():
    x, y = pairs(rank=6)
    m = accumulate(x, y, device="cpu")
    whole, cut = closed.affine(m, normalize=False), closed.lowrank(m, normalize=False, rank=6)
    np.testing.assert_allclose(cut.down @ cut.up, whole.weight, atol=1e-4)
    assert cut.report["ridge"] == whole.report["ridge"]
    assert cut.report["residual"] == pytest.approx(whole.report["residual"], abs=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_the_default_rank_is_that_of_the_relation(rank):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 8))
    y = x[:, :rank] @ np.linalg.qr(rng.standard_normal((6, 6)))[0][:rank] + 0.01 * rng.standard_normal((2000, 6))
    assert fit(x, y).rank == rank


def test_a_higher_rank_never_fits_worse():
    x, y = pairs(noise=1.0)
    residuals = [fit(x, y, rank=r).report["residual"] for r in range(1, 7)]
    assert residuals == sorted(residuals, reverse=True)


def test_dead_dimensions_and_few_pairs_leave_finite_maps():
    x, y = pairs(12, ds=20, dt=15)
    x[:, 3] = 7
    got = fit(x, y)
    assert np.isfinite(got.apply(x)).all()
    assert 0 <= got.report["residual"] <= 1
    assert got.rank <= 11
    json.dumps(dict(got.report), allow_nan=False)


def test_a_rank_that_the_source_does_not_have_is_cut_to_its_own():
    x, y = pairs()
    x[:, 3:] = 7
    assert fit(x, y, rank=6).report["rank"] == fit(x, y, rank=6).rank == 3


@pytest.mark.parametrize("rank", [0, -1, 7, 2.0, True, "3", np.nan])
def test_a_bad_rank_is_refused(rank):
    with pytest.raises(InvalidInput, match="rank must be a whole number from 1 to 6"):
        fit(*pairs(), rank=rank)


def test_sides_that_do_not_vary_together_are_refused():
    x = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]] * 2, np.float32)
    y = np.array([[1], [2], [2], [1]] * 2, np.float32)
    with pytest.raises(InvalidInput, match="vary together"):
        fit(x, y)
